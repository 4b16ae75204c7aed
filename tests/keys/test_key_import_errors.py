"""Input that is not a private key for IVS is rejected by name, as text, as DER and wrapped in base64."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from tests.support.key_formats import (
    UNSUPPORTED_KEYS,
    certificate,
    certificate_request,
    der,
    jwk,
    leaks_nothing,
    pkcs8,
    public,
    sec1,
    with_other_public_key,
)
from tokensvc.errors import InvalidKey
from tokensvc.jose import keypair, pem
from tokensvc.keys.key_import import parse_private_key

KEY = keypair.generate()
OTHER = keypair.generate()
CURVES = {
    "P-256 (secp256r1)": ec.SECP256R1(),
    "P-521 (secp521r1)": ec.SECP521R1(),
    "P-224 (secp224r1)": ec.SECP224R1(),
    "secp256k1": ec.SECP256K1(),
    "brainpoolP256r1": ec.BrainpoolP256R1(),
    "brainpoolP384r1": ec.BrainpoolP384R1(),
    "brainpoolP512r1": ec.BrainpoolP512R1(),
}
ED25519 = ed25519.Ed25519PrivateKey.generate()


def error_message(data: bytes, password: bytes | None = None) -> str:
    """The error for this input, which is the same alone and wrapped in base64."""
    messages = set()
    for form in (data, base64.b64encode(data), base64.encodebytes(data)):
        with pytest.raises(InvalidKey) as raised:
            parse_private_key(form, password)
        assert leaks_nothing(raised.value, form)
        messages.add(raised.value.message)
    assert len(messages) == 1
    return messages.pop()


@pytest.mark.parametrize("name", CURVES)
def test_a_key_on_another_curve_is_rejected_by_the_name_of_the_curve(name: str) -> None:
    key = ec.generate_private_key(CURVES[name])
    for data in (sec1(key), pkcs8(key), der(sec1(key)), der(pkcs8(key))):
        assert error_message(data) == f"this is an EC key on {name}; IVS accepts P-384 (secp384r1) only"
    for data in (sec1(key, b"secret"), pkcs8(key, b"secret")):
        assert name in error_message(data, b"secret")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in UNSUPPORTED_KEYS if "key" in name])
def test_a_key_of_another_kind_is_rejected_by_name(name: str) -> None:
    for data in (pkcs8(UNSUPPORTED_KEYS[name]), der(pkcs8(UNSUPPORTED_KEYS[name]))):
        assert error_message(data) == f"this is {name}; IVS accepts P-384 (secp384r1) only"


def traditional(key: keypair.PrivateKey | dsa.DSAPrivateKey, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)


def openssh(key: keypair.PrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def pfx(password: bytes | None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"ivs", KEY, None, None, encryption)


RSA_TRADITIONAL = UNSUPPORTED_KEYS["an RSA key"].private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
)
OPENSSH_PUBLIC = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
SM2 = base64.b64decode(
    "MIGHAgEAMBMGByqGSM49AgEGCCqBHM9VAYItBG0wawIBAQQgfD3C7tNBvTLPvB/KZ4yG7X64Lq9Rkqb/gMGXfJ5r/EKhRANC"
    "AAQEr7r/Fpvl3KbMtMvQ3w0aZbqmNNkwsrFIktUZ6yYiXLVrNnSzrHCcSbKoWW8zJ1dZ4zR8t4f7gVYZyO9tRb4v"
)
HALF_AN_IV = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0011223344556677\n\n"
OTHERS: dict[str, tuple[bytes, str]] = {
    "RSA, traditional": (RSA_TRADITIONAL, "an RSA private key; IVS accepts P-384"),
    "RSA, traditional, DER": (der(RSA_TRADITIONAL), "an RSA private key; IVS accepts P-384"),
    "public": (public(KEY), "a public key, which contains no private key"),
    "public, DER": (der(public(KEY)), "a public key, which contains no private key"),
    "public, OpenSSH": (OPENSSH_PUBLIC, "an OpenSSH public key, which contains no private key"),
    "certificate": (certificate(KEY), "a certificate, which contains no private key"),
    "certificate, DER": (der(certificate(KEY)), "a certificate, which contains no private key"),
    "request": (certificate_request(KEY), "a certificate signing request, which contains no private key"),
    "request, DER": (der(certificate_request(KEY)), "a certificate signing request, which contains no private key"),
    "parameters alone": (
        pem.pem_block("EC PARAMETERS", bytes.fromhex("06052b81040022")),
        "EC parameters without a key",
    ),
    "OpenSSH": (openssh(KEY), "an OpenSSH private key; convert a copy to PKCS#8 with `ssh-keygen -p -m PKCS8 -f FILE`"),
    "OpenSSH, Ed25519": (
        openssh(ED25519),
        "an OpenSSH private key; convert a copy to PKCS#8 with `ssh-keygen -p -m PKCS8 -f FILE`",
    ),
    "PuTTY": (b"PuTTY-User-Key-File-3: ecdsa-sha2-nistp384\nEncryption: none\n", "a PuTTY private key"),
    "PGP private": (pem.pem_block("PGP PRIVATE KEY BLOCK", b"x" * 99, "Version: 1\n\n"), "a PGP private key"),
    "PGP public": (pem.pem_block("PGP PUBLIC KEY BLOCK", b"x" * 99), "a PGP public key"),
    "PKCS#12": (pfx(b"secret"), "a PKCS#12 bundle; extract the private key with `openssl pkcs12 -in FILE -nocerts`"),
    "PKCS#12 without a password": (
        pfx(None),
        "a PKCS#12 bundle; extract the private key with `openssl pkcs12 -in FILE -nocerts`",
    ),
    "PEM of another kind": (pem.pem_block("ATTRIBUTE CERTIFICATE", b"x" * 99), "a PEM block of an unknown kind"),
    "two": (sec1(KEY) + pkcs8(OTHER), "contains 2 private keys"),
    "two, one for SSH": (pkcs8(KEY) + openssh(ED25519), "contains 2 private keys"),
    "the same twice": (sec1(KEY) * 2, "contains 2 private keys"),
    "empty": (b"", "this is empty"),
    "blank": (b" \r\n\t\n", "this is empty"),
    "empty quotes": (b'""', "this is empty"),
    "words": (b"Could you send me the key again?", "not a private key in a supported format"),
    "a path": (b"C:\\Users\\me\\Desktop\\private.pem", "not a private key in a supported format"),
    "bytes": (bytes(range(256)), "not a private key in a supported format"),
    "without its end": (sec1(KEY)[:-20], "a SEC1 private key in PEM that is damaged: a part is missing"),
    "without its beginning": (sec1(KEY)[20:], "a SEC1 private key in PEM that is damaged: a part is missing"),
    "with ends that differ": (sec1(KEY).replace(b"END EC", b"END"), "a SEC1 private key in PEM that is damaged"),
    "a dash short": (pkcs8(KEY).replace(b"KEY-----", b"KEY----"), "begins like PEM, but its BEGIN line is damaged"),
    "without a line": (b"\n".join(pkcs8(KEY).split(b"\n")[:2] + pkcs8(KEY).split(b"\n")[3:]), "is damaged"),
    "with a letter of no base64": (pkcs8(KEY).replace(b"A", b"*", 1), "is damaged"),
    "encrypted with half an IV": (pem.pem_block(pem.SEC1, bytes(16), HALF_AN_IV), "is damaged"),
    "SEC1 under the label of PKCS#8": (pem.pem_block(pem.PKCS8, der(sec1(KEY))), "is damaged"),
    "a curve that cryptography lacks": (SM2, "on a curve or of a kind that is not supported; P-384 is required"),
    "halves of two keys, SEC1": (
        pem.pem_block(pem.SEC1, with_other_public_key(KEY, OTHER, der(sec1(KEY)))),
        "its public and private parts do not match",
    ),
    "halves of two keys, PKCS#8": (
        pem.pem_block(pem.PKCS8, with_other_public_key(KEY, OTHER, der(pkcs8(KEY)))),
        "its public and private parts do not match",
    ),
    "halves of two keys, DER": (
        with_other_public_key(KEY, OTHER, der(sec1(KEY))),
        "not a private key in a supported format",
    ),
    "halves of two keys, JWK": (
        json.dumps({**jwk(KEY), "d": jwk(OTHER)["d"]}).encode(),
        "public and private parts of this JWK do not match",
    ),
    "a JWK, public": (json.dumps({k: v for k, v in jwk(KEY).items() if k != "d"}).encode(), "a public key as a JWK"),
    "a JWK, P-256": (
        json.dumps({**jwk(KEY), "crv": "P-256"}).encode(),
        "an EC key on P-256 as a JWK; IVS accepts P-384",
    ),
    "JSON": (b'{"hello": "world"}', "JSON, but not a JWK"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_error_says_what_the_input_is(name: str) -> None:
    data, words = OTHERS[name]
    if data.strip():
        assert words in error_message(data)
        return
    with pytest.raises(InvalidKey, match=words):
        parse_private_key(data)


def test_no_word_of_the_input_appears_in_the_error() -> None:
    """Labels, curves and key types are input, too."""
    for data in (
        b"-----BEGIN HUNTER2 PRIVATE KEY-----\nAAAA\n-----END HUNTER2 PRIVATE KEY-----\n",
        b"-----BEGIN HUNTER2-----\nAAAA\n-----END HUNTER2-----\n",
        b'{"kty": "HUNTER2"}',
        b'{"kty": "EC", "crv": "HUNTER2"}',
        b'{"kty": "OKP", "crv": ["HUNTER2"]}',
        b"HUNTER2 HUNTER2",
    ):
        assert "HUNTER2" not in error_message(data)
