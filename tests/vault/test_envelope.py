"""The envelope format: it is parsed back, and data without its header is all body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.vault.envelope import Envelope, read, write

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)


@given(st.builds(Envelope, NAMES, st.binary(max_size=200), st.binary(max_size=200)))
def test_an_envelope_is_parsed_back(envelope: Envelope) -> None:
    assert read(write(envelope)) == envelope


@given(st.binary(max_size=200))
def test_data_without_the_header_is_a_body_of_an_earlier_release(stored: bytes) -> None:
    assert read(stored) == Envelope("", b"", stored)


@pytest.mark.parametrize(
    "stored",
    [
        b"Wrapped-By: \n\nbody",
        b"Wrapped-By: two words\n\nbody",
        b"Wrapped-By: k\nbody",
        b"Wrapped-By: k\nData-Key: a\n\nbody",
        b"Wrapped-By: k\nData-Key: not base64\n\nbody",
        b"wrapped-by: k\n\nbody",
    ],
    ids=["no name", "two words", "no empty line", "short base64", "not base64", "lower case"],
)
def test_a_malformed_header_is_part_of_the_body(stored: bytes) -> None:
    assert read(stored) == Envelope("", b"", stored)


def test_the_format_is_the_documented_one() -> None:
    written = write(Envelope("kms:arn", b"data key", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
    assert written == b"Wrapped-By: kms:arn\nData-Key: ZGF0YSBrZXk=\n\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n"


def test_a_repr_contains_no_data_key_and_no_body() -> None:
    assert repr(Envelope("k", b"data key", b"body")) == "Envelope(wrapped_by='k')"
