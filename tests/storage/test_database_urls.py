"""Masking of database URLs."""

from __future__ import annotations

import pytest

from tokensvc.storage.database_urls import masked

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:hunter2@db.test:5433/tokens", "postgresql://app:***@db.test:5433/tokens"),
        ("postgresql+psycopg://app:hunter2@[::1]:5433/tokens", "postgresql+psycopg://app:***@[::1]:5433/tokens"),
        ("postgresql://app@db.test/tokens?password=hunter2", "postgresql://app@db.test/tokens?password=***"),
        ("postgresql://app@db.test/tokens?PASSWORD=hunter2", "postgresql://app@db.test/tokens?PASSWORD=***"),
        ("postgresql://app@db.test/tokens?pass%77ord=hunter2", "postgresql://app@db.test/tokens?pass%77ord=***"),
        ("postgresql:///tokens?host=/run/pg&sslpassword=hunter2", "postgresql:///tokens?host=/run/pg&sslpassword=***"),
        ("postgresql://db.test/tokens?passwrod=hunter2&port=1", "postgresql://db.test/tokens?passwrod=***&port=1"),
        ("postgresql://db.test/tokens?options=-c%20a.b%3Dhunter2", "postgresql://db.test/tokens?options=***"),
        ("postgresql://db.test/tokens?host=h;password=hunter2", "postgresql://db.test/tokens?host=***"),
        ("postgresql://db.test/tokens?hunter2", "postgresql://db.test/tokens?***"),
        (
            "postgresql:///tokens?service=main&passfile=/run/pass",
            "postgresql:///tokens?service=main&passfile=/run/pass",
        ),
        ("postgresql://app:hun%40ter2%3Ahunter2@db.test/tokens", "postgresql://app:***@db.test/tokens"),
        ("postgresql://app:hun/ter?hunter2#x@db.test/tokens", "postgresql://app:***@db.test/tokens"),
        ("postgresql://app:@db.test/tokens", "postgresql://app:***@db.test/tokens"),
        ("mysql://app:hunter2@db.test/tokens", "mysql://app:***@db.test/tokens"),
        ("sqlite:////var/lib/tokensvc/store.db", "sqlite:////var/lib/tokensvc/store.db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_only_possible_secrets_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert PASSWORD not in masked(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:hun@ter2hunter2@db.test/tokens",  # not encoded: the host would be ter2hunter2@db.test
        "postgresql://app:hun@x/hunter2@db.test/tokens",
        "postgresql://a@pp:hunter2@db.test/tokens",
        "postgresql://app:hunter2@db.test:port/tokens",
        "host=db.test password=hunter2 dbname=tokens",
        "postgresql:/app:hunter2@db.test/tokens",
        "hunter2",
        "",
    ],
)
def test_an_ambiguous_url_is_masked_completely(url: str) -> None:
    assert masked(url) == "***"
