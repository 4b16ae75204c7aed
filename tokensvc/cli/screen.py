"""What commands print: results on standard output, progress and failures on standard error.

Rules of the file
- `--json` prints one JSON object and nothing else on standard output; without it, words for people.
- A destructive command asks on a terminal and wants `--yes` elsewhere.
- No private key is ever printed; an API key once, by the command that made it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer

from tokensvc.core.instant import rfc3339

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]
DetailedExitCode = Annotated[
    bool, typer.Option("--detailed-exit-code", help="Leave with 3 when there is nothing to do.")
]
NOTHING_TO_DO = 3
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def progress(text: str) -> None:
    """Tell a step, on standard error."""
    typer.echo(text, err=True)


def result(data: dict[str, Any], as_json: bool, text: str) -> None:
    """Print what came out."""
    typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() if as_json else text)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns, for people; without borders, so that they can be cut and searched."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def instant(at: datetime | None) -> str | None:
    """An instant as JSON shows it."""
    return rfc3339(int(at.timestamp())) if at else None


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone; leave with 2 where nobody can be asked and `--yes` is missing."""
    if yes:
        return
    if not sys.stdin.isatty():
        progress(f"{question} Nobody can be asked here: say --yes.")
        raise typer.Exit(2)
    typer.confirm(question, abort=True, err=True)
