"""Whatever people did to a private key, it reads back to the same key or is refused by its name, and is never shown."""

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

from tests.support.key_formats import certificate, der, jwk, pkcs8, public, request, same, sec1, shows_nothing
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
"""Every form, under the words by which it is found."""

AROUND: dict[str, Callable[[str], str]] = {
    "a variable": lambda text: f"IVS_PRIVATE_KEY='{text}'\nIVS_REGION=eu-west-1\n",
    "words": lambda text: f"Hier ist der Schlüssel, Jürgens eigener:\n\n{text}\nDo not lose it!",
    "parameters": lambda text: PARAMETERS + text,
    "a certificate": lambda text: text + "\n" + certificate(KEYS[0]).decode(),
    "its public half": lambda text: public(KEYS[0]).decode() + text,
    "a member of an object": lambda text: json.dumps({"name": "prod-1", "privateKey": text}),
}
"""What may stand around a PEM block."""

HABITS: dict[str, Callable[[str], str]] = {
    "CRLF": lambda text: "\r\n".join(text.splitlines()),
    "CR": lambda text: "\r".join(text.splitlines()),
    "spaces for line ends": lambda text: " ".join(text.splitlines()),
    "indented": lambda text: textwrap.indent(text, "    "),
    "tabs": lambda text: textwrap.indent(text, "\t", lambda _: True),
    "white space around": lambda text: f"\n\n  {text} \t\r\n",
    "single quotes": lambda text: f"'{text}'",
    "double quotes": lambda text: f'"{text}"',
    r"\n": lambda text: text.replace("\n", "\\n"),
    r"\r\n": lambda text: text.replace("\n", "\\r\\n"),
    "a JSON string": json.dumps,
    "a JSON string of PHP's": lambda text: json.dumps(text).replace("/", "\\/"),
    "a JSON string of .NET's": lambda text: json.dumps(text).replace("+", "\\u002B").replace("=", "\\u003d"),
    "a byte-order mark": lambda text: "\ufeff" + text,
}
"""What may be done to text of any form."""

WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "url-safe base64": base64.urlsafe_b64encode,
    "url-safe base64 without padding": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
}


@st.composite
def mangled(draw: st.DrawFn) -> tuple[keypair.PrivateKey, str, bytes]:
    """A key, the form it was written in, and what became of that on its way."""
    key, form = draw(st.sampled_from(KEYS)), draw(st.sampled_from(sorted(FORMS)))
    data = FORMS[form](key)
    is_text = not form.endswith("DER")
    if form.endswith("PEM"):
        for name in draw(st.lists(st.sampled_from(sorted(AROUND)), max_size=1)):
            data = AROUND[name](data.decode()).encode()
    for step in draw(st.lists(st.sampled_from([*sorted(HABITS), *sorted(WRAPPINGS)]), max_size=5)):
        if step in WRAPPINGS:
            data, is_text = WRAPPINGS[step](data), True
        elif is_text:
            data = HABITS[step](data.decode()).encode()
    if is_text and draw(st.booleans()):
        data = data.decode().encode("utf-16")
    return key, form, data


@given(mangled())
def test_a_key_reads_back_through_any_chain_of_habits(case: tuple[keypair.PrivateKey, str, bytes]) -> None:
    key, form, data = case
    pasted = parse_private_key(data, SECRET)
    assert same(pasted.private_key, key)
    assert pasted.description.startswith(form)
    assert says_nothing_of(data, pasted.description)
    assert says_nothing_of(data, repr(pasted))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("habit", [*HABITS, *AROUND])
def test_each_form_reads_back_through_each_single_habit(form: str, habit: str) -> None:
    """What chance may leave out."""
    data = FORMS[form](KEYS[0])
    if habit in HABITS and not form.endswith("DER"):
        data = HABITS[habit](data.decode()).encode()
    elif form.endswith("PEM"):
        data = AROUND[habit](data.decode()).encode()
    assert same(parse_private_key(data, SECRET).private_key, KEYS[0])
    for wrap in WRAPPINGS.values():
        pasted = parse_private_key(wrap(data), SECRET)
        assert same(pasted.private_key, KEYS[0])
        assert pasted.description.endswith("base64-wrapped")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (sec1(KEYS[0]), "a SEC1 private key in PEM"),
        (b"\n\t" + pkcs8(KEYS[0]) + b"\n\n", "a PKCS#8 private key in PEM"),
        (sec1(KEYS[0]).replace(b"\n", b"\r\n"), "a SEC1 private key in PEM, with CRLF line ends"),
        (pkcs8(KEYS[0]).replace(b"\n", b"\r"), "a PKCS#8 private key in PEM, with CR line ends"),
        (pkcs8(KEYS[0]).replace(b"\n", b" "), "a PKCS#8 private key in PEM, without line ends"),
        (pkcs8(KEYS[0]).replace(b"\n", b"\n  "), "a PKCS#8 private key in PEM, indented"),
        (b"'" + sec1(KEYS[0]) + b"'", "a SEC1 private key in PEM, in quotes"),
        (PARAMETERS.encode() + sec1(KEYS[0]), "a SEC1 private key in PEM, with other text around it"),
        (
            pkcs8(KEYS[0]).replace(b"\n", b"\\n"),
            "a PKCS#8 private key in PEM, with escapes such as \\n written out",
        ),
        (base64.b64encode(der(sec1(KEYS[0]))), "a SEC1 private key in DER, base64-wrapped"),
        (b'"' + base64.b64encode(sec1(KEYS[0])) + b'"', "a SEC1 private key in PEM, base64-wrapped, in quotes"),
        (b"\xef\xbb\xbf" + pkcs8(KEYS[0]), "a PKCS#8 private key in PEM, with a byte-order mark"),
        (pkcs8(KEYS[0]).decode().encode("utf-16"), "a PKCS#8 private key in PEM, in UTF-16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_says_what_was_found(data: bytes, description: str) -> None:
    assert parse_private_key(data).description == description


@pytest.mark.parametrize("form", [form for form in FORMS if "encrypted" in form])
def test_an_encrypted_key_needs_its_passphrase(form: str) -> None:
    data = FORMS[form](KEYS[0])
    for given_, words in ((None, "no passphrase"), (b"", "no passphrase"), (b"a passphrasE", "does not open")):
        with pytest.raises(WrongPassphrase, match=words) as refused:
            parse_private_key(data, given_)
        assert shows_nothing(refused.value, data)


def test_a_passphrase_that_is_not_needed_is_not_used() -> None:
    for form, write in FORMS.items():
        if "encrypted" not in form:
            text = b"ENCRYPTED it is not:\n" + write(KEYS[0]) if form.endswith("PEM") else write(KEYS[0])
            assert same(parse_private_key(text, b"another").private_key, KEYS[0])


def test_what_is_too_long_is_not_looked_at() -> None:
    data = sec1(KEYS[0]).ljust(MAX_BYTES)
    assert same(parse_private_key(data).private_key, KEYS[0])
    with pytest.raises(InvalidKey, match="longer than 65536 bytes"):
        parse_private_key(data + b" ")


@pytest.mark.parametrize("length", [1, 40, MAX_BYTES])
@pytest.mark.parametrize(
    "piece", ["-----BEGIN EC PRIVATE KEY-----", "[", '"', "\\", '{"a":', "\\n", "A", "\n", "\ufeff"]
)
def test_what_is_built_to_cost_much_is_refused_soon(piece: str, length: int) -> None:
    began = time.process_time()
    with pytest.raises(InvalidKey):
        parse_private_key((piece * length).encode()[:MAX_BYTES])
    assert time.process_time() - began < 1


def says_nothing_of(data: bytes, said: str) -> bool:
    """No longer run of letters in what went in, nor in the PEM and the DER that it may wrap, is in what came out."""
    return not any(run.decode() in said for run in re.findall(rb"[A-Za-z0-9+/_=-]{12,}", data))


WHOLE = [*(write(KEYS[0]) for write in FORMS.values()), certificate(KEYS[0]), request(KEYS[0]), public(KEYS[0])]
CANARY = b"CANARY_7f3a91"
PIECES = st.sampled_from(
    [CANARY, b"\n", b"\\n", b"\\u0000", b'"', b"-----BEGIN PRIVATE KEY-----", b"{", b"\xff\xfe", b"="]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Something valid with a few pieces of it gone, put in or changed, perhaps wrapped."""
    data = draw(st.sampled_from(WHOLE))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(PIECES | st.binary(max_size=3)) + data[at + draw(st.integers(0, 6)) :]
    return draw(st.sampled_from([bytes, *(WRAPPINGS[name] for name in sorted(WRAPPINGS))]))(data)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace")) | damaged())
def test_no_input_breaks_it_or_is_repeated(data: bytes) -> None:
    """What still reads is the key that it was; all else is one of two failures."""
    try:
        pasted = parse_private_key(data, SECRET)
    except (InvalidKey, WrongPassphrase) as refused:
        said = f"{refused.message} {refused.detail} {refused!r}"
    else:
        assert same(pasted.private_key, KEYS[0])
        said = f"{pasted.description} {pasted!r}"
    assert CANARY.decode() not in said
    assert says_nothing_of(data, said)


@given(st.sampled_from([pem.SEC1, pem.PKCS8]), st.binary(max_size=200))
def test_random_bytes_under_a_label_are_refused(label: str, body: bytes) -> None:
    with pytest.raises(InvalidKey):
        parse_private_key(pem.pem_block(label, body))
