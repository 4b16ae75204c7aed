"""`GET /v1/audit`: for callers with the scope and the pattern `*`; by filter, in pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.asgi_client import response_of, scope_of
from tests.support.audit import EVENT, REQUESTER
from tests.support.clocks import ManualClock
from tests.support.stores import store_in_memory
from tokensvc.audit.search import AuditSearch
from tokensvc.audit.viewers import ViewerDigests
from tokensvc.audit.views import AuditPage
from tokensvc.callers.api_keys import KnownSecret, key_digest
from tokensvc.callers.policy import Caller, CallerPolicy
from tokensvc.errors import ChannelNotAllowed, InsufficientScope, InvalidRequest, TokensvcError
from tokensvc.storage.store import Store
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.endpoints.audit import AuditRoute

AUDITOR, TENANT, SHOP = "tsk_a_secret", "tsk_b_secret", "tsk_c_secret"
_READ = frozenset({"audit:read"})
_TENANT_CHANNELS = ("arn:aws:ivs:us-east-1:123456789012:channel/*",)
SECRETS = {
    "a": KnownSecret(key_digest(AUDITOR), None, Caller("auditor", CallerPolicy(("*",), _READ))),
    "b": KnownSecret(key_digest(TENANT), None, Caller("tenant", CallerPolicy(_TENANT_CHANNELS, _READ))),
    "c": KnownSecret(key_digest(SHOP), None, Caller("shop", CallerPolicy(("*",)))),
}


class AuditService:
    """The route over a store that a test fills."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._clock = ManualClock()
        self.digests = ViewerDigests(self.store.audit)
        authenticator = RequestAuthenticator(self._snapshot, self._clock, lease_seconds=900)
        self._route = AuditRoute(authenticator, AuditSearch(store=self.store.audit, digest_viewer=self.digests))

    def _snapshot(self) -> Snapshot:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return Snapshot(secrets=SECRETS, refresh_started_at=monotonic, wall_offset_seconds=now - monotonic)

    def get(self, query: str = "", key: str = AUDITOR) -> Any:
        scope = scope_of("GET", "/v1/audit", authorization=f"Bearer {key}")
        scope["query_string"] = query.removeprefix("?").encode()
        response = response_of(self._route.page, scope, b"")
        shown = json.loads(response.body)
        AuditPage.model_validate(shown)
        return shown

    def error(self, query: str = "", key: str = AUDITOR) -> TokensvcError:
        with pytest.raises(TokensvcError) as failure:
            self.get(query, key)
        return failure.value


@pytest.fixture
def service(migrated: Path) -> AuditService:
    return AuditService(store_in_memory(migrated))


def test_the_scope_and_the_pattern_for_all_channels_are_needed(service: AuditService) -> None:
    assert service.get() == {"records": [], "nextToken": None}
    assert isinstance(service.error(key=SHOP), InsufficientScope)
    assert isinstance(service.error(key=TENANT), ChannelNotAllowed)


def test_a_record_is_shown_with_everything_that_is_known_of_it(service: AuditService) -> None:
    viewer = service.digests("ada")
    service.store.audit.append([REQUESTER.event("denials.add", "d1", viewer=viewer, details={"channel": "*"})])
    [record] = service.get()["records"]
    assert record.pop("at").startswith("20")
    assert record == {
        "number": 1,
        "actor": {"kind": "operator", "name": "tester", "keyId": None},
        "action": "denials.add",
        "target": "d1",
        "outcome": "done",
        "code": None,
        "rule": None,
        "requestId": None,
        "viewer": viewer,
        "occurrences": 1,
        "details": {"channel": "*"},
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?action=denials", ["denials.add"]),
        ("?viewerId=ada", ["denials.add"]),
        ("?viewerId=eve", []),
        ("?target=d1&outcome=done&actor=tester", ["denials.add"]),
        ("?since=2020-01-01T00:00:00Z", ["keys.rotate", "denials.add"]),
        ("?until=2020-01-01T00:00:00Z", []),
    ],
)
def test_records_are_filtered(service: AuditService, query: str, found: list[str]) -> None:
    service.store.audit.append([REQUESTER.event("denials.add", "d1", viewer=service.digests("ada"))])
    service.store.audit.append([REQUESTER.event("keys.rotate", "k1")])
    assert [record["action"] for record in service.get(query)["records"]] == found


def test_pages_show_each_record_once_newest_first(service: AuditService) -> None:
    service.store.audit.append([EVENT] * 5)
    numbers, token = [], ""
    while token is not None:
        page = service.get(f"?maxResults=2&nextToken={token}")
        numbers += [record["number"] for record in page["records"]]
        token = page["nextToken"]
    assert numbers == [5, 4, 3, 2, 1]


def test_every_bad_parameter_is_named(service: AuditService) -> None:
    error = service.error("?outcome=maybe&since=yesterday&nextToken=x&colour=red")
    assert isinstance(error, InvalidRequest)
    assert {field.field for field in error.errors} == {"outcome", "since", "nextToken", "colour"}
