"""A viewer's country comes from a database file or a trusted header, and is unknown whenever neither says it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import maxminddb
import pytest

from tests.support.mmdb import write_database
from tokensvc.local_ivs.edge.countries import CountryDatabase, CountryHeader, NoCountries

MAXMIND = {"continent": {"code": "EU"}, "country": {"iso_code": "DE", "names": {"en": "Germany"}}}
NETWORKS = {
    "192.0.2.0/24": MAXMIND,
    "198.51.100.0/25": {"country": {"iso_code": "JP"}},
    "203.0.113.7/32": {"country_code": "FR", "country": "France"},
    "203.0.113.8/32": {"registered_country": {"iso_code": "DE"}},
    "203.0.113.9/32": {"country": {"iso_code": "EU"}},
    "203.0.113.10/32": "not a map",
    "203.0.113.11/32": {"country": {"iso_code": ["DE"]}},
    "2001:db8::/32": {"country": {"iso_code": "BR"}},
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[CountryDatabase]:
    opened = CountryDatabase(write_database(tmp_path / "countries.mmdb", NETWORKS))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("192.0.2.0", "DE"),
        ("192.0.2.255", "DE"),
        ("192.0.3.0", None),
        ("198.51.100.127", "JP"),
        ("198.51.100.128", None),
        ("203.0.113.7", "FR"),
        ("2001:db8::1", "BR"),
        ("2001:db9::1", None),
        ("::ffff:192.0.2.1", "DE"),
        ("127.0.0.1", None),
        ("::1", None),
        ("203.0.113.8", None),
        ("203.0.113.9", None),
        ("203.0.113.10", None),
        ("203.0.113.11", None),
        ("", None),
        ("a.example", None),
        ("192.0.2.1:443", None),
        ("fe80::1%eth0", None),
    ],
)
def test_the_country_of_an_address(database: CountryDatabase, address: str, country: str | None) -> None:
    assert database.country_of(address, [(b"x-country", b"US")]) == country


def test_a_database_of_ipv4_knows_no_ipv6_address(tmp_path: Path) -> None:
    database = CountryDatabase(write_database(tmp_path / "v4.mmdb", {"192.0.2.0/24": MAXMIND}, ip_version=4))
    assert [database.country_of(address, []) for address in ("192.0.2.1", "2001:db8::1")] == ["DE", None]
    database.close()


def test_a_file_that_is_not_a_database_is_rejected(tmp_path: Path) -> None:
    text = tmp_path / "countries.csv"
    text.write_text("192.0.2.0/24,DE\n")
    empty = tmp_path / "empty.mmdb"
    empty.touch()
    cut = write_database(tmp_path / "cut.mmdb", NETWORKS)
    cut.write_bytes(cut.read_bytes()[:-20])
    for path in (text, empty, cut, tmp_path):
        with pytest.raises(ValueError, match=r"^is not a database in MaxMind's format$"):
            CountryDatabase(path)


def test_a_file_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read: No such file or directory$"):
        CountryDatabase(tmp_path / "missing.mmdb")


def test_a_damaged_database_determines_no_country(tmp_path: Path) -> None:
    path = write_database(tmp_path / "damaged.mmdb", {"192.0.2.0/24": MAXMIND})
    path.write_bytes(path.read_bytes().replace(b"country", b"\xff" * 7))
    with maxminddb.open_database(path) as reader, pytest.raises(ValueError, match="utf-8"):
        reader.get("192.0.2.1")
    database = CountryDatabase(path)
    assert database.country_of("192.0.2.1", []) is None
    database.close()


def test_without_the_package_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(ValueError, match=r"needs the extra geoip.*pip install 'tokensvc\[geoip\]'"):
        CountryDatabase(write_database(tmp_path / "countries.mmdb", NETWORKS))


@pytest.mark.parametrize(
    ("values", "country"),
    [
        ([b"DE"], "DE"),
        ([b"de"], "DE"),
        ([b" DE "], "DE"),
        ([], None),
        ([b""], None),
        ([b"XX"], None),
        ([b"T1"], None),
        ([b"EU"], None),
        ([b"\xff\xfe"], None),
        ([b"DE", b"DE"], None),
        ([b"DE, US"], None),
    ],
)
def test_the_country_in_a_header(values: list[bytes], country: str | None) -> None:
    headers = [(b"x-other", b"US"), *((b"cloudfront-viewer-country", value) for value in values)]
    assert CountryHeader("CloudFront-Viewer-Country").country_of("192.0.2.1", headers) == country


def test_by_default_no_country_is_known() -> None:
    assert NoCountries().country_of("192.0.2.1", [(b"cloudfront-viewer-country", b"DE")]) is None
