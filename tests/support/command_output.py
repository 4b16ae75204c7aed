"""Validates what commands print with `--json` against their JSON schema."""

from __future__ import annotations

import json
import re
from functools import cache

import jsonschema_rs

from docs.generator.command_results import RESULTS, json_schema, schema_name
from tests.support.processes import CommandResult

_JSON = re.compile(r"\A[^{].*?^(?={)", re.DOTALL | re.MULTILINE)
"""What a server in the process of the test has logged before the command printed."""


@cache
def validator(definition: str) -> jsonschema_rs.Draft202012Validator:
    """The validator of one definition of the schema, times included."""
    schema = json_schema() | {"$ref": f"#/$defs/{definition}"}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def command_of(arguments: tuple[str, ...]) -> str:
    """The command in the arguments: `keys list`."""
    words = " ".join(word for word in arguments if not word.startswith("-"))
    return max((command for command in RESULTS if f"{words} ".find(f"{command} ") >= 0), key=len)


def validate_output(arguments: tuple[str, ...], result: CommandResult) -> None:
    """Fail unless standard output, or else the error, is as the schema of the command says."""
    last_line = result.err.splitlines()[-1] if result.err else ""
    if result.code and last_line.startswith('{"error"'):
        validator("FailedCommand").validate(json.loads(last_line))
        return
    command = command_of(arguments)
    printed = _JSON.sub("", result.out, count=1)
    for document in printed.splitlines() if command == "audit follow" else [printed]:
        validator(schema_name(command)).validate(json.loads(document))
