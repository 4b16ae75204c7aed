"""Lists that may be longer than what is shown: how much of one is read, and where the rest begins.

Invariants
- A list that is cut says so, on standard error, with the option that continues it; in JSON `nextToken` does.
- `nextToken` is null if and only if nothing follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, TypeVar

import typer

from tokensvc.cli.output import print_progress
from tokensvc.pagination import MAX_PAGE_SIZE

MaxResults = Annotated[int, typer.Option("--max-results", "--max", min=1, max=100_000, help="How many at most.")]
NextToken = Annotated[
    str | None, typer.Option("--next-token", help="Continue a list: the token that it ended with.", metavar="TOKEN")
]
_Entry = TypeVar("_Entry")
Fetch = Callable[[int, str | None], tuple[Sequence[_Entry], str | None]]
"""From a page's size and token to its entries and the next page's token. A page may be short and not be the last."""


def read_list(fetch: Fetch[_Entry], max_results: int, token: str | None) -> tuple[list[_Entry], str | None]:
    """At most so many entries, and the token of those that follow; None when none does."""
    found: list[_Entry] = []
    while True:
        page, token = fetch(min(MAX_PAGE_SIZE, max_results - len(found)), token)
        found += page
        if token is None:
            return found, None
        if len(found) == max_results:
            return found, token if any(read_all(fetch, token, page_size=1)) else None


def read_all(fetch: Fetch[_Entry], token: str | None = None, *, page_size: int = MAX_PAGE_SIZE) -> Iterator[_Entry]:
    """Every entry, page by page."""
    while True:
        page, token = fetch(page_size, token)
        yield from page
        if token is None:
            return


def report_rest(token: str | None) -> None:
    """Report that a list goes on, if it does."""
    if token is not None:
        print_progress(f"There are more: continue with --next-token {token}, or use a larger --max-results.")
