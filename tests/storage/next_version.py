"""A version of tokensvc with one more schema revision, for tests of upgrading from one revision to the next.

Invariants
- The folder of revisions is a temporary copy of the real one, created once per process, with one file added.
- `installed()` makes `migrate` use it, in this process only. Two threads may enter it at the same time only within
  another `installed()`, so that both restore the same state.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from tokensvc.storage import migrate, migrations

_REVISIONS = migrate.REVISIONS
REVISION = "0004_next"
KILL = "TOKENSVC_TEST_KILL_DURING_UPGRADE"
"""If this variable is set, the revision kills its own process after its changes."""
_SOURCE = f'''
import sqlalchemy as sa
from alembic import op

from tests.storage import next_version

revision = "{REVISION}"
down_revision = "{migrate.HEAD}"


def upgrade():
    op.add_column("leases", sa.Column("remark", sa.Text))
    op.create_table("extra", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("UPDATE versions SET number = number + 1")
    next_version.kill_if_requested()
'''


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Make `migrate` that of the next version."""
    with mock.patch.multiple(migrate, MIGRATIONS=str(_folder()), REVISIONS=(*_REVISIONS, REVISION), HEAD=REVISION):
        yield


def upgrade(url: str) -> tuple[str | None, str]:
    """`tokensvc db upgrade` of the next version."""
    with installed():
        return migrate.upgrade(url)


def kill_if_requested() -> None:
    """Kill this process, without any cleanup, if the environment variable is set."""
    if os.environ.get(KILL):
        os.kill(os.getpid(), signal.SIGKILL)


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tokensvc-revisions-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / "migrations"
    shutil.copytree(Path(migrations.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions" / f"{REVISION}.py").write_text(_SOURCE)
    return copy
