"""Playback key pairs.

Invariants
- Only the public key is ever sent here. It is stored as the DER that was sent, and the fingerprint is of those bytes.
- Each key has one encoding here, and a key that IVS might reject is rejected.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.errors import InvalidKey
from tokensvc.jose import pem
from tokensvc.jose.keypair import PublicKey, fingerprint_of, public_der, read_public_der, read_public_pem
from tokensvc.local_ivs.errors import invalid_member
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.types import ResourceType, limited
from tokensvc.local_ivs.transaction import Body, OperationCall

_NAMED_CURVE = bytes.fromhex("06052b81040022")
"""secp384r1 as an object identifier in DER (RFC 5480, section 2.1.1.1)."""


def read_public_key(_: OperationCall, __: Arn, ___: str, body: Body) -> str:
    """The public key is P-384 in PEM, and a key that was imported before is a ConflictException.

    Replaces the PEM by fingerprint and DER, whose digest is the unique key in the account and region. Source: IVS user
    guide, "Create or Import a Playback Key".

    INFERRED: Whether a key was imported before is checked before the quota of key pairs.

    INFERRED: `publicKeyMaterial` is exactly one PEM block `PUBLIC KEY` with nothing but white space around it, holding
    the DER that `openssl ec -pubout` writes for a named curve and an uncompressed point (RFC 5480, section 2). AWS does
    not document which other forms IVS accepts.
    """
    try:
        der = strict_der(body.pop("publicKeyMaterial"))
    except InvalidKey as problem:
        raise invalid_member("publicKeyMaterial", problem.message) from None
    body["fingerprint"] = fingerprint_of(der)
    body["publicKeyDer"] = base64.b64encode(der).decode()
    return hashlib.sha256(der).hexdigest()


def strict_der(material: str) -> bytes:
    """The DER in the PEM, as it was sent. Raises InvalidKey with the reason if it is not in the one accepted form."""
    key = read_public_pem(material.encode())
    found, around = pem.find_blocks(material)
    if len(found) != 1:
        raise InvalidKey(f"this has {len(found)} PEM blocks; import one public key at a time")
    if around.strip():
        raise InvalidKey("this has text before or after the PEM block; leave it out")
    try:
        der = base64.b64decode("".join((found[0].body or "").split()), validate=True)
    except ValueError:
        raise InvalidKey("this PEM public key is damaged: its body is not valid base64") from None
    if der == public_der(key):
        return der
    if _NAMED_CURVE not in der:
        raise InvalidKey("this public key has explicit parameters; write it with the curve's name (secp384r1)")
    if len(der) < len(public_der(key)):
        raise InvalidKey("this public key's point is compressed; write it uncompressed (-conv_form uncompressed)")
    raise InvalidKey("this public key is not in the DER encoding that `openssl ec -pubout` writes")


class ImportedKey(NamedTuple):
    """The public key of an imported key pair, and its fingerprint."""

    fingerprint: str
    public_key: PublicKey


def imported_key(resource: Resource) -> ImportedKey:
    """The public key of an imported key pair, and its fingerprint."""
    return ImportedKey(resource.body["fingerprint"], _read(resource.body["publicKeyDer"]))


@lru_cache(maxsize=1024)
def _read(der: str) -> PublicKey:
    return read_public_der(base64.b64decode(der))


PLAYBACK_KEY_PAIR = ResourceType(
    kind="playback-key",
    member="keyPair",
    list_member="keyPairs",
    operations=limited(
        3,
        create="ImportPlaybackKeyPair",
        get="GetPlaybackKeyPair",
        delete="DeletePlaybackKeyPair",
        list="ListPlaybackKeyPairs",
    ),
    quota=3,
    quota_text="3 playback key pairs per account and region",
    page_size=3,  # "your service quota or 100, whichever is less"
    defaults={
        "name": "",
        "tags": {},
    },
    on_create=read_public_key,
    edge_members=("fingerprint", "publicKeyDer"),
)
