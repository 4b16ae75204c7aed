"""Which file holds which noun of the command line.

Rules of the file
- A noun's file is loaded when the noun is asked for: no command waits for libraries that only another needs.
- Each file has an `app` (a noun with verbs) or one function of the noun's name.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tokensvc.cli.output import UsageError, make_printable

COMMANDS = (
    "demo",
    "serve",
    "worker",
    "ivs",
    "db",
    "doctor",
    "settings",
    "keys",
    "tokens",
    "revocations",
    "denials",
    "callers",
)
"""In the order in which `--help` lists them."""


def load_command(noun: str) -> TyperCommand | TyperGroup:
    """The command of a noun, made of its file."""
    module = import_module(f"tokensvc.cli.{noun}")
    verbs = getattr(module, "app", None)
    if verbs is None:
        verbs = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        verbs.command()(getattr(module, noun))
    command: Any = typer.main.get_command(verbs)
    command.name = noun
    return command  # type: ignore[no-any-return] # typer makes one of the two


class LazyGroup(TyperGroup):
    """The group of all nouns. It knows their names from the start, for `--help` and for what a wrong name resembles,
    and loads a command when it is looked up, as click documents it for lazy groups."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for noun in COMMANDS:
            self.add_command(TyperCommand(noun))  # its name alone: `get_command` gives the command itself

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as click calls it
        """The command of a noun; None for another name."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: Any) -> Any:
        """As typer does it; the arguments that a wrong use repeats are made printable."""
        try:
            return super().invoke(ctx)
        except UsageError as wrong_use:
            make_printable(wrong_use)
            raise
