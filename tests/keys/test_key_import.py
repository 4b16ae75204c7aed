"""A private key in any form is parsed to the same key or rejected by name, and is never repeated."""

from __future__ import annotations

import base64
import json
import re
import textwrap
import time
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tests.support.key_formats import (
    certificate,
    certificate_request,
    der,
    is_same_key,
    jwk,
    leaks_nothing,
    pkcs8,
    public,
    sec1,
)
from tokensvc.errors import InvalidKey, WrongPassphrase
from tokensvc.jose import keypair, pem
from tokensvc.keys.key_import import MAX_BYTES, parse_private_key

KEYS = [keypair.generate(), keypair.generate(), ec.derive_private_key(1, ec.SECP384R1())]
SECRET = b"a passphrase"
PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n"
FORMS: dict[str, Callable[[keypair.PrivateKey], bytes]] = {
    "a SEC1 private key in PEM": sec1,
    "a PKCS#8 private key in PEM": pkcs8,
    "an encrypted SEC1 private key in PEM": lambda key: sec1(key, SECRET),
    "an encrypted PKCS#8 private key in PEM": lambda key: pkcs8(key, SECRET),
    "a SEC1 private key in DER": lambda key: der(sec1(key)),
    "a PKCS#8 private key in DER": lambda key: der(pkcs8(key)),
    "an encrypted PKCS#8 private key in DER": lambda key: der(pkcs8(key, SECRET)),
    "a private key as a JWK": lambda key: json.dumps(jwk(key), indent=2).replace("=", "").encode(),
}
"""Every supported form, by its description."""

AROUND: dict[str, Callable[[str], str]] = {
    "a variable": lambda text: f"IVS_PRIVATE_KEY='{text}'\nIVS_REGION=eu-west-1\n",
    "prose": lambda text: f"Hier ist der Schlüssel, Jürgens eigener:\n\n{text}\nDo not lose it!",
    "parameters": lambda text: PARAMETERS + text,
    "a certificate": lambda text: text + "\n" + certificate(KEYS[0]).decode(),
    "its public key": lambda text: public(KEYS[0]).decode() + text,
    "a member of an object": lambda text: json.dumps({"name": "prod-1", "privateKey": text}),
}
"""Text around a PEM block."""

QUIRKS: dict[str, Callable[[str], str]] = {
    "CRLF": lambda text: "\r\n".join(text.splitlines()),
    "CR": lambda text: "\r".join(text.splitlines()),
    "spaces for line breaks": lambda text: " ".join(text.splitlines()),
    "indented": lambda text: textwrap.indent(text, "    "),
    "tabs": lambda text: textwrap.indent(text, "\t", lambda _: True),
    "white space around": lambda text: f"\n\n  {text} \t\r\n",
    "single quotes": lambda text: f"'{text}'",
    "double quotes": lambda text: f'"{text}"',
    r"\n": lambda text: text.replace("\n", "\\n"),
    r"\r\n": lambda text: text.replace("\n", "\\r\\n"),
    "a JSON string": json.dumps,
    "a JSON string by PHP": lambda text: json.dumps(text).replace("/", "\\/"),
    "a JSON string by .NET": lambda text: json.dumps(text).replace("+", "\\u002B").replace("=", "\\u003d"),
    "a byte-order mark": lambda text: "\ufeff" + text,
}
"""Changes to text of any form."""

WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "url-safe base64": base64.urlsafe_b64encode,
    "url-safe base64 without padding": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
}


@st.composite
def keys_with_quirks(draw: st.DrawFn) -> tuple[keypair.PrivateKey, str, bytes]:
    """A key, the form in which it was written, and the result after some quirks."""
    key, form = draw(st.sampled_from(KEYS)), draw(st.sampled_from(sorted(FORMS)))
    data = FORMS[form](key)
    is_text = not form.endswith("DER")
    if form.endswith("PEM"):
        for name in draw(st.lists(st.sampled_from(sorted(AROUND)), max_size=1)):
            data = AROUND[name](data.decode()).encode()
    for step in draw(st.lists(st.sampled_from([*sorted(QUIRKS), *sorted(WRAPPINGS)]), max_size=5)):
        if step in WRAPPINGS:
            data, is_text = WRAPPINGS[step](data), True
        elif is_text:
            data = QUIRKS[step](data.decode()).encode()
    if is_text and draw(st.booleans()):
        data = data.decode().encode("utf-16")
    return key, form, data


@pytest.mark.slow
@given(keys_with_quirks())
def test_a_key_is_parsed_through_any_chain_of_quirks(case: tuple[keypair.PrivateKey, str, bytes]) -> None:
    key, form, data = case
    parsed = parse_private_key(data, SECRET)
    assert is_same_key(parsed.private_key, key)
    assert parsed.description.startswith(form)
    assert repeats_nothing_of(data, parsed.description)
    assert repeats_nothing_of(data, repr(parsed))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("quirk", [*QUIRKS, *AROUND])
def test_each_form_is_parsed_with_each_quirk(form: str, quirk: str) -> None:
    """Covers what random generation may leave out."""
    data = FORMS[form](KEYS[0])
    if quirk in QUIRKS and not form.endswith("DER"):
        data = QUIRKS[quirk](data.decode()).encode()
    elif form.endswith("PEM"):
        data = AROUND[quirk](data.decode()).encode()
    assert is_same_key(parse_private_key(data, SECRET).private_key, KEYS[0])
    for wrap in WRAPPINGS.values():
        parsed = parse_private_key(wrap(data), SECRET)
        assert is_same_key(parsed.private_key, KEYS[0])
        assert parsed.description.endswith("base64-wrapped")


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (sec1(KEYS[0]), "a SEC1 private key in PEM"),
        (b"\n\t" + pkcs8(KEYS[0]) + b"\n\n", "a PKCS#8 private key in PEM"),
        (sec1(KEYS[0]).replace(b"\n", b"\r\n"), "a SEC1 private key in PEM, with CRLF line endings"),
        (pkcs8(KEYS[0]).replace(b"\n", b"\r"), "a PKCS#8 private key in PEM, with CR line endings"),
        (pkcs8(KEYS[0]).replace(b"\n", b" "), "a PKCS#8 private key in PEM, without line breaks"),
        (pkcs8(KEYS[0]).replace(b"\n", b"\n  "), "a PKCS#8 private key in PEM, indented"),
        (b"'" + sec1(KEYS[0]) + b"'", "a SEC1 private key in PEM, in quotes"),
        (PARAMETERS.encode() + sec1(KEYS[0]), "a SEC1 private key in PEM, with other text around it"),
        (
            pkcs8(KEYS[0]).replace(b"\n", b"\\n"),
            "a PKCS#8 private key in PEM, with escapes such as \\n",
        ),
        (base64.b64encode(der(sec1(KEYS[0]))), "a SEC1 private key in DER, base64-wrapped"),
        (b'"' + base64.b64encode(sec1(KEYS[0])) + b'"', "a SEC1 private key in PEM, base64-wrapped, in quotes"),
        (b"\xef\xbb\xbf" + pkcs8(KEYS[0]), "a PKCS#8 private key in PEM, with a byte-order mark"),
        (pkcs8(KEYS[0]).decode().encode("utf-16"), "a PKCS#8 private key in PEM, in UTF-16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_description_names_the_form_and_its_quirks(data: bytes, description: str) -> None:
    assert parse_private_key(data).description == description


@pytest.mark.parametrize("form", [form for form in FORMS if "encrypted" in form])
def test_an_encrypted_key_needs_its_passphrase(form: str) -> None:
    data = FORMS[form](KEYS[0])
    for passphrase, words in ((None, "no passphrase"), (b"", "no passphrase"), (b"a passphrasE", "cannot decrypt")):
        with pytest.raises(WrongPassphrase, match=words) as raised:
            parse_private_key(data, passphrase)
        assert leaks_nothing(raised.value, data)


def test_a_passphrase_that_is_not_needed_is_ignored() -> None:
    for form, write in FORMS.items():
        if "encrypted" not in form:
            text = b"ENCRYPTED it is not:\n" + write(KEYS[0]) if form.endswith("PEM") else write(KEYS[0])
            assert is_same_key(parse_private_key(text, b"another").private_key, KEYS[0])


def test_input_that_is_too_long_is_rejected_unread() -> None:
    data = sec1(KEYS[0]).ljust(MAX_BYTES)
    assert is_same_key(parse_private_key(data).private_key, KEYS[0])
    with pytest.raises(InvalidKey, match="longer than 65536 bytes"):
        parse_private_key(data + b" ")


@pytest.mark.parametrize("length", [1, 40, MAX_BYTES])
@pytest.mark.parametrize(
    "piece", ["-----BEGIN EC PRIVATE KEY-----", "[", '"', "\\", '{"a":', "\\n", "A", "\n", "\ufeff"]
)
def test_input_crafted_to_be_expensive_is_rejected_quickly(piece: str, length: int) -> None:
    started_at = time.process_time()
    with pytest.raises(InvalidKey):
        parse_private_key((piece * length).encode()[:MAX_BYTES])
    assert time.process_time() - started_at < 1


def repeats_nothing_of(data: bytes, text: str) -> bool:
    """Whether no long run of letters of the input appears in the text."""
    return not any(run.decode() in text for run in re.findall(rb"[A-Za-z0-9+/_=-]{12,}", data))


WHOLE = [
    *(write(KEYS[0]) for write in FORMS.values()),
    certificate(KEYS[0]),
    certificate_request(KEYS[0]),
    public(KEYS[0]),
]
CANARY = b"CANARY_7f3a91"
PIECES = st.sampled_from(
    [CANARY, b"\n", b"\\n", b"\\u0000", b'"', b"-----BEGIN PRIVATE KEY-----", b"{", b"\xff\xfe", b"="]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Valid input with a few pieces removed, inserted or changed, perhaps wrapped."""
    data = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(PIECES | st.binary(max_size=3)) + data[at + draw(st.integers(0, 6)) :]
    return draw(st.sampled_from([bytes, *(WRAPPINGS[name] for name in sorted(WRAPPINGS))]))(data)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace")) | damaged())
def test_no_input_crashes_the_parser_or_is_repeated(data: bytes) -> None:
    """Damaged input is still parsed to the original key, or raises one of two errors."""
    try:
        parsed = parse_private_key(data, SECRET)
    except (InvalidKey, WrongPassphrase) as raised:
        text = f"{raised.message} {raised.detail} {raised!r}"
    else:
        assert is_same_key(parsed.private_key, KEYS[0])
        text = f"{parsed.description} {parsed!r}"
    assert CANARY.decode() not in text
    assert repeats_nothing_of(data, text)


@given(st.sampled_from([pem.SEC1, pem.PKCS8]), st.binary(max_size=200))
def test_random_bytes_under_a_label_are_rejected(label: str, body: bytes) -> None:
    with pytest.raises(InvalidKey):
        parse_private_key(pem.pem_block(label, body))
