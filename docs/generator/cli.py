"""The reference of the commands, from the commands themselves (`tokensvc/cli/help.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

from docs.generator.markdown import anchor, code, table, unwrap
from tokensvc.cli.config_option import NAME as CONFIG
from tokensvc.cli.help import (
    DENIAL_ID,
    KEY_ID,
    REVOCATION_ID,
    Parameter,
    command_lines,
    description,
    examples_of,
    parameters_of,
    synopsis,
)
from tokensvc.cli.lazy_group import COMMANDS, load_command

_WIDTH = 100


def commands() -> dict[str, TyperCommand]:
    """Every command that can be run, by its name: `tokensvc keys rotate`."""
    return {path: command for name in COMMANDS for path, command in _commands(load_command(name), f"tokensvc {name}")}


def _commands(command: TyperCommand | TyperGroup, path: str) -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        context = typer.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert isinstance(below, TyperCommand)  # noqa: S101 - no group has groups
            yield from _commands(below, f"{path} {name}")
    else:
        yield path, command


def page() -> str:
    """The page."""
    known = commands()
    rows = [(f"[{code(path)}](#{anchor(path)})", _summary(command)) for path, command in known.items()]
    overview = f"## All commands\n\n{table(('command', 'what it does'), rows)}"
    return unwrap("\n\n".join([_general(known), overview, *(_entry(path, known[path]) for path in known)]))


def _summary(command: TyperCommand) -> str:
    return command.get_short_help_str(limit=1000).rstrip(".")


def _entry(path: str, command: TyperCommand) -> str:
    parts = [f"## {code(path)}", f"```text\n{synopsis(command, path)}\n```", description(command)]
    if parameters := own_parameters(command):
        parts.append(table(("argument or option", "default", "meaning"), map(_row, parameters)))
    shown = [f"# {e.purpose}\n" + "\n".join(command_lines(e.command, _WIDTH)) for e in examples_of(command)]
    parts.append("```sh\n" + "\n\n".join(shown) + "\n```")
    return "\n\n".join(parts)


def own_parameters(command: TyperCommand) -> list[Parameter]:
    """The command's arguments and options without `--config`, which is described once."""
    return [parameter for parameter in parameters_of(command) if not parameter.name.startswith(f"{CONFIG} ")]


def _row(parameter: Parameter) -> tuple[str, str, str]:
    meaning = f"{parameter.meaning} {parameter.allowed.capitalize()}." if parameter.allowed else parameter.meaning
    return code(parameter.name), "required" if parameter.is_required else parameter.default, meaning


def _general(known: dict[str, TyperCommand]) -> str:
    def with_option(option: str) -> str:
        found = [p for p, c in known.items() if any(q.name == option for q in parameters_of(c))]
        return ", ".join(code(path.removeprefix("tokensvc ")) for path in found)

    def without(option: str) -> str:
        found = [p for p, c in known.items() if all(q.name.split()[0] != option for q in parameters_of(c))]
        return ", ".join(code(path.removeprefix("tokensvc ")) for path in found)

    exceptions = without("--json")
    return f"""# Commands

Commands act on the deployment that the [settings](settings.md) of the shell name. `-h` or `--help` after any command
shows what this page has.

{exit_code_table()}

- **`--json`** prints the result as one JSON object on standard output, and an error as `{{"error": {{"code": …,
  "message": …}}}}` on standard error: [JSON output of commands](command-output.md). Every command takes it except
  {exceptions}.
- **`--config FILE`**, before or after a command, names a [settings file](settings.md#settings-file). Every command
  takes it except {without(CONFIG)}.
- **Durations** (`DURATION`) are `90s`, `5m`, `2h`, `1d`, `1h30m`, or a number of seconds.
- **`--dry-run`** shows what would be done without changing anything: {with_option("--dry-run")}.
- **`--yes`** confirms. These commands ask on a terminal, and need it elsewhere: {with_option("--yes")}.
- **`--detailed-exit-code`** exits with 3 if there was nothing to do: {with_option("--detailed-exit-code")}.
- **Output:** results go to standard output; progress, warnings and errors to standard error. Tables have no
  borders and a line for each row, so that `grep`, `awk` and `cut` work on them. On a terminal, a table that is too
  wide wraps cells between words, or lists the cells of each row.
- **Colours:** commands print none, with or without `NO_COLOR`.
- **Lists** that are cut off say so on standard error, with the option that continues them; in JSON, `nextToken` does.
- **Interruption:** every command may be killed and run again. No command prints a private key; an API key is
  printed once, by the command that creates it.
- **Completion** in bash, zsh and fish: `tokensvc --install-completion` installs it for the current shell,
  `--show-completion` prints it. It completes commands, options, and the values of
  `--state`, `--outcome` and `--output`; ids and names of callers are in the store, and are not completed.
- **Manual page:** `man tokensvc` has this page, where the package's `share/man` is in the path of `man`.
- **Version:** `tokensvc --version`.

In the examples, `$CHANNEL` is a channel's ARN, `$KEY_PAIR` the ARN of a key pair in IVS, and `{KEY_ID}`,
`{REVOCATION_ID}` and `{DENIAL_ID}` are ids to replace by yours. After `. .demo/env`, commands act on a running
demo, and `$CHANNEL` is its channel."""


def exit_code_table() -> str:
    """What each exit code of a command means."""
    return table(("exit code", "meaning"), EXIT_CODES)


EXIT_CODES = (
    ("0", "Done, or nothing to do."),
    ("1", "Failed. Every command may be run again."),
    ("2", "Wrong usage, or invalid settings or input."),
    ("3", "Nothing to do, only with `--detailed-exit-code`."),
    ("4", "Rejected by a rule. Nothing was changed, except that a rotation request stays pending."),
    ("130", "Interrupted by Ctrl-C."),
)
