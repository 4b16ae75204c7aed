"""The contract of all signers of this machine: three other libraries verify the signatures."""

from __future__ import annotations

import jwt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.signers import AVAILABLE_SIGNERS
from tokensvc.jose import es384, keypair
from tokensvc.jose.signing.aws_lc import AwsLcKey
from tokensvc.jose.signing.choice import choose_signer

pytestmark = pytest.mark.slow

_PRIVATE_KEYS = [keypair.generate() for _ in range(4)]
_SIGNERS = {name: choose_signer(name).signer for name in AVAILABLE_SIGNERS}
_PREPARED = {name: [signer.prepare(key) for key in _PRIVATE_KEYS] for name, signer in _SIGNERS.items()}
_AWS_LC = [AwsLcKey(key) for key in _PRIVATE_KEYS]


@pytest.mark.parametrize("name", AVAILABLE_SIGNERS)
@given(tokens=st.lists(st.tuples(st.integers(0, 3), st.text()), max_size=20), alone=st.booleans())
def test_three_libraries_verify_the_tokens(name: str, tokens: list[tuple[int, str]], alone: bool) -> None:
    """Each token is valid with the key that it was signed with, and with no other."""
    signed = [es384.signing_input(orjson.dumps({"text": text})) for _, text in tokens]
    digests = [es384.digest(data) for data in signed]
    prepared = [_PREPARED[name][number] for number, _ in tokens]
    if alone:
        signatures = [key.sign(digest) for key, digest in zip(prepared, digests, strict=True)]
    else:
        signatures = _SIGNERS[name].sign_many([*zip(prepared, digests, strict=True)])
    for (number, text), data, digest, signature in zip(tokens, signed, digests, signatures, strict=True):
        public_key = _PRIVATE_KEYS[number].public_key()
        assert es384.verify(public_key, data, signature)
        assert _AWS_LC[number].verify(digest, signature)
        assert jwt.decode(es384.jws_compact(data, signature), public_key, algorithms=["ES384"]) == {"text": text}
        assert not _AWS_LC[(number + 1) % 4].verify(digest, signature)


@pytest.mark.parametrize("name", AVAILABLE_SIGNERS)
def test_an_empty_list_is_signed(name: str) -> None:
    assert _SIGNERS[name].sign_many([]) == []
