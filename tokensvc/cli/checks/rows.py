"""What `tokensvc doctor` finds among the store's rows: those that cannot be read, and are left out by every worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from tokensvc.cli.checks.finding import Finding
from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.storage.store import Store

MAX_NAMED = 20
"""So many channels, and denials, are named."""
_PAGE_SIZE = 1000
FROM_BACKUP = "export TOKENSVC_DATABASE_URL=URL   (of the store, with the row put back as it was, from a backup)"
_DIGEST = re.compile(r"[0-9a-f]{32}")


def check_rows(store: Store) -> Iterator[Finding]:
    """Read them all; nothing is changed."""
    for key in store.keys.list():
        if key.damage:
            detail = f"cannot be read, so it does not sign there, and its pair is left alone: {key.damage}"
            fix = f"tokensvc keys compromise {key.id}   (which gives it up; or put the row back, from a backup)"
            yield Finding(False, f"key {key.id}", detail, fix)
    for record in store.callers.list():
        if record.damage and record.disabled_at is None:
            fix = f"tokensvc callers disable {record.name}   (and add another; or put the row back, from a backup)"
            yield Finding(False, f"caller {record.name}", f"cannot be read, and is refused: {record.damage}", fix)
        for key_id, why in record.damaged_secrets.items():
            detail = f"key {key_id} cannot be read, and is refused: {why}"
            yield Finding(False, f"caller {record.name}", detail, f"tokensvc callers rotate-secret {record.name}")
    for name, why in islice(_damaged(store.channels.changed_since), MAX_NAMED):
        yield Finding(False, f"channel {name}", f"cannot be read, and is unknown to workers: {why}", _delete_channel(name))
    for name, why in islice(_damaged(store.denials.changed_since), MAX_NAMED):
        detail = f"cannot be read, and its viewer, where it is readable, is denied for good: {why}"
        yield Finding(False, f"denial {name}", detail, _delete_denial(store, name))


def _delete_denial(store: Store, name: str) -> str:
    """`denials remove` names denials otherwise, and finds only those that can be read."""
    if not _DIGEST.fullmatch(name):
        return FROM_BACKUP
    digest = f"X'{name}'" if store.engine.dialect.name == "sqlite" else f"decode('{name}', 'hex')"
    return (
        f"SQL: DELETE FROM denials WHERE digest = {digest}   (the viewer may have tokens again; deny it anew, or put "  # noqa: S608
        "the row back as it was, from a backup)"
    )


def _delete_channel(arn: str) -> str:
    """A channel's row is only what IVS said of it; IVS is asked again at the next request for it."""
    quoted = arn.replace("'", "''")
    return f"SQL: DELETE FROM channels WHERE arn = '{quoted}'   (IVS is asked for it again)"  # noqa: S608 - shown, not run


def _damaged(changed_since: Callable[[Position, int], ChangePage[Any]]) -> Iterator[tuple[str, str]]:
    position, is_last = Position(), False
    while not is_last:
        page = changed_since(position, _PAGE_SIZE)
        yield from page.damaged.items()
        position, is_last = page.position, page.is_last
