"""`tokensvc callers rotate-secret`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from tokensvc.cli.callers.context import Name, act, caller_view, open_callers
from tokensvc.cli.durations import duration_option
from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, instant_or_none, print_progress, print_result
from tokensvc.container.api_keys import new_api_key
from tokensvc.errors import Conflict


@examples(
    ("A new API key; the current one stays valid for a day", "tokensvc callers rotate-secret web-backend"),
    ("The current one has leaked: no overlap", "tokensvc callers rotate-secret web-backend --overlap 0s"),
)
def rotate_secret(
    name: Name,
    overlap: Annotated[
        int,
        duration_option(at_most=365 * 86_400, show_default="1d", help="How long the current key stays valid."),
    ] = 86_400,
    as_json: AsJson = False,
) -> None:
    """Print a new API key. The current key stays valid for the overlap; older keys become invalid now."""
    key, secret = new_api_key()
    until = datetime.now(UTC) + timedelta(seconds=overlap)
    with open_callers() as store:
        before = store.get(name)
        if before.policy.bearer is not None:
            raise Conflict(f"{name} is a viewer app and has no API key: its viewers present tokens of its issuer")
        record = store.rotate_secret(name, before.newest_key_id, secret, until, act("rotate_secret"))
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
        {**caller_view(record), "apiKey": key, "warnings": warnings},
        as_json,
        key,
        "",
        f"This is the new API key of {name}. You will not see it again.{previous}",
    )
