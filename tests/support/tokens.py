"""Tokens and keyrings for tests, with any header, payload and key. `cryptography` signs, not our signers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from tests.support.clocks import OFFSET, START
from tokensvc.aws.arn import parse_arn
from tokensvc.jose.es384 import base64url_encode, digest
from tokensvc.jose.keypair import PrivateKey
from tokensvc.tokens import claims as c
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey
from tokensvc.tokens.snapshot import Snapshot

CHANNEL = parse_arn("arn:aws:ivs:us-east-1:123456789012:channel/AbCdEf123456", "channel")
OTHER_CHANNEL = parse_arn("arn:aws:ivs:us-east-1:123456789012:channel/other", "channel")
NOW = int(START)
HEADER: dict[str, Any] = {"alg": "ES384", "typ": "JWT"}
SUBJECT_KEY = bytes(range(32))


class Prepared(NamedTuple):
    """A prepared key with a given signing function (`jose.es384.PreparedKey`)."""

    sign: Callable[[bytes], bytes]


def raw_sign(key: PrivateKey, digest: bytes) -> bytes:
    """r||s over this SHA-384."""
    r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA384()))))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def encode_token(key: PrivateKey, header: object, payload: object) -> str:
    """A token with this header and payload: bytes unchanged, anything else as JSON."""
    signed = b".".join(
        base64url_encode(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload)
    )
    return (signed + b"." + base64url_encode(raw_sign(key, digest(signed)))).decode()


def with_claims(key: PrivateKey, claims: dict[str, Any]) -> str:
    """A correctly signed token with the minimal allowed claims and these; None removes a claim."""
    required: dict[str, Any] = {c.CHANNEL_ARN: str(CHANNEL), c.EXP: NOW + 300}
    return encode_token(key, HEADER, {name: value for name, value in (required | claims).items() if value is not None})


def keyring_of(key: PrivateKey, longest_ttl_seconds: int = 86_400) -> Keyring:
    """A keyring in which this key is active in CHANNEL's account and region."""
    signing = SigningKey("k1", Prepared(lambda digest: raw_sign(key, digest)), longest_ttl_seconds)
    return Keyring({CHANNEL.account_region: RegionKeys(signing, {"k1": key.public_key()})})


def snapshot_of(key: PrivateKey, *, max_ttl_seconds: int = 86_400, longest_ttl_seconds: int = 86_400) -> Snapshot:
    """A fresh snapshot in which this key is active in CHANNEL's account and region."""
    return Snapshot(
        keyring=keyring_of(key, longest_ttl_seconds),
        subject_key=SUBJECT_KEY,
        max_ttl_seconds=max_ttl_seconds,
        refresh_started_at=1000.0,
        wall_offset_seconds=OFFSET,
    )
