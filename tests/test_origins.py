"""Origins: which entries may be signed, and which `Origin` headers each entry matches."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.origins import check_origin, covers, join_origins, matches, parse_origin, split_origins

LABELS = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PORTS = st.one_of(st.just(""), st.integers(1, 65_535).filter(lambda p: p not in (80, 443)).map(":{}".format))
SCHEMES = st.sampled_from(["https", "http", "capacitor"])


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "https://example.com",
        "http://example.com:8080",
        "https://*.example.com",
        "https://*.example.com:8443",
        "https://*example.com",
        "http://localhost:3000",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "capacitor://localhost",
        "https://xn--bcher-kva.example",
        "http://example.com:443",
        "https://example.com:80",
    ],
)
def test_an_origin_that_a_browser_sends_is_accepted(entry: str) -> None:
    assert check_origin(entry) == entry


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("", r"must be \* or scheme://host"),
        ("example.com", "must be"),
        ("https://", "must be"),
        ("https://example.com/", "without path"),
        ("https://example.com/app", "without path"),
        ("https://example.com?x", "must be"),
        ("https://user@example.com", "must be"),
        ("https://a.*.example.com", "must be"),
        ("https://**.example.com", "must be"),
        ("*://example.com", "must be"),
        ("https://a,https://b", "must be"),
        (" https://example.com", "must be"),
        ("https://example.com\n", "must be"),
        ("null", "must be"),
        ("https://bücher.example", "must be"),
        ("https://Example.com", "lower case"),
        ("HTTPS://example.com", "lower case"),
        ("https://example.com:443", "leave out :443"),
        ("http://*.example.com:80", "leave out :80"),
        ("https://example.com:", "must be"),
        ("https://example.com:0", "port"),
        ("https://example.com:65536", "port"),
        ("https://example.com:99999", "port"),
        ("https://example.com:08443", "port"),
        ("https://example.com:0443", "port"),
    ],
)
def test_an_origin_that_no_browser_sends_is_rejected(entry: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_origin(entry)


@pytest.mark.slow
@given(SCHEMES, HOSTS, PORTS)
def test_an_entry_matches_exactly_itself(scheme: str, host: str, port: str) -> None:
    origin = f"{scheme}://{host}{port}"
    entry = check_origin(origin)
    assert matches(origin, [entry])
    assert matches(origin, ["https://elsewhere.example", entry])
    assert not matches(f"{scheme}://x{host}{port}", [entry])
    assert not matches(f"{origin}0", [entry])
    assert not matches(f"x{origin}", [entry])


@pytest.mark.slow
@given(SCHEMES, HOSTS, PORTS, HOSTS, st.sampled_from(["", "."]))
def test_a_star_matches_one_or_more_characters_at_the_start_of_the_host(
    scheme: str, host: str, port: str, front: str, dot: str
) -> None:
    entry = check_origin(f"{scheme}://*{dot}{host}{port}")
    assert matches(f"{scheme}://{front}{dot}{host}{port}", [entry])
    assert not matches(f"{scheme}://{dot}{host}{port}", [entry])
    assert not matches(f"{scheme}://{front}{dot}{host}{port}.-", [entry])
    assert not matches(f"other://{front}{dot}{host}{port}", [entry])


def test_a_wildcard_does_not_match_the_bare_domain() -> None:
    assert not matches("https://example.com", ["https://*.example.com"])


def test_a_bare_star_matches_every_origin() -> None:
    assert matches("https://anything.example", ["*"])
    assert matches("null", ["*"])


def test_origins_are_compared_character_by_character() -> None:
    """INFERRED: IVS documents neither case folding nor default ports."""
    assert not matches("https://EXAMPLE.com", ["https://example.com"])
    assert not matches("https://example.com:443", ["https://example.com"])


@given(st.text(), st.lists(st.text()))
def test_matching_never_raises(origin: str, entries: list[str]) -> None:
    assert matches(origin, entries) in (True, False)


@pytest.mark.slow
@given(st.lists(st.builds("{}://{}{}".format, SCHEMES, HOSTS, PORTS), min_size=1))
def test_splitting_the_claim_returns_the_entries(entries: list[str]) -> None:
    assert split_origins(join_origins(entries)) == entries


def test_the_claim_has_no_spaces() -> None:
    assert join_origins(["https://a.example", "https://b.example"]) == "https://a.example,https://b.example"
    assert split_origins("https://a.example, https://b.example")[1] == " https://b.example"


HOSTILE = [
    "https://evil.com/.a.com",
    "https://evil.com/x.a.com",
    "https://evil.com#.a.com",
    "https://evil.com?.a.com",
    "https://evil.com\\.a.com",
    "https://evil.com:443.a.com",
    "https://evil.com:80:x.a.com",
    "https://user@x.a.com",
    "https://user:secret@x.a.com",
    "https://evil.com@x.a.com",
    "https://evil.com x.a.com",
    "https://evil.com https://x.a.com",
    "https://evil.com,https://x.a.com",
    "https://evil.com\t.a.com",
    "https://evil.com\x00.a.com",
    "https://evil.com%2f.a.com",
    "https://evil.com%00.a.com",
    "https://[::1].a.com",
    "https://x..a.com",
    "https://..a.com",
    "https://-\u3002.a.com",
    "https://evil.com\u2044.a.com",
    "https:///evil.com/.a.com",
    "https://x.a.com/",
    "https://x.a.com ",
    " https://x.a.com",
    "https://x.a.com\n",
    "https://x.a.com:",
    "https://x.a.com:443",
    "https://x.a.com:0443",
    "https://X.a.com",
    "https://*.a.com",
    "*",
]


@pytest.mark.parametrize("origin", HOSTILE)
def test_a_header_that_is_not_a_serialized_origin_matches_nothing(origin: str) -> None:
    assert parse_origin(origin) is None
    assert not matches(origin, ["https://*.a.com", "https://*a.com", "https://*.com", origin, "*"])


@pytest.mark.parametrize(
    ("origin", "parsed"),
    [
        ("https://x.a.com", ("https", "x.a.com", "")),
        ("https://x.a.com:8443", ("https", "x.a.com", "8443")),
        ("http://[::1]:3000", ("http", "[::1]", "3000")),
        ("https://my_host.example", ("https", "my_host.example", "")),
        ("https://a.example.", ("https", "a.example.", "")),
        ("capacitor://localhost", ("capacitor", "localhost", "")),
        ("null", ("null", "", "")),
    ],
)
def test_a_serialized_origin_has_a_scheme_a_host_and_a_port(origin: str, parsed: tuple[str, str, str]) -> None:
    assert parse_origin(origin) == parsed


@pytest.mark.parametrize("origin", ["http://[::1]:3000", "https://[fe80::1]", "null", "https://x.a.com:8443"])
def test_a_wildcard_matches_no_ip_literal_opaque_origin_or_other_port(origin: str) -> None:
    assert not matches(origin, ["https://*.a.com", "https://*1", "http://*1:3000", "null://*a"])


@given(st.text(), HOSTS, PORTS)
def test_only_host_names_match_before_an_allowed_domain(front: str, host: str, port: str) -> None:
    origin = f"https://{front}{host}{port}"
    if matches(origin, [f"https://*{host}{port}"]):
        assert re.fullmatch(r"[a-z0-9._-]+", front)
        assert urlsplit(origin).hostname == f"{front}{host}"


_PIECES = st.sampled_from(["https://", "evil.com", ".a.com", "a.com", "/", "@", ":", "443", "?", "#", "\\", " ", "%2f"])


@given(st.lists(_PIECES, max_size=7).map("".join))
def test_a_composed_origin_matches_only_if_its_host_is_in_the_domain(origin: str) -> None:
    if matches(origin, ["https://*.a.com"]):
        split = urlsplit(origin)
        assert (split.scheme, split.path, split.query, split.fragment, split.username) == ("https", "", "", "", None)
        assert (split.hostname or "").endswith(".a.com")
        assert split.port is None


COVERED = [
    ("*", "https://a.example"),
    ("https://a.example", "https://a.example"),
    ("https://*.example", "https://a.example"),
    ("https://*.example", "https://a.b.example"),
    ("https://*.example", "https://*.b.example"),
    ("https://*.example:8443", "https://a.example:8443"),
]
NOT_COVERED = [
    ("https://a.example", "*"),
    ("https://a.example", "https://*.a.example"),
    ("https://*.example", "*"),
    ("https://*.example", "https://example"),
    ("https://*.example", "https://*example"),
    ("https://*.example", "http://a.example"),
    ("https://*.example", "https://a.example:8443"),
    ("https://*1", "https://[::1]"),
]


@pytest.mark.parametrize(
    ("entry", "other", "expected"), [(*p, True) for p in COVERED] + [(*p, False) for p in NOT_COVERED]
)
def test_an_entry_covers_another_that_matches_no_more(entry: str, other: str, expected: bool) -> None:
    assert covers(entry, other) == expected


_ENTRIES = st.builds(
    "https://{}{}".format, st.sampled_from(["", "*", "*."]), st.from_regex(r"(a\.)?a?b", fullmatch=True)
)


@pytest.mark.slow
@given(_ENTRIES, _ENTRIES, st.from_regex(r"https://([ab]\.){0,2}[ab]{1,2}", fullmatch=True))
def test_what_a_covered_entry_matches_the_covering_one_matches(entry: str, other: str, header: str) -> None:
    assert not covers(entry, other) or not matches(header, [other]) or matches(header, [entry])
