"""Hooks and fixtures of all tests: markers, hypothesis settings, an empty environment, a key, a store in memory."""

from __future__ import annotations

import functools
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.support import postgres
from tests.support.clocks import ManualClock
from tests.support.stores import store_in_memory
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.storage import migrate
from tokensvc.storage.store import Store

if TYPE_CHECKING:
    from tests.support.browser_tabs import Browser

# Examples differ in each run, except in CI, where a change must not fail because of a bug that another one introduced.
hypothesis.settings.register_profile(
    "tokensvc", max_examples=60, deadline=None, database=None, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("tokensvc")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: end-to-end tests spend much of their time waiting."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the end-to-end tests first: they take longest, and the short tests then keep all cores busy until the end."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the end-to-end tests and those that need a PostgreSQL server, so that no test has to be marked by hand."""
    if item.nodeid.startswith(("tests/e2e/", "tests/hostile/")):
        item.add_marker(pytest.mark.e2e)
    callspec = getattr(item, "callspec", None)
    if {"postgres", "own_postgres"} & {*getattr(item, "fixturenames", ())} or (
        callspec is not None
        and any(chosen in ("postgresql", "on_postgresql", "pg_restore") for chosen in callspec.params.values())
    ):
        item.add_marker(pytest.mark.postgres)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell `tests.support.postgres` whether this test may use a server: `make test-fast` runs without one."""
    postgres.permit(item.get_closest_marker("postgres") is not None)


@pytest.fixture(autouse=True)
def _uncached_loggers() -> None:
    """Commands that serve configure the log of the process, and loggers cache the configuration of their first use:
    without this, a later test could not capture their lines."""
    for logger in _loggers(len(sys.modules)):
        vars(logger).pop("bind", None)


@functools.lru_cache(maxsize=1)
def _loggers(_modules: int) -> list[Any]:
    """The loggers of our modules, looked for only when more modules have been imported: there are thousands."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("tokensvc.")]
    return [module._log for module in ours if getattr(module, "_log", None) is not None]


@pytest.fixture(autouse=True)
def _empty_environment() -> Iterator[None]:
    """No test sees the machine's TOKENSVC_* and AWS_* variables, and none leaves any behind."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("TOKENSVC_", "AWS_")):
            del os.environ[name]
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def _restored_hooks() -> Iterator[None]:
    """Undo the hooks that `logs.configure` installs to log what Python would print."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = before


@pytest.fixture(scope="session")
def private_key() -> PrivateKey:
    """A P-384 key for the whole run."""
    return keypair.generate()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that only moves when a test advances it."""
    return ManualClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a new store, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(migrated: Path) -> Iterator[Store]:
    """A new store in memory."""
    opened = store_in_memory(migrated)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium without a window."""
    from tests.support.browser_tabs import running_browser  # loads what few tests need

    with running_browser(tmp_path_factory.mktemp("browser")) as running:
        yield running
