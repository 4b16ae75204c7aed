"""`tokensvc callers add`, `update`, `enable` and `disable`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from tokensvc.callers.policy import CallerPolicy
from tokensvc.callers.policy_changes import changed_members
from tokensvc.callers.policy_document import document_of, parse_policy
from tokensvc.callers.policy_file import check_plan
from tokensvc.callers.store import CallerChange
from tokensvc.cli.callers.context import Name, act, caller_view, open_callers
from tokensvc.cli.callers.differences import change_lines, change_view
from tokensvc.cli.callers.policy_options import PolicyOptions, takes_policy_options
from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, DryRun, Yes, confirm, print_result
from tokensvc.container.api_keys import new_api_key
from tokensvc.errors import Conflict, FieldError, InvalidRequest

_UNSET = ("scopes", "max_ttl_seconds", "namespace", "require", "force", "limits", "cors_origins")
"""The members that --unset resets."""


@examples(
    ("A backend that requests tokens for one channel", 'tokensvc callers add web-backend --channels "$CHANNEL"'),
    (
        "For all channels, with revocations, and tokens of two minutes at most",
        "tokensvc callers add moderation --all-channels --scope tokens:issue --scope revocations:write --max-ttl 2m",
    ),
    (
        "A viewer app, whose viewers present bearer tokens of their login",
        "tokensvc callers add player --all-channels --issuer https://login.example.com --audience player",
    ),
    (
        "Keep only the API key, in a file",
        "tokensvc callers add nightly-job --all-channels | head -n 1 > nightly-job.key",
    ),
)
@takes_policy_options
def add(name: Name, options: PolicyOptions, as_json: AsJson = False) -> None:
    """Add a caller and print its API key. The key is shown only once.

    With --issuer and --audience the caller is a viewer app: it has no API key, its viewers present bearer tokens.
    """
    policy, at = options.policy(name, {}), datetime.now(UTC)
    key, secret = new_api_key() if policy.bearer is None else ("", None)
    with open_callers() as store:
        (record,) = store.apply([CallerChange(name, None, policy, None, secret)], at, act("add"))
    if not key:
        print_result(caller_view(record), as_json, f"Viewer app {name} added. Its viewers present bearer tokens.")
        return
    print_result(
        {**caller_view(record), "apiKey": key},
        as_json,
        key,
        "",
        f"This is the API key of {name}. Store it as a secret: you will not see it again, only a hash is stored.",
    )


@examples(
    ("Another channel; the list replaces the present one", 'tokensvc callers update web-backend --channels "$CHANNEL"'),
    (
        "Force single use, and look at the difference first",
        "tokensvc callers update web-backend --force-single-use --dry-run",
    ),
    ("Without a limit of its own on lifetimes", "tokensvc callers update web-backend --unset max_ttl_seconds"),
)
@takes_policy_options
def update(
    name: Name,
    options: PolicyOptions,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEMBER",
            help=f"Reset a member to its default: {', '.join(_UNSET)}; may be repeated.",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change a caller's policy. Members that no option names stay as they are; takes effect within two seconds."""
    with open_callers() as store:
        before = store.get(name)
        if before.damage and not options.given.get("channels"):
            raise Conflict(f"the policy of {name} cannot be read ({before.damage}): give --channels to replace it")
        document = document_of(_without(before.policy, unset or []))
        policy = options.policy(name, document)
        change = CallerChange(name, before, policy, before.disabled_at)
        check_plan([change], store.list())
        is_changed = bool(changed_members(before.policy, policy)) or bool(before.damage)
        record = before
        if is_changed and not dry_run:
            (record,) = store.apply([change], datetime.now(UTC), act("update"))
    if not is_changed:
        lines = [f"Caller {name} has this policy already."]
    else:
        lines = [*change_lines(change), *([] if dry_run else [f"Caller {name} updated."])]
    view = {"change": change_view(change) if is_changed else None, "dryRun": dry_run}
    print_result(caller_view(record) | view, as_json, *lines)


@examples(
    ("Accept a disabled caller again", "tokensvc callers enable web-backend"),
)
def enable(name: Name, as_json: AsJson = False) -> None:
    """Accept a disabled caller's requests again, with its existing keys. Takes effect within two seconds."""
    with open_callers() as store:
        record = store.enable(name, act("enable"))
    print_result(caller_view(record), as_json, f"Caller {name} enabled.")


@examples(
    ("Reject a caller's requests", "tokensvc callers disable web-backend --yes"),
)
def disable(name: Name, yes: Yes = False, as_json: AsJson = False) -> None:
    """Reject a caller's requests. Takes effect within two seconds; tokens already issued stay valid."""
    confirm(f"Disable caller {name} and reject its requests?", yes)
    with open_callers() as store:
        record = store.disable(name, datetime.now(UTC), act("disable"))
    print_result(caller_view(record), as_json, f"Caller {name} disabled.")


def _without(policy: CallerPolicy, members: list[str]) -> CallerPolicy:
    """The policy with these members reset. Raises InvalidRequest."""
    if set(members) - set(_UNSET):
        raise InvalidRequest([FieldError("--unset", f"must be one of {', '.join(_UNSET)}")])
    document = document_of(policy)
    for member in members:
        document.pop(member, None)
    return parse_policy(document)
