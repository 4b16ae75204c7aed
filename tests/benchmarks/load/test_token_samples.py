"""Sampled tokens are judged by PyJWT against the published keys."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.load.records import Sample
from benchmarks.load.token_samples import verify_samples
from tests.benchmarks.load.sample_records import keys_line, sample_line
from tests.support.tokens import NOW
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey


def test_a_good_token_passes_whichever_published_key_signed_it(private_key: PrivateKey) -> None:
    other = keypair.generate()
    samples = [sample_line(private_key), sample_line(other)]
    assert not verify_samples(samples, keys_line(private_key, other).keys)


def test_a_token_of_a_key_that_nobody_published_is_bad(private_key: PrivateKey) -> None:
    [problem] = verify_samples([sample_line(private_key)], keys_line(keypair.generate()).keys)
    assert "Signature verification failed" in problem
    assert verify_samples([sample_line(private_key)], [])


@pytest.mark.parametrize(
    ("claims", "wrong"),
    [
        ({"aws:channel-arn": "arn:aws:ivs:us-east-1:123456789012:channel/other"}, "another channel"),
        ({"aws:viewer-id": "viewer-2"}, "another viewer"),
        ({"aws:viewer-id": None}, "another viewer"),
        ({"exp": NOW - 60}, "had ended"),
        ({"exp": None}, 'missing the "exp"'),
    ],
    ids=str,
)
def test_a_token_that_says_something_else_than_was_asked_is_bad(
    private_key: PrivateKey, claims: dict[str, Any], problem: str
) -> None:
    [actual] = verify_samples([sample_line(private_key, **claims)], keys_line(private_key).keys)
    assert problem in actual


def test_no_bad_token_is_repeated(private_key: PrivateKey) -> None:
    sample = Sample(token="eyJ.secret.x", channel_arn="c", viewer_id="v", received_at=NOW)
    [problem] = verify_samples([sample], keys_line(private_key).keys)
    assert "secret" not in problem
