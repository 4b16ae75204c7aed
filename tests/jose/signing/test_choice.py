"""The signer is chosen by name, or is the fastest one that passes its self-test."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from tests.jose.signing.faulty import Fault, FaultyExtension, bit_flipped, failed, swapped
from tests.support.signers import AVAILABLE_SIGNERS
from tokensvc.errors import SettingsError
from tokensvc.jose import keypair, signing
from tokensvc.jose.es384 import digest, verify
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.signing import choice
from tokensvc.jose.signing.aws_lc import AwsLcSigner
from tokensvc.jose.signing.choice import SIGNERS, SignerLoader, SignerUnsupported, choose_signer
from tokensvc.jose.signing.openssl import OpenSslKey, OpenSslSigner
from tokensvc.jose.signing.signer import Signer
from tokensvc.metrics import SigningMetrics
from tokensvc.settings import Settings

pytestmark = pytest.mark.slow


class WrongSigner(OpenSslSigner):
    """Signs another digest."""

    def sign_many(self, requests: Sequence[tuple[OpenSslKey, bytes]]) -> list[bytes]:
        return super().sign_many([(key, digest[::-1]) for key, digest in requests])


class ShortSigner(OpenSslSigner):
    """Returns signatures that are a byte too short."""

    def sign_many(self, requests: Sequence[tuple[OpenSslKey, bytes]]) -> list[bytes]:
        return [signature[:-1] for signature in super().sign_many(requests)]


class SwappingSigner(OpenSslSigner):
    """Swaps the signatures of two requests."""

    def sign_many(self, requests: Sequence[tuple[OpenSslKey, bytes]]) -> list[bytes]:
        first, second, *others = super().sign_many(requests)
        return [second, first, *others]


def failing(error: BaseException) -> SignerLoader:
    def load(_metrics: SigningMetrics) -> Signer[Any]:
        raise error

    return load


def loading(signer: type[OpenSslSigner]) -> SignerLoader:
    return lambda _metrics: signer()


@pytest.mark.parametrize("name", AVAILABLE_SIGNERS)
def test_a_signer_is_chosen_by_name(name: str) -> None:
    assert choose_signer(name).signer.name == name


def test_auto_chooses_the_fastest_signer_of_this_machine() -> None:
    chosen = choose_signer("auto")
    assert chosen.signer.name == AVAILABLE_SIGNERS[0]
    assert (chosen.fallback_reason == "") == (AVAILABLE_SIGNERS[0] == "multibuffer")


def test_the_setting_allows_exactly_the_names_of_the_signers() -> None:
    allowed = Settings.model_json_schema()["properties"]["signer"]["enum"]
    assert set(allowed) == {"auto", *SIGNERS}


@pytest.mark.parametrize("name", AVAILABLE_SIGNERS)
def test_another_library_verifies_the_signatures(name: str, private_key: PrivateKey) -> None:
    signer, public = choose_signer(name).signer, private_key.public_key()
    prepared = signer.prepare(private_key)
    for data in (b"", b"x", b"data" * 500):
        signatures = {prepared.sign(digest(data)) for _ in range(3)}
        signatures |= {*signer.sign_many([(prepared, digest(data))] * 9)}
        assert all(len(signature) == 96 and verify(public, data, signature) for signature in signatures)
        assert len(signatures) == 12, "each signature has a nonce of its own"


@pytest.mark.parametrize("name", AVAILABLE_SIGNERS)
def test_numbers_with_leading_zeros_keep_their_length(name: str) -> None:
    signer = choose_signer(name).signer
    for number in (1, 2, 255, 1 << 300):
        key = ec.derive_private_key(number, ec.SECP384R1())
        prepared = signer.prepare(key)
        for signature in (prepared.sign(digest(b"data")), *signer.sign_many([(prepared, digest(b"data"))] * 8)):
            assert verify(key.public_key(), b"data", signature)


@pytest.mark.parametrize(
    "load",
    [
        failing(ImportError("no such library")),
        failing(OSError("bad")),
        loading(WrongSigner),
        loading(ShortSigner),
        loading(SwappingSigner),
    ],
    ids=["cannot be imported", "cannot be loaded", "signs wrongly", "signs too short", "swaps two"],
)
def test_auto_skips_a_signer_that_fails_its_self_test_and_gives_the_reason(load: SignerLoader) -> None:
    with capture_logs() as lines:
        chosen = choose_signer("auto", signers={"first": load, "openssl": SIGNERS["openssl"]})
    assert chosen.signer.name == "openssl"
    assert [(line["event"], line["signer"]) for line in lines] == [("signer failed its self-test", "first")]
    assert lines[0]["reason"]
    assert chosen.fallback_reason == f"first: {lines[0]['reason']}"


def test_an_unsupported_signer_is_skipped_without_a_warning() -> None:
    with capture_logs() as lines:
        chosen = choose_signer(
            "auto", signers={"first": failing(SignerUnsupported("no such processor")), "aws-lc": load_aws_lc}
        )
    assert (chosen.signer.name, chosen.fallback_reason) == ("aws-lc", "first: no such processor")
    assert lines == []


def load_aws_lc(_metrics: SigningMetrics) -> Signer[Any]:
    return AwsLcSigner()


def test_a_named_signer_that_fails_is_not_replaced() -> None:
    signers = {"first": loading(WrongSigner), "openssl": SIGNERS["openssl"]}
    with pytest.raises(SettingsError, match="its signature is invalid"), capture_logs():
        choose_signer("first", signers=signers)


def test_the_error_about_an_unsupported_signer_says_what_is_missing() -> None:
    with pytest.raises(SettingsError, match=r"signer: .*no such processor"):
        choose_signer("first", signers={"first": failing(SignerUnsupported("no such processor"))})


def test_if_no_signer_works_each_reason_is_given() -> None:
    with pytest.raises(SettingsError) as raised, capture_logs():
        choose_signer("auto", signers={"one": failing(ImportError("gone")), "two": loading(WrongSigner)})
    assert "one: gone" in raised.value.message
    assert "two: its signature" in raised.value.message


@pytest.mark.parametrize(
    ("system", "machine", "flags", "reason"),
    [
        ("darwin", "arm64", "", "it supports only x86-64 processors on Linux"),
        ("linux", "aarch64", "", "it supports only x86-64 processors on Linux"),
        ("linux", "x86_64", "flags : fpu avx512f avx2", "this processor lacks AVX-512 IFMA"),
        ("linux", "x86_64", "flags : fpu avx512ifma avx2", "install a C compiler and Python's headers"),
        ("linux", "x86_64", "flags : fpu avx512ifma", "install a C compiler and Python's headers"),
    ],
)
def test_without_the_extension_the_reason_says_how_to_get_it(
    system: str, machine: str, flags: str, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    processor = tmp_path / "cpuinfo"
    processor.write_text(f"processor : 0\n{flags}\nbugs :\n")
    monkeypatch.setattr(choice, "_PROCESSOR", processor)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setitem(sys.modules, "tokensvc.jose.signing._multibuffer", None)
    monkeypatch.delattr(signing, "_multibuffer", raising=False)
    chosen = choose_signer("auto")
    assert chosen.signer.name == "aws-lc"
    assert reason in chosen.fallback_reason
    with pytest.raises(SettingsError, match=reason):
        choose_signer("multibuffer")


@pytest.mark.parametrize("name", AVAILABLE_SIGNERS)
def test_the_repr_of_a_prepared_key_contains_no_private_key(name: str) -> None:
    private_key = keypair.generate()
    prepared = choose_signer(name).signer.prepare(private_key)
    assert repr(prepared).startswith("<tokensvc.")
    assert not hasattr(prepared, "__dict__")
    assert f"{private_key.private_numbers().private_value:x}" not in repr(getattr(prepared, "native", ""))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (bit_flipped(7, 0), "the signature of lane 7 is wrong"),
        (swapped(2, 5), "the signature of lane 2 is wrong"),
        (failed(0), "the signature of lane 0 is missing"),
        (failed(*range(8)), "the signature of lane 0 is missing"),
    ],
    ids=["a wrong signature", "two lanes swapped", "no signature in one lane", "no signature at all"],
)
def test_an_extension_with_a_bad_lane_is_not_chosen(fault: Fault, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although MultiBufferSigner would replace the bad signatures, so that all that it returned would be valid."""
    install(FaultyExtension(fault), monkeypatch)
    with capture_logs() as lines:
        assert choose_signer("auto").signer.name == "aws-lc"
    assert [(line["signer"], line["reason"]) for line in lines] == [("multibuffer", reason)]
    with pytest.raises(SettingsError, match=reason), capture_logs():
        choose_signer("multibuffer")


def test_an_extension_that_is_switched_off_during_the_self_test_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that signs correctly at first: AWS-LC then makes the signatures of the signer's own self-test."""

    def wrong_from_the_second_call(signatures: list[bytes]) -> list[bytes | None]:
        return [*signatures] if len(extension.calls) < 2 else swapped(0, 1)(signatures)

    extension = FaultyExtension(wrong_from_the_second_call)
    install(extension, monkeypatch)
    with capture_logs():
        chosen = choose_signer("auto")
    assert chosen.signer.name == "aws-lc"
    assert "multibuffer: multi-buffer signing is switched off" in chosen.fallback_reason


def install(extension: FaultyExtension, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_multibuffer", extension, raising=False)
    monkeypatch.setitem(sys.modules, "tokensvc.jose.signing._multibuffer", extension)
