"""PEM blocks are found in any layout, and written in the form that every library parses."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from tests.support.key_formats import der, pkcs8, sec1
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.pem import BLOCK_KINDS, PemBlock, decode_base64, describe_first_block, find_blocks, pem_block


def block(label: str, body: str = "AAAA") -> str:
    return f"-----BEGIN {label}-----{body}-----END {label}-----"


def test_blocks_are_found_in_order_with_the_surrounding_text() -> None:
    text = f"before {block('CERTIFICATE', '1')} between {block('PRIVATE KEY', '2')} after"
    assert find_blocks(text) == ([PemBlock("CERTIFICATE", "1"), PemBlock("PRIVATE KEY", "2")], "before  after")
    assert find_blocks("no block") == ([], "no block")


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----AAAA",
        "AAAA-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----AAAA-----END CERTIFICATE-----",
    ],
)
def test_a_block_without_its_begin_or_end_line_has_no_body(text: str) -> None:
    assert find_blocks(text)[0] == [PemBlock("PRIVATE KEY", None)]
    assert find_blocks(block("CERTIFICATE") + text + block("CERTIFICATE"))[0][1] == PemBlock("PRIVATE KEY", None)
    assert PemBlock("PRIVATE KEY", None).normalized() is None


def test_a_written_block_is_already_normalized(private_key: PrivateKey) -> None:
    for pem in (sec1(private_key), pkcs8(private_key), sec1(private_key, b"secret"), pkcs8(private_key, b"secret")):
        (found,), _ = find_blocks(pem.decode())
        assert found.normalized() == pem
        assert PemBlock(found.label, (found.body or "").replace("\n", "  ")).normalized() == pem
    assert pem_block("PRIVATE KEY", der(pkcs8(private_key))) == pkcs8(private_key)


def test_an_encrypted_sec1_key_is_described_as_such(private_key: PrivateKey) -> None:
    assert describe_first_block(sec1(private_key, b"secret")) == "an encrypted SEC1 private key"
    assert describe_first_block(sec1(private_key)) == "a SEC1 private key"


@pytest.mark.parametrize("label", sorted(BLOCK_KINDS))
def test_each_kind_is_described_by_its_label(label: str) -> None:
    assert describe_first_block(block(label).encode()) == BLOCK_KINDS[label]


def test_an_unknown_label_is_not_repeated() -> None:
    assert describe_first_block(block("SWORDFISH").encode()) == "a PEM block of an unknown kind"
    assert describe_first_block(b"\xff\x00") == "not PEM"


@given(st.binary(max_size=200))
def test_a_written_block_is_found_with_its_body(body: bytes) -> None:
    (found,), _ = find_blocks(pem_block("PRIVATE KEY", body).decode())
    assert found.normalized() == (pem_block("PRIVATE KEY", body) if body else None)


@pytest.mark.slow
@given(st.binary(min_size=1, max_size=200))
def test_both_alphabets_of_base64_are_decoded_with_and_without_padding(data: bytes) -> None:
    for encoded in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.encodebytes(data)):
        assert decode_base64(encoded.decode()) == data
        assert decode_base64(encoded.decode().replace("=", "")) == data


@pytest.mark.parametrize("text", ["", "=", "A", "AAAAA", "AA*A", "AA=A", "AAAA=====", "é"])
def test_anything_else_than_base64_is_rejected(text: str) -> None:
    assert decode_base64(text) is None


def test_cryptography_parses_a_normalized_block(private_key: PrivateKey) -> None:
    (found,), _ = find_blocks(sec1(private_key, b"secret").decode().replace("\n", "\r\n\t"))
    assert load_pem_private_key(found.normalized() or b"", b"secret")
