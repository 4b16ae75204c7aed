"""Databases of development versions, from before the first release, at revision 0008.

Invariants
- Each file is a dump of a store of those revisions, with meaningless ids, salts and tags.
- Such a store is refused whatever its revision, so this dump with another revision number stands for each other one.
"""

from __future__ import annotations

from pathlib import Path

from tokensvc.storage.engine import make_engine, write_transaction

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0001_initial")
_DUMPED_REVISION = "0008"


def restore(url: str, revision: str = _DUMPED_REVISION) -> None:
    """Load the dump into an empty database, with this revision number."""
    engine = make_engine(url)
    try:
        dump = (Path(__file__).parent / f"{engine.dialect.name}_{_DUMPED_REVISION}.sql").read_text()
        with write_transaction(engine) as connection:
            for statement in dump.split(";\n"):
                if statement.strip() not in ("", "BEGIN TRANSACTION", "COMMIT"):
                    connection.exec_driver_sql(statement.replace(f"('{_DUMPED_REVISION}')", f"('{revision}')"))
    finally:
        engine.dispose()
