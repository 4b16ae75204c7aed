"""What the commands for callers share: the store, the events of their acts, and how a caller is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from tokensvc.audit.record import AuditEvent
from tokensvc.callers.policy_document import document_of
from tokensvc.callers.store import CallerRecord, CallerStore
from tokensvc.cli.operator import operator_actor
from tokensvc.cli.output import instant_or_none
from tokensvc.container.store import open_configured_store
from tokensvc.settings import read_settings

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of the caller: at most 64 letters, digits, dots, underscores and dashes."
    ),
]


@contextmanager
def open_callers() -> Iterator[CallerStore]:
    """The callers of the store that the settings name."""
    store = open_configured_store(read_settings(os.environ))
    try:
        yield store.callers
    finally:
        store.close()


def act(action: str) -> AuditEvent:
    """The event of an act of the user who runs this command."""
    return AuditEvent(operator_actor(), f"callers.{action}")


def kind_of(record: CallerRecord) -> str:
    """`viewer app` or `backend`."""
    return "viewer app" if record.policy.bearer is not None else "backend"


def caller_view(record: CallerRecord) -> dict[str, Any]:
    """A caller as JSON."""
    return {
        "name": record.name,
        "kind": kind_of(record).replace(" ", "_"),
        "disabledAt": instant_or_none(record.disabled_at),
        "createdAt": instant_or_none(record.created_at),
        **_camel({"bearer": None} | document_of(record.policy)),
        "keys": [
            {
                "id": s.key_id,
                "createdAt": instant_or_none(s.created_at),
                "expiresAt": instant_or_none(s.expires_at),
                "lastUsedAt": instant_or_none(s.last_used_at),
                "lastUsedFrom": s.last_used_from,
            }
            for s in record.secrets
        ],
    }


def _camel(members: dict[str, Any]) -> dict[str, Any]:
    """The members of a policy document with the names that JSON has; names of claims stay as they are."""
    return {
        _camel_name(name): _camel(value) if isinstance(value, dict) and name != "required_claims" else value
        for name, value in members.items()
    }


def _camel_name(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))
