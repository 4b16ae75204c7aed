"""Printing: results on standard output, progress and errors on standard error.

Invariants
- With `--json`, standard output has one JSON object and nothing else; without it, text for people.
- A result that cannot be printed is an error in one line; a pipe that nobody reads any more ends the command silently.
- A destructive command asks for confirmation on a terminal and requires `--yes` elsewhere.
- Everything printed is made printable here, line by line: text from outside (a reason, a viewer id, a message of IVS, a
  file name) can neither control the terminal nor add a line. In JSON the same characters are JSON escapes.
- No private key is ever printed; an API key is printed once, by the command that created it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from tokensvc.cli.tables import lay_out
from tokensvc.errors import OutputUnwritable
from tokensvc.jose.private_key_text import contains_private_key
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
        _write(printable_json(json.dumps(data, ensure_ascii=False, indent=2)))
    else:
        print_text(*lines)


def print_text(*lines: str) -> None:
    """Print text that has no form in JSON."""
    _write("\n".join(map(printable, lines)))


def print_entry(data: dict[str, Any], as_json: bool, *cells: str) -> None:
    """Print one entry of an endless list immediately: the data as a line of JSON, or the cells."""
    line = json.dumps(data, ensure_ascii=False)
    _write(printable_json(line) if as_json else "  ".join(map(printable, cells)))


def _write(text: str) -> None:
    """Write lines to standard output. Raises OutputUnwritable, or BrokenPipeError, which typer handles."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_unwritten()
        remedy = "what the command did remains done; free space or redirect the output elsewhere"
        raise OutputUnwritable(f"standard output cannot be written: {error.strerror}; {remedy}") from None


def _discard_unwritten() -> None:
    """Let standard output discard what it still holds, or Python would fail to write that again at exit."""
    discarding = os.open(os.devnull, os.O_WRONLY)
    os.dup2(discarding, sys.stdout.fileno())
    os.close(discarding)


def print_error(code: str, message: str, as_json: bool, *, layout: str = "") -> None:
    """Print why a command failed; the characters in `layout` are printed as they are, all others made printable."""
    from tokensvc.container.logs import process_log  # loads structlog

    if as_json:
        error = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False, separators=(",", ":"))
        process_log.print_error(printable_json(error))
    else:
        process_log.print_error(f"tokensvc: {printable(message, keep=layout)}")


def make_printable(error: Any) -> None:
    """Make the message of a UsageError printable, since it repeats arguments; one with a private key is replaced."""
    message = printable(error.format_message(), keep="\n\t")  # lists of choices use both
    if contains_private_key(message):  # its first line begins like an option
        message = "An argument contains a private key, which is not read from there and not repeated here."
    error.format_message = lambda: message


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns without borders, fitted to the terminal if standard output is one."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return lay_out(headers, [[printable(cell) for cell in row] for row in rows], width)


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
