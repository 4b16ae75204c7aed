"""`tokensvc revocations …`: who is out, and how far IVS has been told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tokensvc.cli.bulk_file import submit_file
from tokensvc.cli.context import AdminContext, Namespace, Reason, Subject, Viewer, admin_context
from tokensvc.cli.output import AsJson, Yes, confirm, print_progress, print_result, format_table
from tokensvc.cli.paging import Fetch, MaxResults, NextToken, read_all, read_list, print_truncated
from tokensvc.cli.queue_status import queue_statuses, progress_line, queue_table
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.pagination import validated_query
from tokensvc.revocations.model import RevocationState
from tokensvc.revocations.requests import RevocationQuery, read_revocation
from tokensvc.revocations.store import Revocation
from tokensvc.revocations.views import AcceptedRevocationView, RevocationView

app = typer.Typer(help="End viewers' sessions.", no_args_is_help=True, add_completion=False)
Id = Annotated[str, typer.Argument(help="The revocation, as `add` or `list` shows it.")]
Ids = Annotated[list[str], typer.Argument(help="Revocations, as `add` or `list` shows them.")]


@app.command()
def add(
    channel: Annotated[list[str] | None, typer.Option(help="A channel ARN; may be repeated.")] = None,
    viewer: Viewer = None,
    subject: Subject = None,
    issued_before: Annotated[
        str | None, typer.Option(help="Only sessions of tokens from before then: 2026-11-21T10:00:00Z.")
    ] = None,
    deny: Annotated[
        int | None,
        typer.Option(help="For so many seconds no token; without it until every worker has heard, 0: not at all."),
    ] = None,
    reason: Reason = "",
    namespace: Namespace = "default",
    file: Annotated[
        Path | None,
        typer.Option(
            help="Many: a JSON object a line with the fields of POST /v1/revocations; what a line leaves out is "
            "taken from the options. - is standard input.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """End a viewer's sessions, and let it have no token until every worker has heard."""
    given: dict[str, Any] = {
        "channelArns": channel or None,
        "viewerId": viewer,
        "subject": subject,
        "issuedBefore": issued_before,
    }
    given |= {"denySeconds": deny, "reason": reason}
    fields = {name: value for name, value in given.items() if value is not None}
    with admin_context(namespace) as admin:
        if file is not None:
            submit_file(admin, file, fields, as_json)
            return
        accepted = admin.revocations.add(admin.caller, read_revocation(fields))
    shown = AcceptedRevocationView.of(accepted)
    words = f"Revocation {shown.id} is on its way to IVS; the viewer may come back after {shown.readmit_after}."
    print_result(shown.model_dump(), as_json, words)


@app.command("list")
def list_(
    state: Annotated[RevocationState | None, typer.Option(help="Those of which any part is in it.")] = None,
    channel: Annotated[str | None, typer.Option(help="Those of this channel.")] = None,
    viewer: Viewer = None,
    subject: Subject = None,
    namespace: Namespace = "default",
    max_results: MaxResults = 50,
    next_token: NextToken = None,
    as_json: AsJson = False,
) -> None:
    """List revocations, newest first."""
    wanted = {"state": state, "channelArn": channel, "viewerId": viewer, "subject": subject}
    with admin_context(namespace) as admin:
        results, rest = read_list(_pages(admin, wanted), max_results, next_token)
    rows = [(r.id, r.state, r.accepted_at, r.readmit_after, str(len(r.targets)), r.caller, r.reason) for r in results]
    heads = ("REVOCATION", "STATE", "ACCEPTED", "READMIT AFTER", "VIEWERS", "CALLER", "REASON")
    data = {"revocations": [r.model_dump() for r in results], "nextToken": rest}
    print_result(data, as_json, *format_table(heads, rows))
    print_truncated(rest)


@app.command()
def show(revocation_id: Id, as_json: AsJson = False) -> None:
    """Show how far each part of a revocation has come."""
    with admin_context() as admin:
        results = RevocationView.of(admin.revocations.get(admin.caller, revocation_id))
    print_result(results.model_dump(), as_json, *_describe(results))


@app.command()
def watch(
    revocation_id: Annotated[str | None, typer.Argument(help="One revocation; without it all that waits.")] = None,
    run_once: Annotated[bool, typer.Option("--once", help="Say how it stands and leave.")] = False,
    every: Annotated[float, typer.Option(min=0.01, max=3600, help="Seconds between two looks.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Show how IVS is being told, and about when that ends, until nothing waits any more.

    Leaves with 1 when the one revocation that was asked about failed.
    """
    with admin_context() as admin:
        last = ""
        while True:
            results = None
            if revocation_id is not None:
                results = admin.revocations.get(admin.caller, revocation_id)
            queues = queue_statuses(admin.store, admin.settings.revocation_rate_fraction)
            waits = bool(queues) if results is None else results.state is RevocationState.QUEUED
            if run_once or not waits:
                break
            if (line := progress_line(queues, results)) != last:
                print_progress(line)
            last = line
            time.sleep(every)
    if results is None:
        print_result({"places": [account_region.shown() for account_region in queues]}, as_json, *queue_table(queues))
        return
    shown = RevocationView.of(results)
    print_result(shown.model_dump(), as_json, *_describe(shown))
    if results.state is RevocationState.FAILED:
        raise typer.Exit(1)


@app.command()
def retry(
    revocation_ids: Annotated[list[str] | None, typer.Argument(help="Revocations, as `list` shows them.")] = None,
    all_failed: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue again what failed."""
    if bool(revocation_ids) == all_failed:
        raise InvalidRequest([FieldError("ID", "is required", alternative="--all")])
    with admin_context() as admin:
        failed = [r.id for r in read_all(_pages(admin, {"state": RevocationState.FAILED}))] if all_failed else revocation_ids or []
        done = [admin.revocations.retry(admin.caller, id_) for id_ in failed]
    _print_counts(done, as_json, "queued again", RevocationState.QUEUED)


@app.command()
def cancel(revocation_ids: Ids, yes: Yes = False, as_json: AsJson = False) -> None:
    """Give up what is still queued; viewers that are denied stay so, and what was sent stays sent."""
    confirm(f"Give up {', '.join(revocation_ids)}?", yes)
    with admin_context() as admin:
        done = [admin.revocations.cancel(admin.caller, id_) for id_ in revocation_ids]
    _print_counts(done, as_json, "given up", RevocationState.CANCELLED)


def _pages(admin: AdminContext, wanted: dict[str, Any]) -> Fetch[RevocationView]:
    """The pages of the revocations that are wanted."""
    query = {name: value for name, value in wanted.items() if value is not None}

    def fetch(size: int, token: str | None) -> tuple[Sequence[RevocationView], str | None]:
        asked = validated_query(query | {"maxResults": size, "nextToken": token}, RevocationQuery)
        results = admin.revocations.page(admin.caller, asked)
        return results.revocations, results.next_token

    return fetch


def _describe(r: RevocationView) -> list[str]:
    heads = ("CHANNEL", "VIEWER", "VERSIONS UP TO", "STATE", "ATTEMPTS", "ENDED", "CODE")
    rows = [
        (
            t.channel_arn,
            t.viewer_id,
            str(t.viewer_session_versions_less_than_or_equal_to),
            t.state,
            str(t.attempts),
            t.finished_at or "-",
            t.code or "-",
        )
        for t in r.targets
    ]
    said = f"{r.id}: {r.state}, asked for by {r.caller} at {r.accepted_at}; the viewer may come back after"
    return [f"{said} {r.readmit_after}", "", *format_table(heads, rows)]


def _print_counts(done: list[Revocation], as_json: bool, what: str, state: RevocationState) -> None:
    """What became of each, and of how many parts."""
    shown = [RevocationView.of(revocation) for revocation in done]
    lines = [f"{r.id}: {sum(t.state == state for t in r.targets)} of {len(r.targets)} {what}" for r in shown]
    print_result({"revocations": [r.model_dump() for r in shown]}, as_json, *(lines or ["There are none."]))
