"""What commands print: results on standard output, progress and failures on standard error.

Rules of the file
- `--json` prints one JSON object and nothing else on standard output; without it, words for people.
- A destructive command asks on a terminal and wants `--yes` elsewhere.
- Whatever is printed is made printable here, line by line: a text from outside (a reason, a viewer id, what IVS says, a
  file's name) drives no terminal and adds no line. In JSON the same characters are JSON's own escapes.
- No private key is ever printed; an API key once, by the command that made it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from tokensvc.container.logs import process_log
from tokensvc.printable import printable, printable_json
from tokensvc.timestamps import rfc3339

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done and do nothing.")]
DetailedExitCode = Annotated[
    bool, typer.Option("--detailed-exit-code", help="Leave with 3 when there is nothing to do.")
]
NOTHING_TO_DO = 3
UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What typer raises for wrong arguments: of click, or from 0.29 on of the copy of click that typer has."""
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def print_progress(text: str) -> None:
    """Tell a step, on standard error."""
    typer.echo(printable(text), err=True)


def print_result(data: dict[str, Any], as_json: bool, *lines: str) -> None:
    """Print what came out: as JSON, or as these lines."""
    if as_json:
        typer.echo(printable_json(json.dumps(data, ensure_ascii=False, indent=2)))
    else:
        typer.echo("\n".join(map(printable, lines)))


def print_error(code: str, message: str, as_json: bool, *, keep: str = "") -> None:
    """Print why a command failed; `keep` are characters that lay out the message."""
    if as_json:
        error = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False, separators=(",", ":"))
        process_log.print_error(printable_json(error))
    else:
        process_log.print_error(f"tokensvc: {printable(message, keep=keep)}")


def make_printable(wrong_use: Any) -> None:
    """Make what typer will print of a UsageError printable: it repeats arguments."""
    words = printable(wrong_use.format_message(), keep="\n\t")  # lists of choices are laid out with both
    wrong_use.format_message = lambda: words


def format_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns, for people, as lines; without borders, so that they can be cut and searched."""
    lines = [heads, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]


def instant_or_none(at: datetime | None) -> str | None:
    """An instant as JSON shows it."""
    return rfc3339(int(at.timestamp())) if at else None


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be undone; leave with 2 where nobody can be asked and `--yes` is missing."""
    if yes:
        return
    if not sys.stdin.isatty():
        print_progress(f"{question} Nobody can be asked here: say --yes.")
        raise typer.Exit(2)
    typer.confirm(printable(question), abort=True, err=True)
