"""The reference of what commands print with `--json`, and its JSON schema, from `command_results.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from docs.generator.command_results import RESULTS, json_schema
from docs.generator.fields import fields, response_table
from docs.generator.markdown import anchor, code, table, unwrap

SCHEMA = "command-output.schema.json"


def schema_text() -> str:
    """The JSON schema as a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """The page."""
    definitions = json_schema()["$defs"]
    objects = sorted(name for name, schema in definitions.items() if "properties" in schema)
    links = {name: f"[{name}](#{anchor(name)})" for name in objects}
    rows = [
        (code(f"tokensvc {command} --json"), " or ".join(_result(model.__name__, links) for model in models))
        for command, models in RESULTS.items()
    ]
    sections = [f"## {name}\n\n{_object(name, definitions, links)}" for name in objects]
    return unwrap("\n\n".join([_GENERAL, f"## Commands\n\n{table(('command', 'prints'), rows)}", *sections]))


def _result(name: str, links: Mapping[str, str]) -> str:
    return links.get(name, f"an object with a {links['SettingValue']} for each variable")


def _object(name: str, definitions: Mapping[str, Any], links: Mapping[str, str]) -> str:
    schema = definitions[name]
    rows = response_table(fields(schema, definitions, {other: f"see {link}" for other, link in links.items()}))
    return f"{_first_paragraph(schema.get('description', ''))}\n\n{rows}"


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


_GENERAL = f"""# JSON output of commands

With `--json` a command prints one JSON object on standard output, and nothing else there. `tokensvc audit follow`
prints one object on each line.

- **Types:** numbers, booleans and `null` are those of JSON. A time is RFC 3339 in UTC, such as
  `2026-11-21T10:00:00Z`. A duration is a number of seconds, and its name ends in `Seconds`.
- **Fields:** a field is always there, unless its type says that it may be missing. New fields may be added.
- **Errors:** a command that fails prints a [FailedCommand](#failedcommand) as the last line of standard error; its
  codes are in [error codes](error-codes.md). The exit code tells the kinds of failure apart.
- **Lists:** `nextToken` is `null` if and only if no entry follows; otherwise `--next-token` continues the list.
- **Schema:** [{SCHEMA}]({SCHEMA}) is a JSON schema with a definition for each command, such as
  `#/$defs/keys-list`, and one for errors, `#/$defs/FailedCommand`."""
