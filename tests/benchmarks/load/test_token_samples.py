"""Sampled tokens are verified by PyJWT with the published keys."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.load.records import Sample
from benchmarks.load.token_samples import verify_samples
from tests.benchmarks.load.sample_records import keys_line, sample_line
from tests.support.tokens import NOW
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey


def test_a_token_signed_by_any_published_key_is_valid(private_key: PrivateKey) -> None:
    other = keypair.generate()
    samples = [sample_line(private_key), sample_line(other)]
    assert not verify_samples(samples, keys_line(private_key, other).keys)


def test_a_token_signed_by_an_unpublished_key_is_invalid(private_key: PrivateKey) -> None:
    [problem] = verify_samples([sample_line(private_key)], keys_line(keypair.generate()).keys)
    assert "Signature verification failed" in problem
    assert verify_samples([sample_line(private_key)], [])


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"aws:channel-arn": "arn:aws:ivs:us-east-1:123456789012:channel/other"}, "different channel"),
        ({"aws:viewer-id": "viewer-2"}, "different viewer"),
        ({"aws:viewer-id": None}, "different viewer"),
        ({"exp": NOW - 60}, "had expired"),
        ({"exp": None}, 'missing the "exp"'),
    ],
    ids=str,
)
def test_a_token_with_other_claims_than_requested_is_invalid(
    private_key: PrivateKey, claims: dict[str, Any], problem: str
) -> None:
    [actual] = verify_samples([sample_line(private_key, **claims)], keys_line(private_key).keys)
    assert problem in actual


def test_no_message_contains_an_invalid_token(private_key: PrivateKey) -> None:
    sample = Sample(token="eyJ.secret.x", channel_arn="c", viewer_id="v", received_at=NOW)
    [problem] = verify_samples([sample], keys_line(private_key).keys)
    assert "secret" not in problem
