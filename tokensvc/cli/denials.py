"""`tokensvc denials …`: viewers that get no token, independently of what IVS knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.cli.context import AdminContext, Namespace, Reason, Subject, Viewer, admin_context
from tokensvc.cli.durations import duration_option
from tokensvc.cli.help import DENIAL_ID, Commands, examples
from tokensvc.cli.output import AsJson, Yes, confirm, format_table, print_result
from tokensvc.cli.paging import Fetch, MaxResults, NextToken, print_truncated, read_all, read_list
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.pagination import validated_query
from tokensvc.revocations.requests import DenialQuery, read_denial
from tokensvc.revocations.views import DenialView

app = Commands("Block viewers from getting tokens.")
AllChannels = Annotated[bool, typer.Option("--all-channels", help="All channels (*) instead of --channel.")]
Channel = Annotated[str | None, typer.Option(metavar="ARN", help="ARN of the channel.")]


@app.command()
@examples(
    (
        "Deny tokens of one channel for an hour",
        'tokensvc denials add --channel "$CHANNEL" --viewer viewer-17 --deny-for 1h',
    ),
    (
        "Of every channel, until a time",
        'tokensvc denials add --all-channels --subject eve@example.com --until 2030-01-01T00:00:00Z --reason "banned"',
    ),
)
def add(
    channel: Annotated[
        list[str] | None, typer.Option(metavar="ARN", help="ARN of the channel; may be repeated.")
    ] = None,
    all_channels: AllChannels = False,
    viewer: Viewer = None,
    subject: Subject = None,
    deny_for: Annotated[
        int | None, duration_option(help="How long the viewer gets no token. Not with --until.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End of the denial, such as 2026-11-21T10:00:00Z. Not with --deny-for."),
    ] = None,
    reason: Reason = "",
    namespace: Namespace = "default",
    as_json: AsJson = False,
) -> None:
    """Block a viewer from getting tokens for a while. Its current sessions continue."""
    given: dict[str, Any] = {
        "channelArns": channel or None,
        "channelArn": ALL_CHANNELS if all_channels else None,
        "until": until,
    }
    given |= {"viewerId": viewer, "subject": subject, "denySeconds": deny_for, "reason": reason}
    fields = {name: value for name, value in given.items() if value is not None}
    with admin_context(namespace, channelArn="--all-channels") as admin:
        denials = admin.denials.add(admin.caller, read_denial(fields), admin.requester)
    _print_denials([DenialView.of(denial) for denial in denials], as_json)


@app.command("list")
@examples(
    ("All denials in force", "tokensvc denials list"),
    ("Those of one viewer in one channel", 'tokensvc denials list --channel "$CHANNEL" --viewer viewer-17'),
)
def list_(
    channel: Channel = None,
    all_channels: AllChannels = False,
    viewer: Viewer = None,
    subject: Subject = None,
    namespace: Namespace = "default",
    max_results: MaxResults = 50,
    next_token: NextToken = None,
    as_json: AsJson = False,
) -> None:
    """List denials in force: newest first, or for one viewer by channel."""
    with admin_context(namespace) as admin:
        pages = _pages(admin, _filters(channel, all_channels, viewer, subject))
        results, rest = read_list(pages, max_results, next_token)
    _print_denials(results, as_json, nextToken=rest)
    print_truncated(rest)


@app.command()
@examples(
    ("Remove one denial", f"tokensvc denials remove {DENIAL_ID} --yes"),
    (
        "Remove every denial of one viewer in one channel",
        'tokensvc denials remove --channel "$CHANNEL" --viewer viewer-17 --yes',
    ),
)
def remove(
    denial_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Denial ids, as shown by `list`.")
    ] = None,
    channel: Channel = None,
    all_channels: AllChannels = False,
    viewer: Viewer = None,
    subject: Subject = None,
    namespace: Namespace = "default",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let a viewer get tokens again: name denials, or a channel and a viewer. Revoked tokens stay revoked."""
    wanted = _filters(channel, all_channels, viewer, subject)
    if bool(denial_ids) == bool(wanted) or (wanted and not (viewer or subject)):
        raise InvalidRequest([FieldError("ID", "is required", alternative="--channel with --viewer or --subject")])
    with admin_context(namespace) as admin:
        names = denial_ids or [denial.id for denial in read_all(_pages(admin, wanted))]
        if names:
            confirm(f"Remove {', '.join(names)} and let the viewer get tokens again?", yes)
        for name in names:
            admin.denials.remove(admin.caller, name, admin.requester)
    print_result(
        {"removed": names}, as_json, *([f"Denial {name} removed." for name in names] or ["No denial in force."])
    )


def _filters(channel: str | None, all_channels: bool, viewer: str | None, subject: str | None) -> dict[str, Any]:
    if channel is not None and all_channels:
        raise InvalidRequest([FieldError("--all-channels", "must be left out", excluded_by="--channel")])
    given = {"channelArn": ALL_CHANNELS if all_channels else channel, "viewerId": viewer, "subject": subject}
    return {name: value for name, value in given.items() if value is not None}


def _pages(admin: AdminContext, wanted: dict[str, Any]) -> Fetch[DenialView]:
    """Fetches pages of denials that match the filters."""

    def fetch(size: int, token: str | None) -> tuple[Sequence[DenialView], str | None]:
        query = validated_query(wanted | {"maxResults": size, "nextToken": token}, DenialQuery)
        results = admin.denials.page(admin.caller, query)
        return results.denials, results.next_token

    return fetch


def _print_denials(results: list[DenialView], as_json: bool, **more: str | None) -> None:
    rows = [(d.id, d.channel_arn, d.until, d.caller, d.reason) for d in results]
    lines = format_table(("DENIAL", "CHANNEL", "UNTIL", "CALLER", "REASON"), rows)
    print_result({"denials": [d.model_dump() for d in results], **more}, as_json, *lines)
