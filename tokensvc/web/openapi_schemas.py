"""The schemas of the OpenAPI document: what pydantic derives from the models, in the form that code generators expect.

Invariants
- A schema has the same public name whichever operations are described with it, without `View`, and unique.
- No field of a body has a `default`: generators of types make such a field required. Its description has the default.
- Objects of requests are closed, since unknown fields are rejected; those of responses are open, since later releases
  may add members.
- A response's member that may be missing is not nullable, and one that may be null is always there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import CoreModeRef, DefsRef, GenerateJsonSchema, JsonSchemaMode, models_json_schema

from tokensvc.http.error_codes import ERROR_CODES

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
_NULL = {"type": "null"}
_PUBLIC_NAMES = {
    "tokensvc.audit.record.ActorKind": "AuditActorKind",
    "tokensvc.audit.record.Outcome": "AuditOutcome",
    "tokensvc.audit.views.ActorView": "AuditActor",
    "tokensvc.diagnostics.status.DispatchView": "RevocationQueue",
    "tokensvc.diagnostics.status.LeaderView": "Leader",
    "tokensvc.diagnostics.status.RegionView": "RegionStatus",
    "tokensvc.diagnostics.status.SlotsView": "KeySlots",
    "tokensvc.diagnostics.status.StatusView": "DeploymentStatus",
    "tokensvc.keys.lifecycle.StepKind": "KeyStepKind",
    "tokensvc.keys.views.StepView": "KeyStep",
    "tokensvc.tokens.explain_request.RuleView": "ExplainedRule",
    "tokensvc.tokens.request.Ads": "AdInsertion",
    "tokensvc.tokens.validation.Outcome": "ExplanationOutcome",
    "tokensvc.tokens.validation.RuleStatus": "RuleResult",
}
"""Public names of classes whose own name says too little outside their module. Others keep theirs, without `View`."""
_UPPER_CASE = {"arn": "ARN", "arns": "ARNs", "pid": "PID", "ttl": "TTL", "url": "URL", "jwk": "JWK"}
PROBLEM_CODE = "ProblemCode"


def public_name(model: type) -> str:
    """The name of a model's schema."""
    return _public_name(f"{model.__module__}.{model.__qualname__}")


def _public_name(qualified: str) -> str:
    return _PUBLIC_NAMES.get(qualified, qualified.rpartition(".")[2].removesuffix("View"))


def reference(model: type) -> dict[str, str]:
    """A reference to a model's schema."""
    return {"$ref": REFERENCE.format(model=public_name(model))}


class _PublicSchemas(GenerateJsonSchema):
    def get_defs_ref(self, core_mode_ref: CoreModeRef) -> DefsRef:
        core_ref, mode = core_mode_ref
        qualified, _, number = core_ref.rpartition(":")
        return super().get_defs_ref((type(core_ref)(f"{_public_name(qualified)}:{number}"), mode))

    def get_title_from_name(self, name: str) -> str:
        return in_words(name)


def in_words(name: str) -> str:
    """A name in camel case as words: `playbackUrl` is "Playback URL"."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]
    shown = [_UPPER_CASE.get(word, word) for word in words]
    return " ".join([shown[0][0].upper() + shown[0][1:], *shown[1:]])


def request_schemas(models: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """The schemas of request bodies, and of what they consist of."""
    schemas = _schemas(models, "validation")
    for field, _ in _fields(schemas):
        _state_default(field)
        _compact_null(field)
    return schemas


def response_schemas(models: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """The schemas of responses, and of what they consist of."""
    schemas = _schemas(models, "serialization")
    for field, required in _fields(schemas):
        field.pop("default", None)
        if not required:
            _drop_null(field)
        _compact_null(field)
    for schema in schemas.values():
        schema.pop("additionalProperties", None)
    if "Problem" in schemas:
        schemas[PROBLEM_CODE] = _problem_codes()
        code = schemas["Problem"]["properties"]["code"]
        schemas["Problem"]["properties"]["code"] = {
            "$ref": REFERENCE.format(model=PROBLEM_CODE),
            "description": code["description"],
        }
    return schemas


def query_parameters(model: type[BaseModel]) -> tuple[Mapping[str, Schema], dict[str, Schema]]:
    """The schema of each parameter of a query string, which cannot express null, and the schemas that they refer to."""
    schemas = _schemas([model], "validation")
    parameters = schemas.pop(public_name(model))["properties"]
    for schema in parameters.values():
        _drop_null(schema)
        if schema.get("default", ...) is None:
            del schema["default"]
    return parameters, schemas


def _schemas(models: Iterable[type[BaseModel]], mode: JsonSchemaMode) -> dict[str, Schema]:
    pairs = [(model, mode) for model in models]
    _, found = models_json_schema(pairs, ref_template=REFERENCE, schema_generator=_PublicSchemas)
    schemas: dict[str, Schema] = found.get("$defs", {})
    for name, schema in schemas.items():
        schema["title"] = in_words(name)
    return schemas


def _fields(schemas: Mapping[str, Schema]) -> Iterator[tuple[Schema, bool]]:
    """Each field of each object, and whether it is required."""
    for schema in schemas.values():
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            yield field, name in required


def _state_default(field: Schema) -> None:
    default = field.pop("default", None)
    if default not in (None, ""):
        text = str(default).lower() if isinstance(default, bool) else str(default)
        field["description"] += f". Default: `{text}`"


def _drop_null(field: Schema) -> None:
    """Without the alternative null; what is left is merged into the field."""
    alternatives = [each for each in field.get("anyOf", ()) if each != _NULL]
    if len(alternatives) == 1:
        del field["anyOf"]
        field.update({**alternatives[0], **field})


def _compact_null(field: Schema) -> None:
    """`anyOf` of a type and null as one schema with two types, which more generators understand. A reference stays."""
    alternatives = [each for each in field.get("anyOf", ()) if each != _NULL]
    if len(alternatives) == 1 and len(field["anyOf"]) == 2 and isinstance(alternatives[0].get("type"), str):
        _drop_null(field)
        field["type"] = [field["type"], "null"]
        if "enum" in field:
            field["enum"] = [*field["enum"], None]


def _problem_codes() -> Schema:
    meanings = "\n".join(f"- `{entry.code}` ({entry.status}): {entry.meaning}" for entry in ERROR_CODES.values())
    return {
        "type": "string",
        "title": in_words(PROBLEM_CODE),
        "description": "What happened, for programs. Later releases may add codes, so treat an unknown one by the "
        f"status.\n\n{meanings}",
        "enum": [*ERROR_CODES],
    }
