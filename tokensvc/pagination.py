"""Lists in pages: the query parameters of a list, and its page tokens.

Invariants
- A page starts after the last entry of the previous one, so entries that are added or removed in between shift nothing.
- A page token names its list and a position in it. A token of another list, or an invented one, is rejected.
- All bad parameters are reported together, by name.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, field_validator

from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import JsonModel
from tokensvc.validation_errors import field_errors

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 100
MAX_TOKEN_CHARS = 100
_INVALID_TOKEN = "must be a token that this list returned"  # noqa: S105 - a message
_Entry = TypeVar("_Entry")
_Query = TypeVar("_Query", bound="PageQuery")


class PageTokens:
    """Writes and reads the page tokens of one list."""

    def __init__(self, list_name: str, position: str) -> None:
        """`position` is the regular expression of a position in the list; its groups are what `decode` returns."""
        self._prefix = f"{list_name}:"
        self._position = re.compile(position)

    def encode(self, *position: object) -> str:
        """The token of the page that starts after this position."""
        return urlsafe_b64encode((self._prefix + "-".join(map(str, position))).encode()).decode().rstrip("=")

    def decode(self, token: str) -> tuple[str, ...]:
        """The inverse of `encode`, as text. Raises ValueError for a token that `encode` does not return."""
        try:
            text = urlsafe_b64decode((token + "=" * (-len(token) % 4)).encode("ascii")).decode("ascii")
        except (binascii.Error, ValueError):
            text = ""
        found = self._position.fullmatch(text.removeprefix(self._prefix)) if text.startswith(self._prefix) else None
        if found is None or self.encode(*found.groups()) != token:
            raise ValueError(_INVALID_TOKEN)
        return found.groups()


def _page_size(given: object) -> int:
    size = 0
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= len(str(MAX_PAGE_SIZE)):
        size = int(given)
    elif isinstance(given, int):
        size = given
    if not 1 <= size <= MAX_PAGE_SIZE:
        raise ValueError(f"must be an integer from 1 to {MAX_PAGE_SIZE}")
    return size


_PageSize = Annotated[
    int,
    BeforeValidator(_page_size),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE}, mode="validation"),
]


class PageQuery(JsonModel):
    """The query parameters of every list."""

    page_tokens: ClassVar[PageTokens]

    max_results: _PageSize = Field(DEFAULT_PAGE_SIZE, description="Maximum number of entries in the page")
    next_token: Annotated[str, Field(max_length=MAX_TOKEN_CHARS)] | None = Field(
        None, description="The `nextToken` of the previous page. Missing or empty for the first page"
    )

    @field_validator("next_token")
    @classmethod
    def _is_of_this_list(cls, token: str | None) -> str | None:
        if not token:
            return None
        cls.page_tokens.decode(token)
        return token

    @classmethod
    def cross_field_errors(cls, given: Mapping[str, object]) -> list[FieldError]:  # noqa: ARG003 - for subclasses
        """Errors of parameters that are valid individually but not together."""
        return []

    @property
    def position(self) -> tuple[str, ...] | None:
        """The position after which the page starts; None for the first page."""
        return None if self.next_token is None else self.page_tokens.decode(self.next_token)


def validated_query(parameters: Mapping[str, object], model: type[_Query], errors: Sequence[FieldError] = ()) -> _Query:
    """The query parameters of a list as its model. `errors` are those found while parsing the query string. Raises
    InvalidRequest naming every bad parameter."""
    found = [*errors, *model.cross_field_errors(parameters)]
    try:
        query = model.model_validate(parameters)
    except ValidationError as invalid:
        raise InvalidRequest([*found, *field_errors(invalid)]) from None
    if found:
        raise InvalidRequest(found)
    return query


def page_of(
    entries: Sequence[_Entry], query: PageQuery, id_of: Callable[[_Entry], str]
) -> tuple[Sequence[_Entry], str | None]:
    """One page of a list whose positions are ids, and the token of the next page, if there is one. Raises
    InvalidRequest if the entry after which the page starts no longer exists."""
    start = 0
    if (position := query.position) is not None:
        start = next((at for at, entry in enumerate(entries, 1) if id_of(entry) == position[0]), 0)
        if not start:
            raise InvalidRequest([FieldError("nextToken", _INVALID_TOKEN)])
    page = entries[start : start + query.max_results]
    return page, query.page_tokens.encode(id_of(page[-1])) if start + len(page) < len(entries) else None
