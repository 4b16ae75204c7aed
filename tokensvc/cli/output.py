"""Printing: results on standard output, progress and errors on standard error.

Invariants
- With `--json`, standard output has one JSON object and nothing else; without it, text for people.
- A destructive command asks for confirmation on a terminal and requires `--yes` elsewhere.
- Everything printed is made printable here, line by line: text from outside (a reason, a viewer id, a message of IVS, a
  file name) can neither control the terminal nor add a line. In JSON the same characters are JSON escapes.
- No private key is ever printed; an API key is printed once, by the command that created it.
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

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done without changing anything.")]
DetailedExitCode = Annotated[bool, typer.Option("--detailed-exit-code", help="Exit with 3 if there was nothing to do.")]
NOTHING_TO_DO = 3
UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""What typer raises for wrong arguments: click's class, or from 0.29 on that of typer's own copy of click."""
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def print_progress(text: str) -> None:
    """Print one line of progress on standard error."""
    typer.echo(printable(text), err=True)


def print_result(data: dict[str, Any], as_json: bool, *lines: str) -> None:
    """Print a command's result: the data as JSON, or the lines."""
    if as_json:
        typer.echo(printable_json(json.dumps(data, ensure_ascii=False, indent=2)))
    else:
        typer.echo("\n".join(map(printable, lines)))


def print_error(code: str, message: str, as_json: bool, *, layout: str = "") -> None:
    """Print why a command failed; the characters in `layout` are printed as they are, all others made printable."""
    if as_json:
        error = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False, separators=(",", ":"))
        process_log.print_error(printable_json(error))
    else:
        process_log.print_error(f"tokensvc: {printable(message, keep=layout)}")


def make_printable(error: Any) -> None:
    """Make the message of a UsageError printable, since it repeats arguments."""
    message = printable(error.format_message(), keep="\n\t")  # lists of choices use both
    error.format_message = lambda: message


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns, one line each; without borders, so that cut, awk and grep work on them."""
    lines = [headers, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]


def instant_or_none(at: datetime | None) -> str | None:
    """An instant in RFC 3339, or None."""
    return rfc3339(int(at.timestamp())) if at else None


def format_duration(seconds: float) -> str:
    """A duration in words, rounded down to its largest unit: `2 minutes`."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return count_of(count, unit)
    return count_of(max(0, int(seconds)), "second")


def count_of(count: float, noun: str) -> str:
    """A count with its noun in the right number: `1 worker`, `2 workers`, `1.5 days`."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation. Exits with 2 if standard input is not a terminal and `--yes` is missing."""
    if yes:
        return
    if not sys.stdin.isatty():
        print_progress(f"{question} Not a terminal: pass --yes to confirm.")
        raise typer.Exit(2)
    typer.confirm(printable(question), abort=True, err=True)
