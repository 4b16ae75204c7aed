"""The members of a policy, from the model that reads policy files."""

from __future__ import annotations

from docs.generator.fields import fields, request_table
from tokensvc.callers.policy_document import PolicyDocument


def passage() -> str:
    """A table of all members."""
    schema = PolicyDocument.model_json_schema()
    rows = request_table(fields(schema, schema.get("$defs", {})))
    return rows.replace("| field |", "| member |", 1)
