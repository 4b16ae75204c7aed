"""The schema of what commands print has every command, and rejects what is not typed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from docs.generator import ROOT
from docs.generator.cli import commands
from docs.generator.command_output import SCHEMA
from docs.generator.command_results import RESULTS, json_schema, schema_name
from tests.support.command_output import command_of, validator
from tokensvc.cli.help import parameters_of

pytestmark = pytest.mark.slow

SETTING: dict[str, Any] = {"value": 1, "source": "default"}


def test_every_command_with_json_has_a_schema() -> None:
    with_json = {
        path.removeprefix("tokensvc ")
        for path, command in commands().items()
        if any(parameter.name == "--json" for parameter in parameters_of(command))
    }
    assert RESULTS.keys() == with_json
    assert {schema_name(command) for command in RESULTS} <= json_schema()["$defs"].keys()


def test_the_schema_is_valid_and_every_field_is_described() -> None:
    schema = json.loads((ROOT / "reference" / SCHEMA).read_text("utf-8"))
    jsonschema_rs.meta.validate(schema)
    for name, definition in schema["$defs"].items():
        for field, described in definition.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"


@pytest.mark.parametrize(
    ("definition", "document"),
    [
        ("settings", {"TOKENSVC_PORT": SETTING | {"value": {}}}),
        ("settings", {"TOKENSVC_PORT": {"value": 1}}),
        ("callers-list", {"callers": {}}),
        ("health", {"url": "u", "status": "ready", "warnings": "none"}),
        ("denials-list", {"denials": [], "nextToken": 1}),
        ("keys-compromise", {"id": "k", "dryRun": "true", "impact": []}),
        ("db-upgrade", {"before": None, "after": "1", "deployment": "d", "maxTtlSeconds": "60", "changed": []}),
        ("FailedCommand", {"error": {"code": "x"}}),
    ],
)
def test_what_has_another_type_is_rejected(definition: str, document: object) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        validator(definition).validate(document)


def test_a_time_is_rfc_3339() -> None:
    queue = {"account": "1", "region": "r", "queued": 1, "oldestAgeSeconds": 1, "secondsLeft": 1.5, "problem": None}
    validator("revocations-watch").validate({"queues": [queue | {"endsAt": "2026-11-21T10:00:00Z"}]})
    for wrong in ("2026-11-21 10:00", "tomorrow", 1_700_000_000):
        with pytest.raises(jsonschema_rs.ValidationError):
            validator("revocations-watch").validate({"queues": [queue | {"endsAt": wrong}]})


def test_the_command_is_found_among_its_arguments() -> None:
    assert command_of(("keys", "list", "--json")) == "keys list"
    assert command_of(("--config", "x", "settings", "--json")) == "settings"
    assert command_of(("callers", "rotate-secret", "web", "--json")) == "callers rotate-secret"
