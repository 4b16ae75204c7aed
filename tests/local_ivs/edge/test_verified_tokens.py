"""A token is verified once with each key. Only that fact is remembered."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.local_ivs.edge.conftest import EdgeFixture
from tests.local_ivs.environment import START, pem, private_key
from tokensvc.jose import es384
from tokensvc.jose.keypair import PublicKey
from tokensvc.local_ivs.edge.verified_tokens import VerifiedTokens
from tokensvc.local_ivs.resources.playback_key_pairs import ImportedKey


class CountingVerifier:
    """Verifies, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, key: PublicKey, signed: bytes, signature: bytes) -> bool:
        self.calls += 1
        return es384.verify(key, signed, signature)


def imported(number: int, fingerprint: str = "") -> ImportedKey:
    return ImportedKey(fingerprint or f"fingerprint {number}", private_key(number).public_key())


def signature_of(edge: EdgeFixture, key: int = 1) -> tuple[bytes, bytes]:
    signed, _, signature = edge.token(key).rpartition(".")
    return signed.encode(), es384.base64url_decode(signature.encode())


def test_what_was_verified_is_not_verified_again(edge: EdgeFixture) -> None:
    counting = CountingVerifier()
    verified, key, token = VerifiedTokens(verify=counting), imported(1), signature_of(edge)
    for _ in range(3):
        assert verified.verifier([key])(key.public_key, *token)
    assert counting.calls == 1


def test_what_was_not_verified_is_not_remembered(edge: EdgeFixture) -> None:
    counting = CountingVerifier()
    verified, key, token = VerifiedTokens(verify=counting), imported(1), signature_of(edge, 2)
    for _ in range(3):
        assert not verified.verifier([key])(key.public_key, *token)
    assert counting.calls == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda signed, signature: (signed + b"A", signature),
        lambda signed, signature: (signed[:-1], signed[-1:] + signature),
        lambda signed, signature: (signed, signature[:-1] + bytes([signature[-1] ^ 1])),
        lambda signed, signature: (signed, signature[:-1]),
        lambda signed, signature: (signed + signature[:1], signature[1:]),
    ],
)
def test_a_changed_byte_is_another_token(
    edge: EdgeFixture, change: Callable[[bytes, bytes], tuple[bytes, bytes]]
) -> None:
    verified, key, token = VerifiedTokens(), imported(1), signature_of(edge)
    verify = verified.verifier([key])
    assert verify(key.public_key, *token)
    assert not verify(key.public_key, *change(*token))


def test_a_token_is_verified_with_each_key_separately(edge: EdgeFixture) -> None:
    verified, one, two, token = VerifiedTokens(), imported(1), imported(2), signature_of(edge)
    verify = verified.verifier([one, two])
    assert verify(one.public_key, *token)
    assert not verify(two.public_key, *token)


def test_the_least_recently_used_token_is_dropped_first(edge: EdgeFixture) -> None:
    counting = CountingVerifier()
    verified, key = VerifiedTokens(2, counting), imported(1)
    first, second, third = (signature_of(edge) for _ in range(3))
    verify = verified.verifier([key])
    for token in (first, second, first, third, first):
        assert verify(key.public_key, *token)
    assert counting.calls == 3
    assert verify(key.public_key, *second)
    assert counting.calls == 4


def test_a_known_token_is_judged_anew(edge: EdgeFixture) -> None:
    """That a token was verified says nothing about its key, its expiry, its viewer or its single use."""
    tokens = {
        "key": edge.token(),
        "expiry": edge.token(),
        "viewer": edge.token(viewer_id="v"),
        "use": edge.token(single_use_uuid="123e4567-e89b-42d3-a456-426614174000"),
    }
    edge.call("ImportPlaybackKeyPair", publicKeyMaterial=pem(2))
    for token in tokens.values():
        assert edge.get_playlist(f"token={token}").status == 200
    assert edge.get_playlist(f"token={tokens['use']}").status == 403
    assert edge.get_playlist(f"token={tokens['expiry']}", at=START + 300).status == 403
    edge.call("StartViewerSessionRevocation", channelArn=str(edge.private_channel), viewerId="v")
    assert edge.get_playlist(f"token={tokens['viewer']}").status == 403
    assert edge.get_playlist(f"token={tokens['key']}").status == 200
    first, _ = edge.call("ListPlaybackKeyPairs")["keyPairs"]
    edge.call("DeletePlaybackKeyPair", arn=first["arn"])
    assert edge.get_playlist(f"token={tokens['key']}").status == 403


def test_a_forged_token_is_verified_once(edge: EdgeFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its denial does not cost more than an admission, even if it names a viewer."""
    counting = CountingVerifier()
    monkeypatch.setattr(edge.handler, "_verified_tokens", VerifiedTokens(verify=counting))
    for _ in range(2):
        assert edge.get_playlist(f"token={edge.token(2, viewer_id='v')}").status == 403
    assert counting.calls == 2
