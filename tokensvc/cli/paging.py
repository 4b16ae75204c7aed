"""Paged lists: `--max-results` and `--next-token`.

Invariants
- A truncated list is reported on standard error with the option that continues it; in JSON, by `nextToken`.
- `nextToken` is null if and only if no entry follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, TypeVar

import typer

from tokensvc.cli.output import print_progress
from tokensvc.pagination import MAX_PAGE_SIZE

MaxResults = Annotated[
    int,
    typer.Option(
        "--max-results", "--max", min=1, max=100_000, metavar="COUNT", help="Maximum number of entries to list."
    ),
]
NextToken = Annotated[
    str | None,
    typer.Option("--next-token", help="Continue a truncated list: the token printed with it.", metavar="TOKEN"),
]
_Entry = TypeVar("_Entry")
Fetch = Callable[[int, str | None], tuple[Sequence[_Entry], str | None]]
"""Maps a page size and token to the page's entries and the next page's token. A short page need not be the last."""


def read_list(fetch: Fetch[_Entry], max_results: int, token: str | None) -> tuple[list[_Entry], str | None]:
    """At most `max_results` entries, and the token for those that follow; None if none do."""
    entries: list[_Entry] = []
    while True:
        page, token = fetch(min(MAX_PAGE_SIZE, max_results - len(entries)), token)
        entries += page
        if token is None:
            return entries, None
        if len(entries) == max_results:
            return entries, token if any(read_all(fetch, token, page_size=1)) else None


def read_all(fetch: Fetch[_Entry], token: str | None = None, *, page_size: int = MAX_PAGE_SIZE) -> Iterator[_Entry]:
    """Every entry, page by page."""
    while True:
        page, token = fetch(page_size, token)
        yield from page
        if token is None:
            return


def print_truncated(token: str | None) -> None:
    """Say that the list is truncated, if it is."""
    if token is not None:
        print_progress(f"More entries follow: continue with --next-token {token}, or raise --max-results.")
