"""Query parameters: paging, and rejection of unknown ones."""

from __future__ import annotations

import pytest

from tests.support.asgi_client import scope_of
from tokensvc.errors import InvalidRequest
from tokensvc.keys.requests import KeyQuery
from tokensvc.pagination import DEFAULT_PAGE_SIZE, PageQuery
from tokensvc.revocations.requests import DenialQuery, RevocationQuery
from tokensvc.web.query_parameters import read_model, reject_parameters


def read_query(query: str) -> KeyQuery:
    return read_model(scope_of("GET") | {"query_string": query.encode()}, KeyQuery)


def test_an_empty_query_is_the_first_page() -> None:
    assert (read_query("").max_results, read_query("").position) == (DEFAULT_PAGE_SIZE, None)
    seventh = read_query(f"maxResults=7&nextToken={KeyQuery.page_tokens.encode('k5')}")
    assert (seventh.max_results, seventh.position) == (7, ("k5",))
    for model in (KeyQuery, RevocationQuery, DenialQuery):
        page = read_model(scope_of("GET") | {"query_string": b"nextToken="}, model)
        assert (page.max_results, page.position) == (DEFAULT_PAGE_SIZE, None)


@pytest.mark.parametrize("count", ["0", "101", "-1", "x", "", "1e1", "\u0661", "9" * 5000])
def test_max_results_is_from_1_to_100(count: str) -> None:
    with pytest.raises(InvalidRequest, match="maxResults: must be an integer from 1 to 100"):
        read_query(f"maxResults={count}")
    for model in (RevocationQuery, DenialQuery):
        assert errors_of(f"maxResults={count}", model) == [("maxResults", "must be an integer from 1 to 100")]


def test_unknown_and_repeated_parameters_are_rejected_by_name() -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_query("maxresults=1&nextToken=a&nextToken=b")
    assert [(e.field, e.message) for e in raised.value.errors] == [
        ("maxresults", "is not a known parameter"),
        ("nextToken", "must be given once"),
    ]
    with pytest.raises(InvalidRequest):
        reject_parameters(scope_of("GET") | {"query_string": b"a=1"})


def test_a_query_with_too_many_parameters_is_rejected() -> None:
    with pytest.raises(InvalidRequest, match="too many parameters"):
        read_query("&".join(f"a{number}=" for number in range(101)))


def errors_of(query: str, model: type[PageQuery]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as raised:
        read_model(scope_of("GET") | {"query_string": query.encode()}, model)
    return [(error.field, error.message) for error in raised.value.errors]


def test_every_bad_parameter_is_reported_together() -> None:
    query = "wrong=1&state=no&maxResults=0&nextToken=x&viewerId=&subject=s&channelArn=c&channelArn=d"
    assert sorted(name for name, _ in errors_of(query, RevocationQuery)) == [
        "channelArn",
        "maxResults",
        "nextToken",
        "state",
        "subject",
        "viewerId",
        "wrong",
    ]
    assert sorted(name for name, _ in errors_of("wrong=1&maxResults=101&nextToken=7&viewerId=v", DenialQuery)) == [
        "channelArn",
        "maxResults",
        "nextToken",
        "wrong",
    ]
    with pytest.raises(InvalidRequest) as raised:
        read_query("wrong=1&maxResults=0&nextToken=a&nextToken=b")
    assert [error.field for error in raised.value.errors] == ["wrong", "nextToken", "maxResults"]


def test_a_repeated_parameter_is_rejected_whatever_its_values() -> None:
    assert errors_of("maxResults=0&maxResults=x", RevocationQuery) == [("maxResults", "must be given once")]
