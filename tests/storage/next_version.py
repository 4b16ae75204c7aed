"""A version of tokensvc with one schema revision more, for tests of upgrading from one revision to the next.

Invariants
- The folder of revisions is a temporary copy of the real one, made once in a process, with one file added.
- `installed()` makes `migrate` use it, in this process alone. It may be entered by two threads at once only within
  another `installed()`: what each puts back is then the same.
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
REVISION = "0002_next"
KILL = "TOKENSVC_TEST_KILL_DURING_UPGRADE"
"""Where this is set, the revision ends its own process after it has made its changes."""
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
    next_version.end_if_asked()
'''


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Let `migrate` be that of the next version."""
    with mock.patch.multiple(migrate, MIGRATIONS=str(_folder()), REVISIONS=(*_REVISIONS, REVISION), HEAD=REVISION):
        yield


def upgrade(url: str) -> tuple[str | None, str]:
    """`tokensvc db upgrade` of the next version."""
    with installed():
        return migrate.upgrade(url)


def end_if_asked() -> None:
    """End this process without any cleaning up, where the environment says so."""
    if os.environ.get(KILL):
        os.kill(os.getpid(), signal.SIGKILL)


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tokensvc-revisions-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "migrations"
    shutil.copytree(Path(migrations.__file__).parent, made, ignore=shutil.ignore_patterns("__pycache__"))
    (made / "versions" / f"{REVISION}.py").write_text(_SOURCE)
    return made
