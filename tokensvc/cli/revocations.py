"""`tokensvc revocations …`: revokes viewers and shows the delivery to IVS."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tokensvc.audit.requester import Requester
from tokensvc.callers.policy import Caller
from tokensvc.cli.bulk_file import submit_file
from tokensvc.cli.context import AdminContext, Namespace, Reason, Subject, Viewer, admin_context
from tokensvc.cli.durations import duration_option
from tokensvc.cli.help import REVOCATION_ID, Commands, examples
from tokensvc.cli.output import AsJson, Yes, confirm, format_table, print_progress, print_result
from tokensvc.cli.paging import Fetch, MaxResults, NextToken, print_truncated, read_all, read_list
from tokensvc.cli.queue_status import progress_line, queue_statuses, queue_table
from tokensvc.errors import FieldError, InvalidRequest, RevocationNotFound
from tokensvc.pagination import validated_query
from tokensvc.revocations.model import RevocationState
from tokensvc.revocations.requests import RevocationQuery, read_revocation
from tokensvc.revocations.store import Revocation
from tokensvc.revocations.views import AcceptedRevocationView, RevocationView

app = Commands("Revoke viewers: end their sessions and block new tokens.")
Id = Annotated[str, typer.Argument(metavar="ID", help="Revocation id, as shown by `add` and `list`.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Revocation ids, as shown by `add` and `list`.")]


@app.command()
@examples(
    (
        "Revoke a viewer in one channel",
        'tokensvc revocations add --channel "$CHANNEL" --viewer viewer-17 --reason "shares its token"',
    ),
    (
        "By your own id for the viewer, and deny tokens for a day",
        'tokensvc revocations add --channel "$CHANNEL" --subject eve@example.com --deny-for 1d',
    ),
    ("Many, one JSON object per line", "tokensvc revocations add --file revocations.jsonl"),
)
def add(
    channel: Annotated[
        list[str] | None, typer.Option(metavar="ARN", help="ARN of the channel; may be repeated.")
    ] = None,
    viewer: Viewer = None,
    subject: Subject = None,
    issued_before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Revoke only tokens issued before this time, such as 2026-11-21T10:00:00Z."),
    ] = None,
    deny_for: Annotated[
        int | None,
        duration_option(
            help="How long the viewer gets no token. Default: until every worker is in sync. 0s does not block tokens."
        ),
    ] = None,
    reason: Reason = "",
    namespace: Namespace = "default",
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of revocations: one JSON object per line with the fields of POST /v1/revocations; the options "
            "supply fields that a line omits. - reads standard input.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a viewer: IVS ends its sessions, and it gets no token until every worker is in sync."""
    given: dict[str, Any] = {
        "channelArns": channel or None,
        "viewerId": viewer,
        "subject": subject,
        "issuedBefore": issued_before,
    }
    given |= {"denySeconds": deny_for, "reason": reason}
    fields = {name: value for name, value in given.items() if value is not None}
    with admin_context(namespace) as admin:
        if file is not None:
            submit_file(admin, file, fields, as_json)
            return
        accepted = admin.revocations.add(admin.caller, read_revocation(fields), admin.requester)
    shown = AcceptedRevocationView.of(accepted)
    message = f"Revocation {shown.id} queued for IVS; the viewer may return after {shown.readmit_after}."
    print_result(shown.model_dump(), as_json, message)


@app.command("list")
@examples(
    ("The newest revocations", "tokensvc revocations list"),
    ("What IVS has rejected, for a script", "tokensvc revocations list --state failed --json"),
    ("Those of one viewer", "tokensvc revocations list --viewer viewer-17 --max-results 10"),
)
def list_(
    state: Annotated[
        RevocationState | None,
        typer.Option(metavar="|".join(RevocationState), help="Only revocations with a target in this state."),
    ] = None,
    channel: Annotated[str | None, typer.Option(metavar="ARN", help="Only revocations of this channel.")] = None,
    viewer: Viewer = None,
    subject: Subject = None,
    namespace: Namespace = "default",
    max_results: MaxResults = 50,
    next_token: NextToken = None,
    as_json: AsJson = False,
) -> None:
    """List revocations, newest first."""
    filters = {"state": state, "channelArn": channel, "viewerId": viewer, "subject": subject}
    with admin_context(namespace) as admin:
        results, rest = read_list(_pages(admin, filters), max_results, next_token)
    rows = [(r.id, r.state, r.accepted_at, r.readmit_after, str(len(r.targets)), r.caller, r.reason) for r in results]
    headers = ("REVOCATION", "STATE", "ACCEPTED", "READMIT AFTER", "VIEWERS", "CALLER", "REASON")
    data = {"revocations": [r.model_dump() for r in results], "nextToken": rest}
    print_result(data, as_json, *format_table(headers, rows))
    print_truncated(rest)


@app.command()
@examples(
    ("IVS's response, attempts and times", f"tokensvc revocations show {REVOCATION_ID}"),
)
def show(revocation_id: Id, as_json: AsJson = False) -> None:
    """Show one revocation and the delivery of each target (a channel and viewer)."""
    with admin_context() as admin:
        revocation = RevocationView.of(admin.revocations.get(admin.caller, revocation_id))
    print_result(revocation.model_dump(), as_json, *_describe(revocation))


@app.command()
@examples(
    ("Follow the queues until they are empty", "tokensvc revocations watch"),
    ("Follow one revocation until it is delivered", f"tokensvc revocations watch {REVOCATION_ID}"),
    ("The status now, for a script", "tokensvc revocations watch --once --json"),
)
def watch(
    revocation_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Revocation to follow. Default: all queues.")
    ] = None,
    run_once: Annotated[bool, typer.Option("--once", help="Print the current status and exit.")] = False,
    every: Annotated[
        float, duration_option(at_least=0.01, at_most=3600, show_default="2s", help="Time between updates.")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Follow the delivery of revocations to IVS, with an estimated end, until the queue is empty.

    Exits with 1 if the given revocation failed.
    """
    with admin_context() as admin:
        last = ""
        while True:
            revocation = None
            if revocation_id is not None:
                revocation = admin.revocations.get(admin.caller, revocation_id)
            queues = queue_statuses(admin.store, admin.settings.revocation_rate_fraction)
            is_pending = bool(queues) if revocation is None else revocation.state is RevocationState.QUEUED
            if run_once or not is_pending:
                break
            if (line := progress_line(queues, revocation)) != last:
                print_progress(line)
            last = line
            time.sleep(every)
    if revocation is None:
        print_result({"queues": [queue.to_json() for queue in queues]}, as_json, *queue_table(queues))
        return
    shown = RevocationView.of(revocation)
    print_result(shown.model_dump(), as_json, *_describe(shown))
    if revocation.state is RevocationState.FAILED:
        raise typer.Exit(1)


@app.command()
@examples(
    ("Send the failed targets of one revocation again", f"tokensvc revocations retry {REVOCATION_ID}"),
    ("Of all revocations", "tokensvc revocations retry --all"),
)
def retry(
    revocation_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Revocation ids, as shown by `list`.")
    ] = None,
    all_failed: Annotated[bool, typer.Option("--all", help="Retry all failed revocations.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue failed revocations again."""
    if revocation_ids and all_failed:
        raise InvalidRequest([FieldError("ID", "must not be given", excluded_by="--all")])
    if not revocation_ids and not all_failed:
        raise InvalidRequest([FieldError("ID", "is required", alternative="--all")])
    with admin_context() as admin:
        ids = revocation_ids or []
        if all_failed:
            ids = [r.id for r in read_all(_pages(admin, {"state": RevocationState.FAILED}))]
        _change_each(admin, ids, admin.revocations.retry, as_json, "queued again", RevocationState.QUEUED)


@app.command()
@examples(
    ("Cancel what has not been sent yet", f"tokensvc revocations cancel {REVOCATION_ID} --yes"),
)
def cancel(revocation_ids: Ids, yes: Yes = False, as_json: AsJson = False) -> None:
    """Cancel the targets that are still queued. Denials stay in force, and what was sent to IVS cannot be undone."""
    confirm(f"Cancel {', '.join(revocation_ids)}?", yes)
    with admin_context() as admin:
        _change_each(admin, revocation_ids, admin.revocations.cancel, as_json, "cancelled", RevocationState.CANCELLED)


def _pages(admin: AdminContext, filters: dict[str, Any]) -> Fetch[RevocationView]:
    """Fetches pages of revocations that match the filters."""
    given = {name: value for name, value in filters.items() if value is not None}

    def fetch(size: int, token: str | None) -> tuple[Sequence[RevocationView], str | None]:
        query = validated_query(given | {"maxResults": size, "nextToken": token}, RevocationQuery)
        page = admin.revocations.page(admin.caller, query)
        return page.revocations, page.next_token

    return fetch


def _describe(r: RevocationView) -> list[str]:
    headers = ("CHANNEL", "VIEWER", "VERSIONS UP TO", "STATE", "ATTEMPTS", "FINISHED", "CODE")
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
    requested = f"{r.id}: {r.state}, requested by {r.caller} at {r.accepted_at}"
    return [f"{requested}; the viewer may return after {r.readmit_after}", "", *format_table(headers, rows)]


def _change_each(
    admin: AdminContext,
    ids: Sequence[str],
    change: Callable[[Caller, str, Requester], Revocation],
    as_json: bool,
    action: str,
    state: RevocationState,
) -> None:
    """Change the revocations in turn and print the results: those before a failure as well, since they are done."""
    changed: list[Revocation] = []
    try:
        for id_ in ids:
            changed.append(change(admin.caller, id_, admin.requester))
    except RevocationNotFound as missing:
        raise RevocationNotFound(missing.message, detail=id_) from None
    finally:
        if changed or not ids:
            _print_counts(changed, as_json, action, state)


def _print_counts(revocations: list[Revocation], as_json: bool, action: str, state: RevocationState) -> None:
    """Print how many targets of each revocation are in the state now."""
    shown = [RevocationView.of(revocation) for revocation in revocations]
    lines = [f"{r.id}: {sum(t.state == state for t in r.targets)} of {len(r.targets)} {action}" for r in shown]
    print_result({"revocations": [r.model_dump() for r in shown]}, as_json, *(lines or ["No failed revocations."]))
