"""How a command describes itself: to a terminal as plain text, and to the documentation by the same facts.

Invariants
- Plain text, without boxes: it can be searched, copied and piped at any width, and no name is cut off.
- Every command has examples, which `--help` shows, `docs/reference/cli.md` lists, and
  `tests/docs/test_cli_examples.py` runs.
- An example names `$CHANNEL` for a channel's ARN, and the ids below for those that a reader replaces.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from tokensvc.cli.config_option import with_config_option

MAX_WIDTH = 100
KEY_ID = "k4c1f0a9e27b3"
REVOCATION_ID = "r1f0c2d9a83b7e644"
DENIAL_ID = "5b1e7c02f964a38b0d4f6c1e92a7358d"
"""The ids in examples."""
_SECOND_COLUMN_MAX = 30
_Function = TypeVar("_Function", bound=Callable[..., None])


class Example(NamedTuple):
    """A command line, and what it is good for."""

    purpose: str
    command: str


class Parameter(NamedTuple):
    """An argument or option of a command."""

    name: str
    """As it is typed: `--region REGION`."""
    meaning: str
    default: str
    """Empty if there is none, or if the meaning has it."""
    allowed: str
    """Limits of a number; empty if there are none."""
    is_argument: bool
    is_required: bool


def examples(*shown: tuple[str, str]) -> Callable[[_Function], _Function]:
    """Give a command its examples, each as purpose and command line, from the simplest to the most special."""

    def add(function: _Function) -> _Function:
        vars(function)["examples"] = tuple(Example(*example) for example in shown)
        return function

    return add


def examples_of(command: TyperCommand | TyperGroup) -> Sequence[Example]:
    """The command's examples; none for a group."""
    return getattr(command.callback, "examples", ())


def parameters_of(command: TyperCommand | TyperGroup) -> list[Parameter]:
    """The command's arguments and options in their order, without `--help`."""
    return [_parameter(parameter) for parameter in command.params]


def synopsis(command: TyperCommand | TyperGroup, path: str) -> str:
    """How the command is called: `tokensvc keys show KEY [OPTIONS]`."""
    arguments = [p for p in parameters_of(command) if p.is_argument]
    named = [p.name if p.is_required else f"[{p.name}]" for p in arguments]
    return " ".join([path, *(["COMMAND"] if isinstance(command, TyperGroup) else []), *named, "[OPTIONS]"])


def description(command: TyperCommand | TyperGroup) -> str:
    """What the command does: its first sentence, and paragraphs of details."""
    return inspect.cleandoc(command.help or "")


def command_lines(command: str, width: int) -> list[str]:
    """The command line, continued on further lines before options if it is wider."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"  {part}")
        else:
            lines[-1] = f"{lines[-1]} {part}".lstrip(" ") if len(lines) == 1 else f"{lines[-1]} {part}"
    return lines


def _parameter(parameter: Any) -> Parameter:
    is_argument = parameter.param_type_name == "argument"
    if is_argument:
        name = str(parameter.metavar) + (" ..." if parameter.nargs != 1 else "")
    else:
        spelled = [*parameter.opts, *parameter.secondary_opts]
        name = (" / " if parameter.secondary_opts else ", ").join(spelled)
        name += "" if parameter.is_flag else f" {parameter.metavar}"
    return Parameter(
        name, parameter.help or "", _default(parameter), _limits(parameter), is_argument, parameter.required
    )


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return str(parameter.show_default)
    default = parameter.default
    is_shown = default not in (None, "", False, ()) and not callable(default)
    return str(default) if is_shown else ""


def _limits(parameter: Any) -> str:
    holder = getattr(parameter, "type", parameter)  # from typer 0.29 on the parameter itself
    low, high = getattr(holder, "min", None), getattr(holder, "max", None)
    if low is None and high is None:
        return ""
    return f"{low:,} to {high:,}" if high is not None else f"at least {low:,}"


def _rows(parameters: Sequence[Parameter]) -> Iterator[tuple[str, str]]:
    for p in parameters:
        details = "; ".join(filter(None, [p.allowed, f"default: {p.default}" if p.default else ""]))
        yield p.name, f"{p.meaning} [{details}]" if details else p.meaning


class Command(TyperCommand):
    """A command with plain help that ends with examples."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """How the command is called."""
        _program, _, rest = synopsis(self, ctx.command_path).partition(ctx.command_path)
        formatter.write_usage(ctx.command_path, rest.strip())

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        """Arguments and options, each with its meaning, limits and default."""
        parameters = parameters_of(self)
        if arguments := [p for p in parameters if p.is_argument]:
            with formatter.section("Arguments"):
                formatter.write_dl(list(_rows(arguments)), col_max=_SECOND_COLUMN_MAX)
        options = [*_rows([p for p in parameters if not p.is_argument]), ("-h, --help", "Show this message and exit.")]
        with formatter.section("Options"):
            formatter.write_dl(options, col_max=_SECOND_COLUMN_MAX)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click's signature
        """The examples. Their lines are not wrapped, so that they can be copied."""
        if shown := examples_of(self):
            with formatter.section("Examples"):
                for purpose, command in shown:
                    formatter.write(f"  # {purpose}\n")
                    formatter.write("".join(f"  {line}\n" for line in command_lines(command, formatter.width - 2)))


class Group(TyperGroup):
    """A group of commands with plain help, in which no command's description is cut off."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands, each with the first sentence of its description."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Commands(typer.Typer):
    """Declares a group of commands, all of which have plain help."""

    def __init__(self, description: str = "", **options: Any) -> None:
        given: dict[str, Any] = {"cls": Group, "no_args_is_help": True, "add_completion": False} | options
        settings = {"max_content_width": MAX_WIDTH, "help_option_names": ["-h", "--help"]}
        super().__init__(
            help=description or None,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings=settings,
            **given,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """As typer's, with this module's help and `--config`."""
        declare = super().command(name, **{"cls": Command} | options)
        return lambda function: declare(with_config_option(function))
