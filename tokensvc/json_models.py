"""The base classes of all pydantic models that are parsed from JSON or rendered as JSON, and how one is read.

Invariants
- Names are camelCase in JSON and snake_case in Python; unknown fields are rejected by name.
- No validation error contains the input: a caller may have pasted a secret into the wrong field.
- Request models are validated strictly and are immutable.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tokensvc.errors import InvalidRequest
from tokensvc.validation_errors import field_errors

_Model = TypeVar("_Model", bound=BaseModel)
Timestamp = Annotated[str, Field(description="RFC 3339, UTC, whole seconds", json_schema_extra={"format": "date-time"})]


class JsonModel(BaseModel):
    """A JSON object with camelCase names."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)


class RequestModel(JsonModel):
    """A request body, or a part of one."""

    model_config = ConfigDict(frozen=True, strict=True)


class ViewModel(JsonModel):
    """A part of a response. It is built with the Python names and rendered with the JSON names, defaults included."""

    model_config = ConfigDict(
        populate_by_name=True,
        serialize_by_alias=True,
        use_enum_values=True,
        json_schema_serialization_defaults_required=True,
    )


def read_as(model: type[_Model], fields: Any) -> _Model:
    """Read decoded JSON as a model. Raises InvalidRequest naming every invalid field."""
    try:
        return model.model_validate(fields)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid)) from None
