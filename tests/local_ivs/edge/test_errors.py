"""Error responses of the edge have the observed form."""

from __future__ import annotations

import json

import pytest

from tokensvc.local_ivs.edge.errors import ERRORS, EdgeError, error_body, token_parameters

PATH = "/api/video/v1/us-west-2.000000000000.channel.abc.m3u8"


def test_the_body_equals_the_observed_array() -> None:
    query = "pbac=true&pbar=true&token=SECRET&pblm=LOW&player_version=1.13.0"
    assert error_body(PATH, query, ERRORS["segments"]).decode() == (
        '[{"url":"/api/video/v1/us-west-2.000000000000.channel.abc.m3u8?pbac=true\\u0026pbar=true\\u0026pblm=LOW'
        '\\u0026player_version=1.13.0","error":"token contains an invalid number of segments",'
        '"error_code":"invalid_playback_auth_token","type":"error"}]'
    )


@pytest.mark.parametrize(
    ("query", "tokens"),
    [
        ("", []),
        ("a=b", []),
        ("token=x", ["x"]),
        ("token", [""]),
        ("token=a&b=c&token=d", ["a", "d"]),
        ("%74oken=x", ["x"]),
        ("token=a%2Eb", ["a.b"]),
        ("Token=x&tokens=y", []),
    ],
)
def test_tokens_are_found_in_the_raw_query(query: str, tokens: list[str]) -> None:
    assert token_parameters(query) == tokens


def test_the_url_in_the_body_contains_no_token() -> None:
    body = error_body(PATH, "token=S1&%74oken=S2&x=<y>&token=", EdgeError("e")).decode()
    assert json.loads(body)[0]["url"] == f"{PATH}?x=<y>"
    for char in "<>&":
        assert char not in body
