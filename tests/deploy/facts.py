"""What the files under deploy/ may name: settings, variables of boto3, and commands that exist.

Invariants
- Each name is taken from the code, so that a renamed setting or command fails a test of the file that still has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from pydantic import SecretStr

from docs.generator.cli import commands
from tokensvc.settings import Settings, variable_name

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SECRETS = frozenset(
    variable_name(name) for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)
)
"""The settings that hold a secret."""
_VARIABLES = frozenset(variable_name(name) + suffix for name in Settings.model_fields for suffix in ("", "_FILE"))
_NAME = re.compile(r"\bTOKENSVC_[A-Z_]+")


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Those of these environment variables that neither tokensvc nor boto3 reads."""
    return sorted(name for name in names if name not in _VARIABLES and not name.startswith("AWS_"))


def named_variables(text: str) -> set[str]:
    """The TOKENSVC_… variables that a text names."""
    return set(_NAME.findall(text))


def expected_processes(rules: Path) -> int:
    """The number of processes that the alerts of a file expect."""
    [number] = set(re.findall(r"tokensvc_workers\) [<>] (\d+)", rules.read_text("utf-8")))
    return int(number)


def plain_secrets(environ: Mapping[str, str]) -> list[str]:
    """Those variables that contain a secret, instead of naming a file that does."""
    return sorted(SECRETS & environ.keys())


def is_command(words: Sequence[str]) -> bool:
    """Whether this is a complete `tokensvc` command without options."""
    return " ".join(words) in {name.removeprefix("tokensvc ") for name in commands()}


def assignments(text: str) -> dict[str, str]:
    """The NAME=value lines of a file of settings."""
    lines = [line.partition("=") for line in text.splitlines() if re.match(r"[A-Z_]+=", line)]
    return {name: value.strip("'\"") for name, _, value in lines}
