"""Checks the store's rows: those that cannot be read are ignored by every worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from tokensvc.cli.checks.finding import Finding
from tokensvc.deployment.versions import ChangePage, Position
from tokensvc.storage.store import Store

MAX_NAMED = 20
"""At most so many damaged channels, and as many denials, are listed."""
_PAGE_SIZE = 1000
FROM_BACKUP = "export TOKENSVC_DATABASE_URL=URL   (of the store, with the row restored from a backup)"
_DIGEST = re.compile(r"[0-9a-f]{32}")


def check_rows(store: Store) -> Iterator[Finding]:
    """Read every row. Changes nothing."""
    for key in store.keys.list():
        if key.damage:
            detail = f"cannot be read, so it does not sign and its key pair is not touched: {key.damage}"
            fix = f"tokensvc keys compromise {key.id}   (abandons the key; or restore the row from a backup)"
            yield Finding(False, f"key {key.id}", detail, fix)
    for record in store.callers.list():
        if record.damage and record.disabled_at is None:
            fix = f"tokensvc callers disable {record.name}   (then add a new caller; or restore the row from a backup)"
            detail = f"cannot be read, so its requests are rejected: {record.damage}"
            yield Finding(False, f"caller {record.name}", detail, fix)
        for key_id, damage in record.damaged_secrets.items():
            detail = f"API key {key_id} cannot be read, so it is rejected: {damage}"
            yield Finding(False, f"caller {record.name}", detail, f"tokensvc callers rotate-secret {record.name}")
    for name, damage in islice(_damaged(store.channels.changed_since), MAX_NAMED):
        detail = f"cannot be read, so workers do not know the channel: {damage}"
        yield Finding(False, f"channel {name}", detail, _delete_channel(name))
    for name, damage in islice(_damaged(store.denials.changed_since), MAX_NAMED):
        detail = f"cannot be read; its viewer, if that is readable, stays denied for good: {damage}"
        yield Finding(False, f"denial {name}", detail, _delete_denial(store, name))


def _delete_denial(store: Store, name: str) -> str:
    """SQL that deletes a denial: `denials remove` takes another kind of id, and finds readable rows only."""
    if not _DIGEST.fullmatch(name):
        return FROM_BACKUP
    digest = f"X'{name}'" if store.engine.dialect.name == "sqlite" else f"decode('{name}', 'hex')"
    return (
        f"SQL: DELETE FROM denials WHERE digest = {digest}   (lifts the denial: deny the viewer again; or restore "  # noqa: S608
        "the row from a backup instead)"
    )


def _delete_channel(arn: str) -> str:
    """SQL that deletes a channel: the row is a cache, and the next request for the channel fetches it from IVS."""
    quoted = arn.replace("'", "''")
    return f"SQL: DELETE FROM channels WHERE arn = '{quoted}'   (a cached row: it is fetched from IVS again)"  # noqa: S608 - shown, not run


def _damaged(changed_since: Callable[[Position, int], ChangePage[Any]]) -> Iterator[tuple[str, str]]:
    position, is_last = Position(), False
    while not is_last:
        page = changed_since(position, _PAGE_SIZE)
        yield from page.damaged.items()
        position, is_last = page.position, page.is_last
