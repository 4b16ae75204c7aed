"""What every test has: a modest hypothesis, an environment that says nothing, a key, and a store in memory."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import postgres
from tests.support.clocks import ManualClock
from tests.support.stores import store_in_memory
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey
from tokensvc.storage import migrate
from tokensvc.storage.store import Store

# Examples are drawn anew on each run, but in CI, where a change must not be refused for what another one brought.
hypothesis.settings.register_profile(
    "tokensvc", max_examples=60, deadline=None, database=None, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("tokensvc")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of whole deployments wait for a good part of their time."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole deployments first: they take longest, and what is short then fills the time of whichever core is done."""
    items.sort(key=lambda item: "/e2e/" not in item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs a whole deployment or a PostgreSQL server, so that no test has to be marked by hand."""
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
    """Tell `tests.support.postgres` whether this test may use a server: `make test-fast` has to do without."""
    postgres.permit(item.get_closest_marker("postgres") is not None)


@pytest.fixture(autouse=True)
def _uncached_loggers() -> None:
    """A command that serves configures the log of the process, and loggers cache what was configured when they were
    first used: without this, what a later test captures would not reach it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tokensvc.") and (logger := getattr(module, "_log", None)) is not None:
            vars(logger).pop("bind", None)


@pytest.fixture(autouse=True)
def _silent_environment() -> Iterator[None]:
    """No test sees, or leaves behind, what the machine's environment says about this service or about AWS."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("TOKENSVC_", "AWS_")):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _own_hooks() -> Iterator[None]:
    """What `logs.configure` sets up for a process to log what Python would print is taken down again."""
    before = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = before


@pytest.fixture(scope="session")
def private_key() -> PrivateKey:
    """A P-384 key for the whole run."""
    return keypair.generate()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until it is told to go on."""
    return ManualClock()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store in a file, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(migrated: Path) -> Iterator[Store]:
    """A new store in memory."""
    opened = store_in_memory(migrated)
    yield opened
    opened.close()
