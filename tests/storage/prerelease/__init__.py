"""Databases as development versions made them, before the first release: at revision 0008, the last of eight.

Invariants
- Each file is a dump of a store that those revisions made, with an id, a salt and tags that say nothing.
- Such a store is refused whatever its revision: the seven before 0008 differ from it in their number alone.
"""

from __future__ import annotations

from pathlib import Path

from tokensvc.storage.engine import make_engine, write_transaction

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
_MADE_AT = REVISIONS[-1]


def restore(url: str, revision: str = _MADE_AT) -> None:
    """Put the dump into an empty database, and call its revision this."""
    engine = make_engine(url)
    try:
        dump = (Path(__file__).parent / f"{engine.dialect.name}_{_MADE_AT}.sql").read_text()
        with write_transaction(engine) as connection:
            for statement in dump.split(";\n"):
                if statement.strip() not in ("", "BEGIN TRANSACTION", "COMMIT"):
                    connection.exec_driver_sql(statement.replace(f"('{_MADE_AT}')", f"('{revision}')"))
    finally:
        engine.dispose()
