"""The root command group, which imports a command's module only when that command is run.

Invariants
- No command waits for libraries that only another one needs; `--help` loads no command.
- Each module has an `app` (a group with subcommands) or one function with the command's name.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tokensvc.cli.help import Commands, Group
from tokensvc.cli.output import UsageError, make_printable

COMMANDS = {
    "demo": "Start the service with a local IVS, a live channel, a key and a caller, and print four commands to try.",
    "serve": "Serve the HTTP API.",
    "worker": "Run the background tasks (key rotation, revocation dispatch) without serving requests.",
    "ivs": "Run the local IVS, a stand-in for development and tests.",
    "db": "Create and upgrade the database.",
    "doctor": "Check settings, store, vault, IVS and callers, and print a fix for every problem.",
    "settings": "Show the effective value and the source of every setting.",
    "health": "Ask a running service whether it is ready (/readyz).",
    "keys": "Manage signing keys.",
    "tokens": "Issue and inspect playback tokens.",
    "revocations": "Revoke viewers: end their sessions and block new tokens.",
    "denials": "Block viewers from getting tokens.",
    "callers": "Manage callers of the HTTP API and their API keys.",
    "audit": "Read the audit records: who did what, and what was refused.",
}
"""In the order in which `--help` lists them, with the first sentence of their descriptions. They are stated here, so
that `--help` and the completion of names load no command; a test compares them with the commands."""


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

    It has a placeholder for each, for `--help`, completion and suggestions after a misspelt name, and loads a command
    when it is run, as click documents for lazy groups.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, sentence in COMMANDS.items():
            self.add_command(TyperCommand(name, help=sentence))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, loaded."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        command = placeholder and load_command(str(placeholder.name))
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; arguments that a usage error repeats are made printable."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            make_printable(error)
            raise
