"""What signs: chosen by name, or the first that proves itself."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from tokensvc.adapters.awslc import AwsLcSigner
from tokensvc.adapters.openssl import OpenSslSigner
from tokensvc.adapters.signing import SIGNERS, choose_signer
from tokensvc.core import keypair
from tokensvc.core.es384 import digest, verify
from tokensvc.core.keypair import PrivateKey
from tokensvc.errors import SettingsError
from tokensvc.ports.signer import SignerMaker
from tokensvc.settings import Settings


class WrongSigner(OpenSslSigner):
    """Signs something else."""

    def sign(self, digest: bytes) -> bytes:
        return super().sign(digest[::-1])


class ShortSigner(OpenSslSigner):
    """Leaves out a byte."""

    def sign(self, digest: bytes) -> bytes:
        return super().sign(digest)[:-1]


def broken(problem: BaseException) -> Any:
    def load() -> SignerMaker:
        raise problem

    return load


@pytest.mark.parametrize(
    ("name", "maker"), [("aws-lc", AwsLcSigner), ("openssl", OpenSslSigner), ("auto", AwsLcSigner)]
)
def test_a_signer_is_chosen_by_name_and_aws_lc_is_the_first(name: str, maker: SignerMaker) -> None:
    chosen, made = choose_signer(name)
    assert made is maker
    assert chosen == ("aws-lc" if name == "auto" else name)


def test_every_name_of_the_setting_is_a_signer_and_the_reverse() -> None:
    allowed = Settings.model_json_schema()["properties"]["signer"]["enum"]
    assert set(allowed) == {"auto", *SIGNERS}


@pytest.mark.parametrize("make", [AwsLcSigner, OpenSslSigner])
def test_a_signer_signs_what_the_other_library_verifies(make: SignerMaker, private_key: PrivateKey) -> None:
    signer, public = make(private_key), private_key.public_key()
    for data in (b"", b"x", b"data" * 500):
        signatures = {signer.sign(digest(data)) for _ in range(3)}
        assert all(len(signature) == 96 and verify(public, data, signature) for signature in signatures)
        assert len(signatures) == 3, "each signature has a nonce of its own"


def test_small_keys_and_numbers_with_leading_zeros_keep_their_length() -> None:
    for number in (1, 2, 255, 1 << 300):
        key = ec.derive_private_key(number, ec.SECP384R1())
        for make in (AwsLcSigner, OpenSslSigner):
            assert verify(key.public_key(), b"data", make(key).sign(digest(b"data")))


@pytest.mark.parametrize(
    "load",
    [broken(ImportError("no such library")), broken(OSError("bad")), lambda: WrongSigner, lambda: ShortSigner],
    ids=["cannot be imported", "cannot be loaded", "signs wrongly", "signs too short"],
)
def test_auto_passes_over_what_does_not_prove_itself_and_says_why(load: Any) -> None:
    with capture_logs() as lines:
        name, maker = choose_signer("auto", {"first": load, "openssl": SIGNERS["openssl"]})
    assert (name, maker) == ("openssl", OpenSslSigner)
    assert [(line["event"], line["signer"]) for line in lines] == [("signer passed over", "first")]
    assert lines[0]["reason"]


def test_a_named_signer_that_fails_is_not_replaced() -> None:
    signers = {"first": lambda: WrongSigner, "openssl": SIGNERS["openssl"]}
    with pytest.raises(SettingsError, match="its signature does not verify"), capture_logs():
        choose_signer("first", signers)


def test_when_none_proves_itself_each_reason_is_told() -> None:
    with pytest.raises(SettingsError) as refused, capture_logs():
        choose_signer("auto", {"one": broken(ImportError("gone")), "two": lambda: WrongSigner})
    assert "one: gone" in refused.value.message
    assert "two: its signature" in refused.value.message


def test_a_signer_shows_no_key() -> None:
    for make in (AwsLcSigner, OpenSslSigner):
        signer = make(keypair.generate())
        assert repr(signer).startswith("<tokensvc.")
        assert not hasattr(signer, "__dict__")
