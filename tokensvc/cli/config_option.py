"""`--config FILE`: the settings file, before or after the command.

Invariants
- The option is the variable `TOKENSVC_CONFIG` for this process, and takes precedence over it. It is given once.
- A command that reads no settings does not have it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from tokensvc.settings_file import CONFIG_VARIABLE

NAME = "--config"
_GIVEN = "tokensvc.config"
_READS_NONE = "reads_no_settings"
_Function = TypeVar("_Function", bound=Callable[..., None])


def _use(context: typer.Context, files: list[str] | None) -> None:
    if files and not context.resilient_parsing:
        given = context.meta.setdefault(_GIVEN, [])
        given += files
        if len(given) > 1:
            raise typer.BadParameter("must be given only once")
        os.environ[CONFIG_VARIABLE] = files[0]


SettingsFileOption = Annotated[
    list[str] | None,
    typer.Option(
        NAME,
        metavar="FILE",
        callback=_use,
        show_default=False,
        help="TOML file with settings, instead of TOKENSVC_CONFIG. Variables of the environment take precedence.",
    ),
]


def reads_no_settings(function: _Function) -> _Function:
    """Mark a command that reads no settings."""
    vars(function)[_READS_NONE] = True
    return function


def with_config_option(function: Callable[..., None]) -> Callable[..., None]:
    """The command with `--config` as its last option."""
    if hasattr(function, _READS_NONE):
        return function
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    own = [p.replace(annotation=hints[p.name]) for p in signature.parameters.values()]
    option = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SettingsFileOption)

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        del arguments["config"]
        function(**arguments)

    vars(run)["__signature__"] = signature.replace(parameters=[*own, option])
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, option]}
    return run
