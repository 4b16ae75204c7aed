"""`tokensvc callers …`: who may ask for tokens."""

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
from tokensvc.cli.output import AsJson, Yes, confirm, instant_or_none, print_progress, print_result, format_table
from tokensvc.container.service import new_api_key, open_configured_store
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.settings import read_settings

app = typer.Typer(help="Who may ask for tokens.", no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Argument(help="Letters, digits, dots and dashes; at most 64.")]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")


@app.command()
def add(
    name: Name,
    channels: Annotated[list[str] | None, typer.Option(help="A channel ARN, * for any part; may be repeated.")] = None,
    all_channels: Annotated[bool, typer.Option("--all-channels", help="Any channel that we hold a key for.")] = False,
    scope: Annotated[list[str] | None, typer.Option(help="What it may do; tokens:issue unless told.")] = None,
    max_ttl: Annotated[
        int | None, typer.Option(min=1, max=MAX_CONFIGURABLE_TTL_SECONDS, help="The longest life of its tokens, in seconds.")
    ] = None,
    allow_anonymous_viewers: Annotated[
        bool,
        typer.Option("--allow-anonymous-viewers", help="It may ask without a viewer; such tokens cannot be revoked."),
    ] = False,
    namespace: Annotated[str, typer.Option(help="Subjects of two namespaces never share a viewer id.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Add a caller and print its API key, once."""
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
        f"This is the API key of {name}. It is shown once and kept nowhere; store it as a secret.",
    )


@app.command("list")
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
    print_result({"callers": [_caller_view(r) for r in records]}, as_json, *format_table(("NAME", "STATE", "SCOPES", "CHANNELS"), rows))


@app.command("rotate-secret")
def rotate_secret(
    name: Name,
    overlap_seconds: Annotated[
        int, typer.Option(min=0, max=31_536_000, help="How long the present key goes on.")
    ] = 86_400,
    as_json: AsJson = False,
) -> None:
    """Print a new API key; the present one goes on for the overlap, any older one ends now."""
    key, secret = new_api_key()
    until = datetime.now(UTC) + timedelta(seconds=overlap_seconds)
    with _open_callers() as store:
        record = store.rotate_secret(name, store.get(name).newest_key_id, secret, until)
    warnings = []
    if record.disabled_at is not None:
        since = f"{name} is disabled since {instant_or_none(record.disabled_at)}"
        warnings.append(f"{since}: this key is refused with 401 until `tokensvc callers enable {name}`.")
    elif record.damage:
        warnings.append(f"{name} cannot be read, so this key is refused with 401: {record.damage}; see tokensvc doctor")
    for warning in warnings:
        print_progress(f"Warning: {warning}")
    before = f" The one before it ends at {instant_or_none(until)}." if len(record.secrets) > 1 else ""
    print_result(
        {**_caller_view(record), "apiKey": key, "warnings": warnings},
        as_json,
        key,
        "",
        f"This is the new API key of {name}, shown once.{before}",
    )


@app.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Accept a disabled caller again, with the keys that it has; every worker does within two seconds."""
    with _open_callers() as store:
        record = store.enable(name)
    print_result(_caller_view(record), as_json, f"{name} is enabled.")


@app.command()
def disable(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Refuse a caller from now on; every worker does within two seconds. Tokens it has got stay valid."""
    confirm(f"Refuse {name} from now on?", yes)
    with _open_callers() as store:
        record = store.disable(name, datetime.now(UTC))
    print_result(_caller_view(record), as_json, f"{name} is disabled.")


def _policy(
    name: str, patterns: list[str], scopes: list[str] | None, max_ttl: int | None, anonymous: bool, namespace: str
) -> CallerPolicy:
    errors = []
    if not _NAME.fullmatch(name):
        errors.append(FieldError("NAME", "must have 1 to 64 letters, digits, dots and dashes"))
    if not patterns:
        errors.append(FieldError("--channels", "must be given, or --all-channels"))
    if not _NAMESPACE.fullmatch(namespace):
        errors.append(FieldError("--namespace", "must have 1 to 64 letters, digits, dots and dashes"))
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
