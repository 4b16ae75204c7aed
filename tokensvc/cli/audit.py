"""`tokensvc audit …`: who did what, and what was refused."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from tokensvc.audit.follow import follow as follow_records
from tokensvc.audit.record import Outcome
from tokensvc.audit.search import AuditSearch
from tokensvc.audit.viewers import ViewerDigests
from tokensvc.audit.views import AuditQuery, AuditRecordView
from tokensvc.cli.context import to_option_error
from tokensvc.cli.durations import duration_option
from tokensvc.cli.help import Commands, examples
from tokensvc.cli.output import AsJson, format_table, print_entry, print_progress, print_result
from tokensvc.cli.paging import Fetch, MaxResults, NextToken, print_truncated, read_list
from tokensvc.container.store import open_configured_store
from tokensvc.errors import InvalidRequest
from tokensvc.pagination import validated_query
from tokensvc.settings import read_settings

app = Commands("Read the audit records: who did what, and what was refused.")

ActorOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only what this caller, or this user of the command line, did.")
]
ActionOption = Annotated[
    str | None,
    typer.Option(metavar="ACTION", help="Only this action, such as denials.add, or all of a subject: denials."),
]
OutcomeOption = Annotated[
    Outcome | None, typer.Option(metavar="|".join(Outcome), help="Only what was done, or only what was refused.")
]
TargetOption = Annotated[
    str | None, typer.Option(metavar="TARGET", help="Only what was done to this caller, key, channel, or id.")
]
ViewerOption = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Only what concerns this viewer, by the viewer id or subject that was requested."),
]
_OPTIONS_BY_FIELD = {
    "viewerId": "--viewer",
    "maxResults": "--max-results",
    "nextToken": "--next-token",
    **{name: f"--{name}" for name in ("actor", "action", "outcome", "target", "since", "until")},
}


@app.command("list")
@examples(
    ("The newest records", "tokensvc audit list"),
    ("What was refused since a time", "tokensvc audit list --outcome refused --since 2026-11-21T00:00:00Z"),
    ("Everything about one viewer, for a script", "tokensvc audit list --viewer viewer-17 --json"),
    ("Who has changed denials", "tokensvc audit list --action denials"),
)
def list_(
    actor: ActorOption = None,
    action: ActionOption = None,
    outcome: OutcomeOption = None,
    target: TargetOption = None,
    viewer: ViewerOption = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only records from this time on, such as 2026-11-21T10:00:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only records before this time.")] = None,
    max_results: MaxResults = 50,
    next_token: NextToken = None,
    as_json: AsJson = False,
) -> None:
    """List audit records, newest first."""
    given = _given(actor, action, outcome, target, viewer) | {"since": since, "until": until}
    with _search() as search:
        records, rest = read_list(_pages(search, given), max_results, next_token)
    data = {"records": [record.model_dump(mode="json") for record in records], "nextToken": rest}
    print_result(data, as_json, *format_table(_HEADERS, [_row(record) for record in records]))
    print_truncated(rest)


@app.command()
@examples(
    ("New records, as they are written, until Ctrl-C", "tokensvc audit follow"),
    ("Refusals as JSON, one record a line", "tokensvc audit follow --outcome refused --json"),
)
def follow(
    actor: ActorOption = None,
    action: ActionOption = None,
    outcome: OutcomeOption = None,
    target: TargetOption = None,
    viewer: ViewerOption = None,
    every: Annotated[
        float, duration_option(at_least=0.01, at_most=3600, show_default="1s", help="Time between reads.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Print new audit records as they are written, until Ctrl-C. Waits through outages of the store.

    With --json each record is one line.
    """
    with _search() as search:
        matching = search.filter_of(_query(_given(actor, action, outcome, target, viewer)))
        records = follow_records(
            lambda after, limit: search.store.list(matching, limit=limit, after=after),
            search.newest_number(),
            newest_number=search.newest_number,
            pause=lambda: time.sleep(every),
            on_outage=lambda outage: print_progress(f"{outage.message}; waiting for the store"),
            on_restored=lambda newest: print_progress(
                f"The newest record is now {newest}, as after a restore; continuing with those after it."
            ),
        )
        print_progress("Following new audit records; Ctrl-C ends.")
        try:
            for record in records:
                view = AuditRecordView.of(record)
                print_entry(view.model_dump(mode="json"), as_json, *_row(view))
        except KeyboardInterrupt:
            return


_HEADERS = ("NUMBER", "AT", "ACTOR", "ACTION", "TARGET", "OUTCOME", "TIMES", "REQUEST")


def _row(record: AuditRecordView) -> tuple[str, ...]:
    outcome = record.code or record.outcome
    actor = f"{record.actor.kind} {record.actor.name}"
    target, request_id = record.target or "-", record.request_id or "-"
    return str(record.number), record.at, actor, record.action, target, outcome, str(record.occurrences), request_id


def _given(*values: str | None) -> dict[str, Any]:
    return dict(zip(("actor", "action", "outcome", "target", "viewerId"), values, strict=True))


def _query(given: dict[str, Any], **page: object) -> AuditQuery:
    return validated_query({name: value for name, value in given.items() if value is not None} | page, AuditQuery)


def _pages(search: AuditSearch, given: dict[str, Any]) -> Fetch[AuditRecordView]:
    def fetch(size: int, token: str | None) -> tuple[Sequence[AuditRecordView], str | None]:
        page = search.page(_query(given, maxResults=size, nextToken=token))
        return page.records, page.next_token

    return fetch


@contextmanager
def _search() -> Iterator[AuditSearch]:
    """Open the store that the settings name. An InvalidRequest raised inside names options instead of fields."""
    store = open_configured_store(read_settings(os.environ))
    try:
        yield AuditSearch(store=store.audit, digest_viewer=ViewerDigests(store.audit))
    except InvalidRequest as invalid:
        errors = [to_option_error(error, _OPTIONS_BY_FIELD) for error in invalid.errors]
        raise InvalidRequest(errors, "" if errors else invalid.message) from None
    finally:
        store.close()
