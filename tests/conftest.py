"""What every test has: a modest hypothesis, an environment that says nothing, a key, and a store in memory."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa

from tests.clocks import ManualClock
from tokensvc.adapters.sql import migrate
from tokensvc.adapters.sql.engine import make_engine
from tokensvc.adapters.sql.store import Store, store_on
from tokensvc.core import keypair
from tokensvc.core.keypair import PrivateKey

hypothesis.settings.register_profile("tokensvc", max_examples=60, deadline=None, database=None)
hypothesis.settings.load_profile("tokensvc")


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
def memory(migrated: Path) -> Iterator[sa.Engine]:
    """A new store in memory, as an engine."""
    engine = make_engine("sqlite://")
    connection = engine.raw_connection()
    source = sqlite3.connect(migrated)
    assert isinstance(connection.driver_connection, sqlite3.Connection)
    source.backup(connection.driver_connection)
    source.close()
    connection.close()
    yield engine
    engine.dispose()


@pytest.fixture
def store(memory: sa.Engine) -> Store:
    """A new store in memory: the same code that serves, over a database that no one else has."""
    return store_on(memory)
