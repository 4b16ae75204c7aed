"""The envelope: what is written is read, and what was not written by us is a body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.vault.envelope import Envelope, read, write

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80)


@given(st.builds(Envelope, NAMES, st.binary(max_size=200), st.binary(max_size=200)))
def test_reading_undoes_writing(envelope: Envelope) -> None:
    assert read(write(envelope)) == envelope


@given(st.binary(max_size=200))
def test_whatever_does_not_begin_as_ours_is_a_body_of_an_earlier_release(kept: bytes) -> None:
    assert read(kept) == Envelope("", b"", kept)


@pytest.mark.parametrize(
    "kept",
    [
        b"Wrapped-By: \n\nbody",
        b"Wrapped-By: two words\n\nbody",
        b"Wrapped-By: k\nbody",
        b"Wrapped-By: k\nData-Key: a\n\nbody",
        b"Wrapped-By: k\nData-Key: not base64\n\nbody",
        b"wrapped-by: k\n\nbody",
    ],
    ids=["no name", "two words", "no empty line", "short base64", "no base64", "small letters"],
)
def test_a_head_that_is_not_ours_names_nothing(kept: bytes) -> None:
    assert read(kept) == Envelope("", b"", kept)


def test_it_looks_as_the_readme_says() -> None:
    written = write(Envelope("kms:arn", b"data key", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))
    assert written == b"Wrapped-By: kms:arn\nData-Key: ZGF0YSBrZXk=\n\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n"


def test_nothing_wrapped_shows_in_a_repr() -> None:
    assert repr(Envelope("k", b"data key", b"body")) == "Envelope(wrapped_by='k')"
