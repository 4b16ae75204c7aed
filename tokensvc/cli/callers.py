"""`tokensvc callers …`: callers of the HTTP API, their policies and API keys."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from tokensvc.callers.policy import (
    ALL_CHANNELS,
    DEFAULT_SCOPES,
    MAX_CONFIGURABLE_TTL_SECONDS,
    CallerPolicy,
    check_pattern,
    check_scope,
)
from tokensvc.callers.store import CallerRecord, CallerStore
from tokensvc.cli.help import Commands, examples
from tokensvc.cli.output import AsJson, Yes, confirm, format_table, instant_or_none, print_progress, print_result
from tokensvc.container.service import new_api_key, open_configured_store
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.settings import read_settings

app = Commands("Manage callers of the HTTP API and their API keys.")
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of the caller: at most 64 letters, digits, dots, underscores and dashes."
    ),
]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@app.command()
@examples(
    ("A backend that requests tokens for one channel", 'tokensvc callers add web-backend --channels "$CHANNEL"'),
    (
        "For all channels, with revocations, and tokens of two minutes at most",
        "tokensvc callers add moderation --all-channels --scope tokens:issue --scope revocations:write --max-ttl 120",
    ),
    (
        "Keep only the API key, in a file",
        "tokensvc callers add nightly-job --all-channels | head -n 1 > nightly-job.key",
    ),
)
def add(
    name: Name,
    channels: Annotated[
        list[str] | None, typer.Option(metavar="ARN", help="Channel ARN, may contain *; may be repeated.")
    ] = None,
    all_channels: Annotated[
        bool, typer.Option("--all-channels", help="Allow every channel of the deployment.")
    ] = False,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Scope to grant; may be repeated. Default: tokens:issue.")
    ] = None,
    max_ttl: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_CONFIGURABLE_TTL_SECONDS,
            metavar="SECONDS",
            help="Maximum lifetime of its tokens, in seconds.",
        ),
    ] = None,
    allow_anonymous_viewers: Annotated[
        bool,
        typer.Option(
            "--allow-anonymous-viewers", help="Allow requests without a viewer; such tokens cannot be revoked."
        ),
    ] = False,
    namespace: Annotated[
        str, typer.Option(metavar="NAME", help="Namespace of its subjects; two namespaces never share a viewer id.")
    ] = "default",
    as_json: AsJson = False,
) -> None:
    """Add a caller and print its API key. The key is shown only once."""
    patterns = [*(channels or ()), *((ALL_CHANNELS,) if all_channels else ())]
    policy = _policy(name, patterns, scope, max_ttl, allow_anonymous_viewers, namespace)
    key, secret = new_api_key()
    with _open_callers() as store:
        record = store.add(name, policy, secret)
    print_result(
        {**_caller_view(record), "apiKey": key},
        as_json,
        key,
        "",
        f"This is the API key of {name}. Store it as a secret: you will not see it again, only a hash is stored.",
    )


@app.command("list")
@examples(
    ("Names, states, scopes and channels", "tokensvc callers list"),
    ("With limits and API key ids, for a script", "tokensvc callers list --json"),
)
def list_(as_json: AsJson = False) -> None:
    """List all callers."""
    with _open_callers() as store:
        records = store.list()
    rows = [
        (
            r.name,
            "disabled" if r.disabled_at else "enabled",
            ",".join(sorted(r.policy.scopes)),
            ",".join(r.policy.channels),
        )
        for r in records
    ]
    print_result(
        {"callers": [_caller_view(r) for r in records]},
        as_json,
        *format_table(("NAME", "STATE", "SCOPES", "CHANNELS"), rows),
    )


@app.command("rotate-secret")
@examples(
    ("A new API key; the current one stays valid for a day", "tokensvc callers rotate-secret web-backend"),
    ("The current one has leaked: no overlap", "tokensvc callers rotate-secret web-backend --overlap-seconds 0"),
)
def rotate_secret(
    name: Name,
    overlap_seconds: Annotated[
        int, typer.Option(min=0, max=31_536_000, metavar="SECONDS", help="How long the current key stays valid.")
    ] = 86_400,
    as_json: AsJson = False,
) -> None:
    """Print a new API key. The current key stays valid for the overlap; older keys become invalid now."""
    key, secret = new_api_key()
    until = datetime.now(UTC) + timedelta(seconds=overlap_seconds)
    with _open_callers() as store:
        record = store.rotate_secret(name, store.get(name).newest_key_id, secret, until)
    warnings = []
    if record.disabled_at is not None:
        since = f"{name} has been disabled since {instant_or_none(record.disabled_at)}"
        warnings.append(f"{since}: this key is rejected with 401 until you run `tokensvc callers enable {name}`.")
    elif record.damage:
        cause = f"{record.damage}; run `tokensvc doctor`"
        warnings.append(f"The record of {name} cannot be read, so this key is rejected with 401: {cause}")
    for warning in warnings:
        print_progress(f"Warning: {warning}")
    previous = f" The previous key expires at {instant_or_none(until)}." if len(record.secrets) > 1 else ""
    print_result(
        {**_caller_view(record), "apiKey": key, "warnings": warnings},
        as_json,
        key,
        "",
        f"This is the new API key of {name}. You will not see it again.{previous}",
    )


@app.command()
@examples(
    ("Accept a disabled caller again", "tokensvc callers enable web-backend"),
)
def enable(name: Name, as_json: AsJson = False) -> None:
    """Accept a disabled caller's requests again, with its existing keys. Takes effect within two seconds."""
    with _open_callers() as store:
        record = store.enable(name)
    print_result(_caller_view(record), as_json, f"Caller {name} enabled.")


@app.command()
@examples(
    ("Reject a caller's requests", "tokensvc callers disable web-backend --yes"),
)
def disable(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Reject a caller's requests. Takes effect within two seconds; tokens already issued stay valid."""
    confirm(f"Disable caller {name} and reject its requests?", yes)
    with _open_callers() as store:
        record = store.disable(name, datetime.now(UTC))
    print_result(_caller_view(record), as_json, f"Caller {name} disabled.")


def _policy(
    name: str, patterns: list[str], scopes: list[str] | None, max_ttl: int | None, anonymous: bool, namespace: str
) -> CallerPolicy:
    errors = []
    if not _NAME.fullmatch(name):
        errors.append(
            FieldError(
                "NAME", "must be 1 to 64 letters, digits, dots, underscores or dashes, not starting with punctuation"
            )
        )
    if not patterns:
        errors.append(FieldError("--channels", "is required", alternative="--all-channels"))
    if not _NAMESPACE.fullmatch(namespace):
        errors.append(FieldError("--namespace", "must be 1 to 64 letters, digits, dots, underscores or dashes"))
    for option, values, check in (("--channels", patterns, check_pattern), ("--scope", scopes or [], check_scope)):
        for value in values:
            try:
                check(value)
            except ValueError as rule:
                errors.append(FieldError(option, str(rule)))
    if errors:
        raise InvalidRequest(errors)
    return CallerPolicy(
        channels=tuple(patterns),
        scopes=frozenset(scopes) if scopes else DEFAULT_SCOPES,
        max_ttl_seconds=max_ttl,
        allow_anonymous_viewers=anonymous,
        namespace=namespace,
    )


def _caller_view(record: CallerRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "disabledAt": instant_or_none(record.disabled_at),
        "createdAt": instant_or_none(record.created_at),
        "channels": list(record.policy.channels),
        "scopes": sorted(record.policy.scopes),
        "maxTtlSeconds": record.policy.max_ttl_seconds,
        "allowAnonymousViewers": record.policy.allow_anonymous_viewers,
        "namespace": record.policy.namespace,
        "keys": [
            {"id": s.key_id, "createdAt": instant_or_none(s.created_at), "expiresAt": instant_or_none(s.expires_at)}
            for s in record.secrets
        ],
    }


@contextmanager
def _open_callers() -> Iterator[CallerStore]:
    store = open_configured_store(read_settings(os.environ))
    try:
        yield store.callers
    finally:
        store.close()
