"""The base classes of every pydantic model that is read from JSON or rendered as JSON.

Invariants
- Names are camelCase in JSON and snake_case in Python; unknown fields are rejected by name.
- No validation error contains the input: a caller may have pasted a secret into the wrong field.
- What a caller sends is validated strictly and cannot be changed afterwards.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Timestamp = Annotated[str, Field(description="RFC 3339, UTC, whole seconds", json_schema_extra={"format": "date-time"})]


class JsonModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)


class RequestModel(JsonModel):
    """The body of a request, or a part of it."""

    model_config = ConfigDict(frozen=True, strict=True)


class ViewModel(JsonModel):
    """What a response shows; it is made from Python names and rendered under JSON's."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True, use_enum_values=True)
