"""Lists in pages: all pages together are the list, and only page tokens of the list are accepted."""

from __future__ import annotations

from contextlib import suppress
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.errors import InvalidRequest
from tokensvc.keys.requests import KeyQuery
from tokensvc.pagination import PageQuery, PageTokens, page_of, validated_query
from tokensvc.revocations.requests import DenialQuery, RevocationQuery

DENIAL_ID = "0123456789abcdef" * 2
POSITIONS: list[tuple[PageTokens, tuple[object, ...]]] = [
    (KeyQuery.page_tokens, ("k1-a",)),
    (RevocationQuery.page_tokens, (7,)),
    (DenialQuery.page_tokens, (10**18 - 1, DENIAL_ID)),
]


def query(page_size: int, token: str | None) -> KeyQuery:
    return validated_query({"maxResults": page_size, "nextToken": token}, KeyQuery)


@given(count=st.integers(0, 30), size=st.integers(1, 12))
def test_all_pages_together_are_the_list(count: int, size: int) -> None:
    entries = [f"e{number}" for number in range(count)]
    listed: list[str] = []
    token: str | None = None
    while True:
        page, token = page_of(entries, query(size, token), str)
        listed += page
        assert len(page) == size or token is None
        if token is None:
            break
    assert listed == entries


def test_a_page_cannot_start_after_an_entry_that_no_longer_exists() -> None:
    with pytest.raises(InvalidRequest, match="nextToken"):
        page_of(["a", "b"], query(1, KeyQuery.page_tokens.encode("c")), str)
    assert page_of(["a", "b"], query(5, KeyQuery.page_tokens.encode("b")), str) == ([], None)


@pytest.mark.parametrize(("tokens", "position"), POSITIONS)
def test_a_page_token_decodes_to_its_position_in_its_own_list_only(
    tokens: PageTokens, position: tuple[object, ...]
) -> None:
    token = tokens.encode(*position)
    assert tokens.decode(token) == tuple(map(str, position))
    for other, _ in POSITIONS:
        if other is not tokens:
            with pytest.raises(ValueError, match="must be a token that this list returned"):
                other.decode(token)


@given(text=st.text(max_size=60))
def test_any_text_is_either_a_page_token_or_rejected(text: str) -> None:
    for tokens, _ in POSITIONS:
        with suppress(ValueError):
            assert tokens.encode(*tokens.decode(text)) == text


@pytest.mark.parametrize("changed", ["{}=", " {}", "{}\n", "{}A", "{}\0"])
def test_a_changed_token_is_rejected(changed: str) -> None:
    for tokens, position in POSITIONS:
        with pytest.raises(ValueError, match="must be a token that this list returned"):
            tokens.decode(changed.format(tokens.encode(*position)))


def test_impossible_positions_are_rejected() -> None:
    for position in (10**18, -1, "1-a", "1\0"):
        with pytest.raises(ValueError, match="must be a token that this list returned"):
            RevocationQuery.page_tokens.decode(RevocationQuery.page_tokens.encode(position))


class Words(PageQuery):
    page_tokens: ClassVar[PageTokens] = PageTokens("words", "([a-z]+)")


def test_the_position_of_the_first_page_is_none() -> None:
    assert validated_query({}, Words).position is None
    assert validated_query({"nextToken": Words.page_tokens.encode("x")}, Words).position == ("x",)
