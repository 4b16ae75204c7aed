"""Queries of lists: which names they take, and the page that is asked for.

Rules of the file
- A name that is not known, or comes twice, is refused by name, as a body's field is; so is every bad value, and all of
  them in one answer.
- A page goes on after the last entry of the one before, so entries that come or go between two pages shift none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.types import Scope

from tokensvc.core.refusal import field_errors, shown_name
from tokensvc.errors import FieldError, InvalidRequest

MAX_RESULTS, MOST_RESULTS = 50, 100
_Entry = TypeVar("_Entry")
_Query = TypeVar("_Query", bound="PageQuery")


class PageQuery(BaseModel):
    """What every list takes."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", hide_input_in_errors=True)

    max_results: Annotated[int, Field(ge=1, le=MOST_RESULTS)] = Field(MAX_RESULTS, description="How many at most")
    next_token: Annotated[str, Field(max_length=100)] | None = Field(None, description="Of the page before")

    @classmethod
    def together(cls, given: Mapping[str, object]) -> list[FieldError]:  # noqa: ARG003 - for those that have such rules
        """The rules that need two parameters, which hold whatever is wrong with each by itself."""
        return []


class PageAsk(NamedTuple):
    """Which part of a list is wanted."""

    max_results: int
    after: str | None
    """The id of the last entry that was given before; None: from the start."""


def read_query(scope: Scope, *known: str) -> dict[str, str]:
    """The query by name. Raises InvalidRequest naming each parameter that is not known or given twice."""
    query, errors = _read(scope, known)
    if errors:
        raise InvalidRequest(errors)
    return query


def read_model(scope: Scope, model: type[_Query]) -> _Query:
    """The query as a model. Raises InvalidRequest naming every bad parameter."""
    query, errors = _read(scope, [str(field.alias) for field in model.model_fields.values()])
    return as_model(query, model, errors)


def as_model(query: Mapping[str, object], model: type[_Query], errors: Sequence[FieldError] = ()) -> _Query:
    """The same of parameters that are read already; `errors` were found in reading them."""
    found = [*errors, *model.together(query)]
    try:
        asked = model.model_validate(query)
    except ValidationError as invalid:
        raise InvalidRequest([*found, *field_errors(invalid)]) from None
    if found:
        raise InvalidRequest(found)
    return asked


def read_page(scope: Scope) -> PageAsk:
    """The page that `maxResults` and `nextToken` ask for. Raises InvalidRequest naming every bad parameter."""
    query, errors = _read(scope, ("maxResults", "nextToken"))
    wanted = query.get("maxResults", str(MAX_RESULTS))
    count = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) <= len(str(MOST_RESULTS)) else 0
    if not 1 <= count <= MOST_RESULTS:
        errors.append(FieldError("maxResults", f"must be an integer from 1 to {MOST_RESULTS}"))
    if errors:
        raise InvalidRequest(errors)
    return PageAsk(count, query.get("nextToken") or None)


def _read(scope: Scope, known: Sequence[str]) -> tuple[dict[str, str], list[FieldError]]:
    """What is known of the query and given once, and what is wrong with the names of the rest."""
    try:
        given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise InvalidRequest([], "the query has too many parameters") from None
    times = Counter(name for name, _ in given)
    errors = [FieldError(shown_name(name), "is not a known parameter") for name in times if name not in known]
    errors += [FieldError(name, "must be given once") for name in known if times[name] > 1]
    return {name: value for name, value in given if name in known and times[name] == 1}, errors


def page_of(
    entries: Sequence[_Entry], ask: PageAsk, id_of: Callable[[_Entry], str]
) -> tuple[Sequence[_Entry], str | None]:
    """The entries of a page and the next one's token, if there is one. Raises InvalidRequest for a token of no list."""
    start = 0
    if ask.after is not None:
        start = next((at for at, entry in enumerate(entries, 1) if id_of(entry) == ask.after), 0)
        if not start:
            raise InvalidRequest([FieldError("nextToken", "must be one that this list gave")])
    page = entries[start : start + ask.max_results]
    return page, id_of(page[-1]) if start + len(page) < len(entries) else None
