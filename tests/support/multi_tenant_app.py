"""The routes of revocations and denials over a store, called through the ASGI application by several tenants."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

from tests.storage.samples import CHANNEL, HERE, MAX_STALENESS_SECONDS, channel
from tests.support.asgi_client import AsgiResponse, request, scope_of
from tests.support.captured_log import CapturedLog
from tests.support.clocks import ManualClock
from tests.support.keks import CIPHER
from tokensvc.audit.viewers import ViewerDigests
from tokensvc.callers.api_keys import KnownSecret, key_digest, key_id_of
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.revocations.acceptance import ServedRegions
from tokensvc.revocations.denials import DenialService
from tokensvc.revocations.service import RevocationService
from tokensvc.storage.store import Store
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.viewer_id_resolver import ViewerIdResolver
from tokensvc.web.access_log import AccessLog
from tokensvc.web.app import Application
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.batch_turns import BatchTurns
from tokensvc.web.endpoints.denials import DenialRoutes
from tokensvc.web.endpoints.revocations import RevocationRoutes
from tokensvc.web.operations import bind_all, routes_of
from tokensvc.web.routes import DENIALS, REVOCATIONS

OTHER_CHANNEL = channel("b").arn
BOTH = frozenset({"revocations:read", "revocations:write"})
ALL_CHANNELS = "tsk_all_secret"
TENANT_A, TENANT_B, READER, WRITER = "tsk_a_secret", "tsk_b_secret", "tsk_reader_secret", "tsk_writer_secret"
POLICIES = {
    ALL_CHANNELS: CallerPolicy(("*",), BOTH),
    TENANT_A: CallerPolicy((CHANNEL,), BOTH, namespace="a"),
    TENANT_B: CallerPolicy((OTHER_CHANNEL,), BOTH, namespace="b"),
    READER: CallerPolicy(("*",), frozenset({"revocations:read"})),
    WRITER: CallerPolicy(("*",), frozenset({"revocations:write"})),
}


class MultiTenantApp:
    """A worker's application, the requests sent to it, and its log."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock(now=time.time())
        self.writer = CapturedLog()
        self.wakes = 0
        self.snapshot = Snapshot(
            secrets={
                key_id_of(key): KnownSecret(key_digest(key), None, Caller(key_id_of(key), policy))
                for key, policy in POLICIES.items()
            },
            refresh_started_at=1000.0,
            wall_offset_seconds=self.clock.now() - self.clock.monotonic(),
        )
        numbers = itertools.count(1)
        subjects = ViewerIdResolver(store.deployment, lambda: CIPHER)
        self.configured = [HERE.region]
        regions = ServedRegions(store.keys, store.deployment, lambda: self.configured)
        new_id = lambda: f"r{next(numbers)}"  # noqa: E731
        digest_viewer = ViewerDigests(store.audit)
        service = RevocationService(
            store=store.revocations,
            subjects=subjects,
            clock=self.clock,
            max_staleness=lambda: MAX_STALENESS_SECONDS,
            new_id=new_id,
            regions=regions,
            digest_viewer=digest_viewer,
            on_accepted=self._wake,
        )
        denial_service = DenialService(
            store=store.denials, subjects=subjects, clock=self.clock, regions=regions, digest_viewer=digest_viewer
        )
        authorized = RequestAuthenticator(lambda: self.snapshot, self.clock, lease_seconds=900)
        self.turns = BatchTurns(max_of_caller=2)
        revocations = bind_all(REVOCATIONS, RevocationRoutes(authorized, service, self.turns))
        denials = bind_all(DENIALS, DenialRoutes(authorized, denial_service))
        self._log = AccessLog(self.writer, self.clock, as_json=True)
        self._app = Application(routes_of(revocations + denials), _nothing, self.clock, self._log)

    def request(
        self, method: str, path: str, body: object = None, *, key: str = ALL_CHANNELS, **headers: str
    ) -> AsgiResponse:
        """Send one request."""
        route, _, query = path.partition("?")
        scope = scope_of(method, route, authorization=f"Bearer {key}", **headers) | {"query_string": query.encode()}
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return asyncio.run(request(self._app, scope, content))

    def revoke(self, viewer: str = "ada", *, channel_arn: str = CHANNEL, key: str = ALL_CHANNELS, **fields: Any) -> Any:
        """Revoke a viewer, which must be accepted; return the response."""
        response = self.request(
            "POST", "/v1/revocations", {"channelArn": channel_arn, "viewerId": viewer} | fields, key=key
        )
        assert response.status == 202, response.body
        return response.json

    def deny(self, viewer: str = "ada", *, channel_arn: str = CHANNEL, key: str = ALL_CHANNELS, **fields: Any) -> Any:
        """Deny a viewer, which must succeed; return the denials."""
        required = {"channelArn": channel_arn, "viewerId": viewer, "denySeconds": 60}
        response = self.request("POST", "/v1/denials", required | fields, key=key)
        assert response.status == 201, response.body
        return response.json["denials"]

    def listed_ids(self, query: str = "", key: str = ALL_CHANNELS) -> list[str]:
        """The ids of the listed revocations."""
        response = self.request("GET", f"/v1/revocations?{query}", key=key)
        assert response.status == 200, response.body
        return [revocation["id"] for revocation in response.json["revocations"]]

    def _wake(self) -> None:
        self.wakes += 1

    def log(self) -> str:
        """All access lines."""
        return self.writer.text


async def _nothing(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})
