"""One definition of a viewer id: tokens are issued for exactly the ids that can be revoked and denied."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.support.dispatchers import DispatchScenario
from tests.support.local_control_plane import ACCOUNT_REGION
from tests.support.multi_tenant_app import MultiTenantApp
from tests.support.token_requests import VIEWER_IDS
from tests.support.tokens import Prepared, raw_sign
from tokensvc.aws.arn import parse_arn
from tokensvc.errors import InvalidRequest
from tokensvc.jose.keypair import PrivateKey
from tokensvc.storage.store import Store
from tokensvc.tokens.authorization import TokenLimits
from tokensvc.tokens.issuer import prepare
from tokensvc.tokens.keyring import Keyring, RegionKeys, SigningKey
from tokensvc.tokens.request import parse_token_request
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.validation import Outcome, PlaybackAttempt, validate
from tokensvc.tokens.viewer_ids import check_viewer_id

pytestmark = pytest.mark.slow

ODD = st.text(st.sampled_from("a\0\t\x1b\x7f\x9f\u202e\u200d\u2028\U0001f680\ufdd0é"), max_size=42)
ANY = st.text(st.characters(), max_size=42) | VIEWER_IDS | ODD
"""Surrogates included."""


class ReferenceDeployment(NamedTuple):
    """The routes for revocations and denials, the local IVS, and a signing key."""

    counter: MultiTenantApp
    dispatch: DispatchScenario
    key: PrivateKey
    seen: set[str]
    """The viewers of earlier examples, viewer_fields are revoked by now."""

    @property
    def channel(self) -> str:
        return self.dispatch.channel

    def token(self, viewer: str, now: int) -> str:
        """A token for this viewer. Raises InvalidRequest."""
        key = SigningKey("k1", Prepared(lambda digest: raw_sign(self.key, digest)), 600)
        snapshot = Snapshot(Keyring({ACCOUNT_REGION: RegionKeys(key, {})}), max_ttl_seconds=600)
        request = parse_token_request({"channelArn": self.channel, "viewerId": viewer})
        return prepare(request, TokenLimits(600, "default"), snapshot, now, uuid.uuid4).signed()

    def plays(self, token: str, viewer: str, now: int) -> bool:
        """Whether the edge allows playback, given what the local IVS has recorded."""
        revoked = self.dispatch.ivs.revoked(self.channel, viewer)
        where = parse_arn(self.channel, "channel")
        result = validate(PlaybackAttempt(token, now, where, [self.key.public_key()], revoked_version=revoked))
        return result.outcome is Outcome.ALLOW

    def responses(self, viewer: str) -> tuple[Any, Any]:
        """The responses to a revocation and to a denial of this viewer."""
        viewer_fields = {"channelArn": self.channel, "viewerId": viewer}
        request = self.counter.request
        return request("POST", "/v1/revocations", viewer_fields), request(
            "POST", "/v1/denials", viewer_fields | {"denySeconds": 60}
        )


@pytest.fixture
def deployment(store: Store, private_key: PrivateKey) -> Iterator[ReferenceDeployment]:
    dispatch = DispatchScenario(store)
    counter = MultiTenantApp(store)
    counter.configured = [parse_arn(dispatch.channel, "channel").account_region.region]
    yield ReferenceDeployment(counter, dispatch, private_key, set())
    dispatch.close()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(viewer=ANY)
@example("a\0")
@example("\U0001f680" * 40)
@example("\u202e" * 40)
def test_exactly_the_viewers_that_get_tokens_can_be_revoked_and_denied(
    deployment: ReferenceDeployment, viewer: str
) -> None:
    assume(viewer not in deployment.seen)
    deployment.seen.add(viewer)
    now = int(time.time())
    try:
        token = deployment.token(viewer, now)
    except InvalidRequest as refused:
        expected = [{"field": e.field, "message": e.message} for e in refused.errors]
        for answer in deployment.responses(viewer):
            assert answer.status in (400, 422), "400: JSON cannot express it"
            assert answer.status == 400 or answer.json["errors"] == expected
        return
    assert check_viewer_id(viewer) == viewer
    assert deployment.plays(token, viewer, now)
    revoked, denied = deployment.responses(viewer)
    assert (revoked.status, denied.status) == (202, 201)
    deployment.dispatch.drain(deployment.dispatch.dispatcher())
    assert deployment.counter.request("GET", f"/v1/revocations/{revoked.json['id']}").json["state"] == "sent"
    assert not deployment.plays(token, viewer, now)


@given(viewer=ANY)
def test_the_api_reports_the_rules_of_the_definition(viewer: str) -> None:
    fields = {"channelArn": "arn:aws:ivs:us-west-2:123456789012:channel/a", "viewerId": viewer}
    try:
        rule = ""
        check_viewer_id(viewer)
    except ValueError as broken:
        rule = str(broken)
    try:
        parse_token_request(fields)
        message = ""
    except InvalidRequest as refused:
        [error] = refused.errors
        message = error.message
    assert message == rule
