"""Reads the query string of a request.

Invariants
- An unknown or repeated parameter is rejected by name, like a field of a body.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.types import Scope

from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.pagination import PageQuery, validated_query
from tokensvc.validation_errors import shown_name

_Query = TypeVar("_Query", bound=PageQuery)


def reject_parameters(scope: Scope) -> None:
    """For a request without parameters. Raises InvalidRequest naming each that was sent."""
    if errors := _read(scope, ())[1]:
        raise InvalidRequest(errors)


def read_model(scope: Scope, model: type[_Query]) -> _Query:
    """The query as a model. Raises InvalidRequest naming every invalid parameter."""
    query, errors = _read(scope, [str(field.alias) for field in model.model_fields.values()])
    return validated_query(query, model, errors)


def _read(scope: Scope, known: Sequence[str]) -> tuple[dict[str, str], list[FieldError]]:
    """The known parameters that were sent once, and errors for the rest."""
    try:
        given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise InvalidRequest([], "the query has too many parameters") from None
    times = Counter(name for name, _ in given)
    errors = [FieldError(shown_name(name), "is not a known parameter") for name in times if name not in known]
    errors += [FieldError(name, "must be given once") for name in known if times[name] > 1]
    return {name: value for name, value in given if name in known and times[name] == 1}, errors
