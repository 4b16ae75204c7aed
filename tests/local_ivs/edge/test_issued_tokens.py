"""The edge admits whatever the issuer signs, on its channel, and denies every single mutation by the right rule."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.local_ivs.environment import start_stream
from tests.local_ivs.ladder import Ladder
from tests.support.token_requests import origin_for, token_requests
from tests.support.tokens import CHANNEL, HEADER, NOW, OTHER_CHANNEL, encode_token, snapshot_of
from tests.tokens.test_validation_tampering import ALPHABET, expected_rule
from tokensvc.aws.arn import Arn
from tokensvc.errors import InvalidRequest
from tokensvc.jose import keypair
from tokensvc.jose.es384 import base64url_decode
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.edge.playback import PlaybackHandler, PlaybackRequest
from tokensvc.local_ivs.edge.responses import PlaybackResponse
from tokensvc.local_ivs.edge.sessions import Sessions
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources import channels
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.issuer import prepare
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.validation import RULES

pytestmark = pytest.mark.slow

KEY, OTHER_KEY = keypair.generate(), keypair.generate()
LIMITS = TokenLimits(max_ttl_seconds=86_400, namespace="default")
SNAPSHOT = snapshot_of(KEY)
_numbers = itertools.count()


class Clock(NamedTuple):
    """Stands still at the time for which the tokens are issued."""

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW


class Issued(NamedTuple):
    """A token of the issuer, what it claims, and an origin that it allows."""

    token: str
    claims: dict[str, Any]
    exp: int
    origin: str

    def resigned(self, *, header: object = None, key: keypair.PrivateKey = KEY, **changes: Any) -> str:
        """The token with other claims, signed again. Names have underscores instead of hyphens; None removes one."""
        claims = self.claims | {_claim_name(name): value for name, value in changes.items()}
        claims = {name: value for name, value in claims.items() if value is not None}
        return encode_token(key, header or HEADER, claims)


class Edge(NamedTuple):
    """The edge with CHANNEL and OTHER_CHANNEL, both private and live, and one imported key."""

    handler: PlaybackHandler
    ivs: LocalIvs

    def play(
        self, token: str, origin: str, *, at: float = NOW, channel: Arn = CHANNEL, query: str = ""
    ) -> PlaybackResponse:
        request = PlaybackRequest(channel, channel.playback_path, query or f"token={token}", origin, "http://edge.test")
        return self.handler.handle(request, at)

    def revoke(self, viewer_id: str, version: int) -> None:
        request = {"channelArn": str(CHANNEL), "viewerId": viewer_id}
        request |= {"viewerSessionVersionsLessThanOrEqualTo": version}  # type: ignore[dict-item]
        self.ivs.call(CHANNEL.account_region, "StartViewerSessionRevocation", request, "")


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    resources = SqliteResourceStore(":memory:")
    ivs = LocalIvs(api_model.load(), resources, Clock(), random_string, b"secret")
    material = {"publicKeyMaterial": keypair.public_pem(KEY.public_key())}
    ivs.call(CHANNEL.account_region, "ImportPlaybackKeyPair", material, "")
    for channel in (CHANNEL, OTHER_CHANNEL):
        body = {**channels.CHANNEL.defaults, "authorized": True}
        with resources.begin(write=True) as transaction:
            transaction.put(Resource(str(channel), channel.account_region, "channel", "", "", body, NOW))
        start_stream(resources, channel, Clock())
    yield Edge(PlaybackHandler(resources, Sessions(resources, random_string, 1_000_000), Ladder(), random_string), ivs)
    resources.close()


def issue(fields: dict[str, Any]) -> Issued:
    try:
        token = prepare(parse_token_request(fields), LIMITS, SNAPSHOT, NOW, uuid.uuid4)
        signed = token.signed()
    except InvalidRequest:  # a token that would be too large
        assume(False)
        raise
    claims = json.loads(base64url_decode(signed.split(".")[1].encode()))
    return Issued(signed, claims, token.exp, origin_for(fields))


def rule_of(response: PlaybackResponse) -> str:
    """The rule that denied playback. A denial has the form of IVS's errors."""
    assert response.status == 403, response
    (entry,) = json.loads(response.body)
    assert entry.keys() == {"url", "error", "error_code", "type"}
    return dict(response.headers)["tokensvc-rule"]


def _claim_name(name: str) -> str:
    return name if name in ("exp", "nbf", "iat") else f"aws:{name.replace('_', '-')}"


Mutation = Callable[[Edge, Issued], PlaybackResponse]


def _changed_byte(edge: Edge, issued: Issued) -> PlaybackResponse:
    """Another letter in the payload, which leaves its encoding and the header as they are."""
    header, payload, signature = issued.token.split(".")
    neighbour = ALPHABET[(ALPHABET.index(payload[4]) + 1) % len(ALPHABET)]
    return edge.play(".".join((header, payload[:4] + neighbour + payload[5:], signature)), issued.origin)


def _used_twice(edge: Edge, issued: Issued) -> PlaybackResponse:
    token = issued.resigned(single_use_uuid=str(uuid.uuid4()), exp=NOW + 300)
    assert edge.play(token, issued.origin).status == 200
    return edge.play(token, issued.origin)


def _revoked(edge: Edge, issued: Issued) -> PlaybackResponse:
    viewer_id, version = f"revoked {next(_numbers)}", 7
    token = issued.resigned(viewer_id=viewer_id, viewer_session_version=version, exp=NOW + 300)
    assert edge.play(token, issued.origin).status == 200
    edge.revoke(viewer_id, version)
    return edge.play(token, issued.origin)


def _resigned(**changes: Any) -> Mutation:
    return lambda edge, issued: edge.play(issued.resigned(**changes), issued.origin)


def _payload(payload: bytes) -> Mutation:
    return lambda edge, issued: edge.play(encode_token(KEY, HEADER, payload), issued.origin)


STRICT: dict[str, Any] = {"strict_origin_enforcement": True, "access_control_allow_origin": "https://allowed.example"}

MUTATIONS: dict[str, tuple[str, Mutation]] = {
    "more than 2 KB": ("size", lambda edge, issued: edge.play(issued.token + "A" * 2001, issued.origin)),
    "a segment more": ("segments", lambda edge, issued: edge.play(f"{issued.token}.e30", issued.origin)),
    "no signature": ("segments", lambda edge, issued: edge.play(issued.token.rpartition(".")[0], issued.origin)),
    "no token": ("segments", lambda edge, issued: edge.play("", issued.origin)),
    "padding": ("encoding", lambda edge, issued: edge.play(f"{issued.token}=", issued.origin)),
    "another type": ("header", _resigned(header={"alg": "ES384", "typ": "JWS"})),
    "no algorithm": ("header", _resigned(header={"typ": "JWT"})),
    "not signed": ("algorithm", _resigned(header={"alg": "none", "typ": "JWT"})),
    "another algorithm": ("algorithm", _resigned(header={"alg": "ES256", "typ": "JWT"})),
    "a changed byte": ("signature", _changed_byte),
    "another key": ("signature", _resigned(key=OTHER_KEY)),
    "a list as payload": ("payload", _payload(b"[]")),
    "a claim twice": ("payload", _payload(b'{"exp":1,"exp":2}')),
    "another channel's playlist": (
        "channel",
        lambda edge, issued: edge.play(issued.token, issued.origin, channel=OTHER_CHANNEL),
    ),
    "another channel": ("channel", _resigned(channel_arn=str(OTHER_CHANNEL))),
    "a channel that is not a string": ("channel", _resigned(channel_arn=[str(CHANNEL)])),
    "no channel": ("channel", _resigned(channel_arn=None)),
    "after its expiry": ("expiry", lambda edge, issued: edge.play(issued.token, issued.origin, at=issued.exp)),
    "no expiry": ("expiry", _resigned(exp=None)),
    "an expiry that is a string": ("expiry", _resigned(exp=str(NOW + 300))),
    "an expiry in milliseconds": ("expiry", _resigned(exp=(NOW + 300) * 1000)),
    "not valid yet": ("not-yet", _resigned(nbf=NOW + 1)),
    "issued in the future": ("not-yet", _resigned(iat=NOW + 1)),
    "a viewer for more than ten minutes": ("ten-minutes", _resigned(viewer_id="v", exp=NOW + 601)),
    "a single use for more than ten minutes": (
        "ten-minutes",
        _resigned(single_use_uuid=str(uuid.uuid4()), exp=NOW + 601),
    ),
    "a viewer id that is too long": ("viewer", _resigned(viewer_id="v" * 41, exp=NOW + 300)),
    "a viewer id that is a number": ("viewer", _resigned(viewer_id=7, exp=NOW + 300)),
    "a version that is a string": ("viewer", _resigned(viewer_id="v", viewer_session_version="7", exp=NOW + 300)),
    "a revoked viewer": ("revoked", _revoked),
    "a second use": ("single-use", _used_twice),
    "a single use that is not a UUID": ("single-use", _resigned(single_use_uuid="once", exp=NOW + 300)),
    "an origin with a path": ("origins", _resigned(access_control_allow_origin="https://a.example/path")),
    "six origins under strict enforcement": (
        "origins",
        _resigned(strict_origin_enforcement=True, access_control_allow_origin=",".join(["https://a.example"] * 6)),
    ),
    "another origin": (
        "strict-origin",
        lambda edge, issued: edge.play(issued.resigned(**STRICT), "https://other.example"),
    ),
    "no origin": ("strict-origin", lambda edge, issued: edge.play(issued.resigned(**STRICT), "")),
    "strict enforcement that is a string": (
        "origins",
        _resigned(strict_origin_enforcement="true", access_control_allow_origin=None),
    ),
    "an unknown resolution": ("resolution", _resigned(maximum_resolution="4K")),
    "an unknown reporting mode": ("ads", _resigned(ads_reporting_mode="NEVER")),
    "two tokens": (
        "several-tokens",
        lambda edge, issued: edge.play("", issued.origin, query=f"token={issued.token}&token={issued.token}"),
    ),
}
"""What is changed -> (the rule that denies it, how to change it)."""


def test_every_rule_has_a_mutation() -> None:
    assert {rule for rule, _ in MUTATIONS.values()} == {name for name, _ in RULES} | {"several-tokens"}


@settings(max_examples=150)
@given(fields=token_requests())
def test_the_edge_admits_whatever_the_issuer_signs(edge: Edge, fields: dict[str, Any]) -> None:
    issued = issue(fields)
    assert edge.play(issued.token, issued.origin, at=issued.exp - 1).status == 200


@pytest.mark.parametrize("name", MUTATIONS)
@settings(max_examples=8)
@given(fields=token_requests())
def test_each_mutation_is_denied_by_its_rule(edge: Edge, name: str, fields: dict[str, Any]) -> None:
    rule, mutate = MUTATIONS[name]
    assert rule_of(mutate(edge, issue(fields))) == rule


@settings(max_examples=200)
@given(fields=token_requests(), data=st.data())
def test_any_changed_character_is_denied_by_the_rule_of_its_place(
    edge: Edge, fields: dict[str, Any], data: st.DataObject
) -> None:
    token, origin = (issued := issue(fields)).token, issued.origin
    position = data.draw(st.integers(0, len(token) - 1))
    changed = token[:position] + data.draw(st.sampled_from(f"{ALPHABET}.=%2E")) + token[position + 1 :]
    assume(changed != token and "%" not in changed)
    assert rule_of(edge.play(changed, origin)) == expected_rule(changed)
