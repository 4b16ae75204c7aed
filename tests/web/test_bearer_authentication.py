"""Requests with bearer tokens, and failed authentications by address."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.asgi_client import scope_of
from tests.support.clocks import OFFSET, ManualClock
from tests.support.oidc_issuer import AUDIENCE, JWKS_PATH, OidcIssuer, running_issuer
from tokensvc.callers.api_keys import KnownSecret, key_digest
from tokensvc.callers.bearer import CACHE_SECONDS
from tokensvc.callers.jwks import IssuerKeys
from tokensvc.callers.policy import BearerPolicy, Caller, CallerPolicy
from tokensvc.errors import InsufficientScope, IssuerUnavailable, RateLimited, Unauthenticated
from tokensvc.http.problem_details import error_response
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.authentication import BearerNotVerified, RequestAuthenticator
from tokensvc.web.context import RequestContext
from tokensvc.web.failed_logins import FAILURE_RATE

pytestmark = pytest.mark.slow

KEY = "tsk_abc_secret"
SCOPE = "tokens:issue"


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with running_issuer() as running:
        yield running


class Web:
    """An authenticator with one viewer app and one backend."""

    def __init__(self, issuer: OidcIssuer, clock: ManualClock) -> None:
        self.issuer, self.clock = issuer, clock
        policy = CallerPolicy(("*",), bearer=BearerPolicy(issuer.url, AUDIENCE))
        self.snapshot = Snapshot(
            secrets={"abc": KnownSecret(key_digest(KEY), None, Caller("backend", CallerPolicy(("*",)), "abc"))},
            bearers={(issuer.url, AUDIENCE): Caller("app", policy)},
            refresh_started_at=clock.monotonic(),
            wall_offset_seconds=OFFSET,
        )
        self.fetches: list[tuple[str, bool]] = []
        self.authenticator = RequestAuthenticator(
            lambda: self.snapshot,
            clock,
            lease_seconds=1e9,
            count_fetch=lambda issuer, is_fetched: self.fetches.append((issuer, is_fetched)),
        )

    def token(self, **claims: Any) -> str:
        return self.issuer.token(**{"exp": int(self.clock.now()) + 3600, **claims})

    def verified(self, token: str, client: str = "192.0.2.7", required: str = SCOPE) -> Caller:
        scope = {**scope_of(authorization=f"Bearer {token}"), "client": (client, 1)}
        return asyncio.run(self.authenticator.verified(scope, RequestContext("r", 0.0), required))[0]

    def nowait(self, token: str, client: str = "192.0.2.7") -> Caller:
        scope = {**scope_of(authorization=f"Bearer {token}"), "client": (client, 1)}
        return self.authenticator.authenticate(scope, RequestContext("r", 0.0), SCOPE)[0]


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Web]:
    """One for all examples of a property."""
    with running_issuer() as running:
        web = Web(running, ManualClock())
        web.verified(web.token())  # so that its keys are known
        yield web


@pytest.fixture
def web(issuer: OidcIssuer, clock: ManualClock) -> Web:
    return Web(issuer, clock)


def test_a_bearer_is_verified_once_and_then_needs_no_waiting(web: Web) -> None:
    token = web.token()
    with pytest.raises(BearerNotVerified):
        web.nowait(token)
    assert web.verified(token).name == "app"
    caller = web.nowait(token)
    assert caller.login is not None
    assert (caller.name, caller.key_id, caller.login.subject) == ("app", "", "viewer-1")
    web.verified(web.token(sub="viewer-2"))
    assert web.issuer.requests.count(JWKS_PATH) == 1


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["RS256", "none", "HS256"]) | _JSON},
    optional=dict.fromkeys(("kid", "typ", "crit", "jku", "jwk", "x5u", "cty", "b64", "zip", "enc"), _JSON),
)
_CLAIMS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("aud", "exp", "iat", "nbf", "sub", "channels", "plan"), _JSON)
)
_PARTS = (
    st.binary(max_size=20)
    | (_HEADERS | _CLAIMS).map(lambda value: json.dumps(value).encode())
    | st.sampled_from(
        [b"[" * 5000, b'{"a":' * 2000, b'{"alg":"RS256","alg":"none"}', b"9" * 5000, b"\xff", b"\xed\xa0\x80"]
    )
)


@given(
    scheme=st.sampled_from(["Bearer", "bearer", "BEARER", "Basic", "", "Bearer Bearer"]),
    separator=st.sampled_from([" ", "  ", "", "\t", ","]),
    token=st.text(st.characters(max_codepoint=255), max_size=60)
    | st.lists(_PARTS.map(_encoded), max_size=6).map(".".join)
    | st.tuples(_HEADERS, _CLAIMS, st.binary(max_size=96)),
)
def test_whatever_is_sent_as_authorization_is_refused_and_never_an_internal_error(
    fuzzed: Web, scheme: str, separator: str, token: Any
) -> None:
    if isinstance(token, tuple):
        header, claims, signature = token
        document = {
            "iss": fuzzed.issuer.url,
            "aud": AUDIENCE,
            "exp": int(fuzzed.clock.now()) + 60,
            "sub": "a",
            **claims,
        }
        parts = [json.dumps({"kid": "first", **header}).encode(), json.dumps(document).encode(), signature]
        token = ".".join(map(_encoded, parts))
    fuzzed.clock.advance(3600)
    scope = scope_of(authorization=f"{scheme}{separator}{token}")
    with pytest.raises((Unauthenticated, RateLimited)) as refused:
        asyncio.run(fuzzed.authenticator.verified(scope, RequestContext("r", 0.0), SCOPE))
    assert not isinstance(refused.value, BearerNotVerified)
    challenge = dict(error_response(refused.value).headers).get(b"www-authenticate", b"")
    assert b"\n" not in challenge
    assert challenge.endswith(b'scope="tokens:issue"')


def test_a_viewer_app_administers_nothing(web: Web) -> None:
    """Told immediately, also by a route that reads no body: a login that is not verified yet is not an unknown one."""
    scope = {**scope_of(authorization=f"Bearer {web.token()}"), "client": ("192.0.2.7", 1)}
    with pytest.raises(InsufficientScope):
        asyncio.run(web.authenticator.caller(scope, RequestContext("r", 0.0), "keys:read"))
    with pytest.raises(InsufficientScope):
        web.verified(web.token(), required="keys:read")


def test_a_bearer_of_nobody_gets_one_text(web: Web) -> None:
    for token in ("e30.e30.", web.token(aud="x"), web.token(exp=1), web.token(headers={"kid": "unknown"})):
        with pytest.raises(Unauthenticated, match="bearer token not accepted"):
            web.verified(token)


def test_an_issuer_that_was_never_reached_does_not_cause_a_401(web: Web) -> None:
    web.issuer.status = 500
    with pytest.raises(IssuerUnavailable):
        web.verified(web.token())


def _fail(web: Web, token: str, client: str, times: int = FAILURE_RATE.burst) -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            web.verified(token, client)


def test_an_address_with_many_failures_gets_429(web: Web) -> None:
    _fail(web, "tsk_abc_wrong", "192.0.2.7")
    with pytest.raises(RateLimited) as raised:
        web.verified("tsk_abc_wrong")
    assert (raised.value.limit, raised.value.retry_after_seconds) == ("address", 2)
    _fail(web, "tsk_abc_wrong", "192.0.2.8", 1)
    web.clock.advance(2)
    _fail(web, "tsk_abc_wrong", "192.0.2.7", 1)


def test_a_valid_key_or_a_verified_bearer_is_never_refused_for_its_address(web: Web) -> None:
    token = web.token()
    web.verified(token)
    _fail(web, "tsk_abc_wrong", "192.0.2.7")
    assert web.verified(KEY).name == "backend"
    assert web.verified(token).name == "app"


def test_nothing_is_verified_or_fetched_for_an_address_over_its_limit(web: Web) -> None:
    _fail(web, "tsk_abc_wrong", "192.0.2.7")
    with pytest.raises(RateLimited):
        web.verified(web.token())
    assert web.issuer.requests == []


def test_ipv6_clients_are_counted_by_their_64_bit_network(web: Web) -> None:
    for host in range(FAILURE_RATE.burst):
        _fail(web, "tsk_abc_wrong", f"2001:db8:0:1::{host:x}", 1)
    with pytest.raises(RateLimited):
        web.verified("tsk_abc_wrong", "2001:db8:0:1:ffff::1")
    _fail(web, "tsk_abc_wrong", "2001:db8:0:2::1", 1)


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "not an address"])
def test_clients_behind_a_local_proxy_are_not_limited_together(web: Web, client: str) -> None:
    _fail(web, "tsk_abc_wrong", client, FAILURE_RATE.burst + 5)


def test_a_request_without_credentials_guesses_nothing(web: Web) -> None:
    for _ in range(FAILURE_RATE.burst + 5):
        with pytest.raises(Unauthenticated):
            asyncio.run(web.authenticator.verified(scope_of(), RequestContext("r", 0.0), SCOPE))


def test_requests_that_wait_for_the_same_issuer_fetch_once_and_occupy_one_thread(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [web.token(sub=f"viewer-{n}") for n in range(5)]
    running, most, real = 0, 0, IssuerKeys.refresh

    def refresh(keys: IssuerKeys, kid: str | None, now: float) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return real(keys, kid, now)
        finally:
            running -= 1

    async def verify(token: str) -> None:
        await web.authenticator.verified(scope_of(authorization=f"Bearer {token}"), RequestContext("r", 0.0), SCOPE)

    async def verify_all() -> None:
        await asyncio.gather(*map(verify, waiting))

    monkeypatch.setattr(IssuerKeys, "refresh", refresh)
    asyncio.run(verify_all())
    assert (most, web.fetches) == (1, [("127.0.0.1", True)])


def test_fetches_of_key_sets_are_counted_by_host_and_their_age_is_known(web: Web, clock: ManualClock) -> None:
    assert web.authenticator.key_set_ages() == {}
    web.verified(web.token())
    web.verified(web.token())
    assert web.fetches == [("127.0.0.1", True)], "once for both"
    clock.advance(30)
    assert web.authenticator.key_set_ages() == {"127.0.0.1": 30}
    web.snapshot = web.snapshot._replace(bearers={})
    assert web.authenticator.key_set_ages() == {}, "no viewer app has this issuer any more"


def test_a_bearer_whose_verification_ends_while_its_body_arrives_is_verified_again(web: Web) -> None:
    token = web.token()
    web.verified(token)
    web.clock.advance(CACHE_SECONDS - 0.2)

    async def receive() -> dict[str, Any]:
        web.clock.advance(0.5)
        return {"type": "http.request", "body": b"{}"}

    scope = {**scope_of(authorization=f"Bearer {token}"), "client": ("192.0.2.7", 1)}
    context = RequestContext("r", 0.0)
    (caller, _, _), body = asyncio.run(web.authenticator.authenticated_body(scope, receive, context, SCOPE, 100))
    assert (caller.name, body) == ("app", {})
