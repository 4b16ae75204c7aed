"""The root command group, which imports a command's module only when that command is run.

Invariants
- No command waits for libraries that only another one needs.
- Each module has an `app` (a group with subcommands) or one function with the command's name.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tokensvc.cli.help import Commands, Group
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


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Import a command's module and build the command."""
    module = import_module(f"tokensvc.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = Commands(no_args_is_help=False)
        app.command()(getattr(module, name))
    command: Any = typer.main.get_command(app)
    command.name = name
    return command  # type: ignore[no-any-return] # typer returns one of the two


class LazyGroup(Group):
    """The group of all commands.

    It knows their names from the start, for `--help` and for suggestions after a misspelt name, and loads a command
    when it is looked up, as click documents for lazy groups.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in COMMANDS:
            self.add_command(TyperCommand(name))  # a placeholder: `get_command` returns the command itself

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        """The command with this name; None if there is none."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: Any) -> Any:
        """Run the command; arguments that a usage error repeats are made printable."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            make_printable(error)
            raise
