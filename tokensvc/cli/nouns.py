"""Which file holds which noun of the command line.

Rules of the file
- A noun's file is loaded when the noun is asked for: no command waits for libraries that only another needs.
- Each file has an `app` (a noun with verbs) or one function of the noun's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tokensvc.cli.screen import WrongUse, make_printable

NOUNS = (
    "demo",
    "serve",
    "work",
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


class Commands(Mapping[str, TyperCommand | TyperGroup]):
    """Each noun's command, made of its file when it is looked up."""

    def __getitem__(self, noun: str) -> TyperCommand | TyperGroup:
        if noun not in NOUNS:
            raise KeyError(noun)
        module = import_module(f"tokensvc.cli.{noun}")
        verbs = getattr(module, "app", None)
        if verbs is None:
            verbs = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            verbs.command()(getattr(module, noun))
        command: Any = typer.main.get_command(verbs)
        command.name = noun
        return command  # type: ignore[no-any-return] # typer makes one of the two

    def __iter__(self) -> Iterator[str]:
        return iter(NOUNS)

    def __len__(self) -> int:
        return len(NOUNS)


class Nouns(TyperGroup):
    """The group of all nouns."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = Commands()  # type: ignore[assignment] # nobody adds to it

    def invoke(self, ctx: Any) -> Any:
        """As typer does it; the arguments that a wrong use repeats are made printable."""
        try:
            return super().invoke(ctx)
        except WrongUse as wrong_use:
            make_printable(wrong_use)
            raise
