"""A peer whose tokens are not as requested is not measured."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from benchmarks.peers.verification import InvalidToken, verify_signature, verify_token
from tokensvc.jose import keypair

KEY = keypair.generate()
KEYS = [keypair.generate().public_key(), KEY.public_key()]
CHANNEL, VIEWER = "arn:aws:ivs:us-east-1:000000000000:channel/abcdefghijkl", "viewer-1"


def token(signed_by: Any = KEY, **changes: Any) -> str:
    now = int(time.time())
    names = {"arn": "aws:channel-arn", "viewer": "aws:viewer-id", "version": "aws:viewer-session-version"}
    claims = {"arn": CHANNEL, "viewer": VIEWER, "version": now, "exp": now + 60} | changes
    return jwt.encode(
        {names.get(name, name): value for name, value in claims.items() if value is not None}, signed_by, "ES384"
    )


def test_a_token_as_requested_is_valid() -> None:
    verify_token(token(), KEYS, CHANNEL, VIEWER)


@pytest.mark.parametrize(
    "changes",
    [
        {"arn": CHANNEL + "x"},
        {"exp": 1},
        {"iat": 1},
        {"version": None},
        {"signed_by": keypair.generate()},
        {"viewer": "x"},
    ],
    ids=["other_channel", "expired", "extra_claim", "missing_claim", "other_key", "other_viewer"],
)
def test_any_other_token_is_invalid(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        verify_token(token(**changes), KEYS, CHANNEL, VIEWER)


def test_only_the_signature_of_constant_claims_is_verified() -> None:
    verify_signature(token(exp=1, viewer=None), KEYS)
    with pytest.raises(InvalidToken):
        verify_signature(token(signed_by=keypair.generate()), KEYS)
