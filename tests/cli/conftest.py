"""Fixtures: a local IVS that the commands call, and deployments that use it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Accounts, Terminal
from tests.support.audit import EVENT
from tests.support.servers import serving
from tokensvc.clock import SystemClock
from tokensvc.local_ivs.clock import AdvanceableClock
from tokensvc.local_ivs.http import LocalIvsSettings, build
from tokensvc.local_ivs.sigv4 import AccessKeySecret
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.storage.store import Store, open_store

ACCOUNTS = 400
"""More than the tests of this folder use in one process."""


@pytest.fixture(scope="session")
def accounts() -> Iterator[Accounts]:
    """A local IVS behind a socket in this process, without rate limits, since commands run in quick succession."""
    resources = SqliteResourceStore(":memory:")
    credentials = {f"account{n}": AccessKeySecret(f"account{n}", str(200_000_000_000 + n)) for n in range(1, ACCOUNTS)}
    parts = build(resources, LocalIvsSettings(credentials, rate_limits=False), AdvanceableClock(SystemClock()))
    with serving(parts.site) as url:
        yield Accounts(url)
    resources.close()


@pytest.fixture
def bare(accounts: Accounts, tmp_path: Path) -> Terminal:
    """A deployment with settings but no store yet."""
    return Terminal(tmp_path, accounts.endpoint, accounts.next())


@pytest.fixture
def terminal(bare: Terminal, migrated: Path) -> Terminal:
    """A deployment with a new store, whose keys become active as soon as they are imported."""
    shutil.copy(migrated, bare.store)
    opened = open_store(bare.environ["TOKENSVC_DATABASE_URL"])
    opened.deployment.set_rotation(propagation_seconds=0, max_age_seconds=None, standby=False, event=EVENT)
    opened.close()
    return bare


@pytest.fixture
def healthy(terminal: Terminal) -> Terminal:
    """A complete deployment: every check of `tokensvc doctor` passes."""
    terminal("keys", "generate")
    terminal("callers", "add", "web", "--all-channels")
    return terminal


@pytest.fixture
def store(healthy: Terminal) -> Iterator[Store]:
    """The store of the healthy deployment, opened next to the commands."""
    opened = open_store(f"sqlite:///{healthy.store}")
    yield opened
    opened.close()
