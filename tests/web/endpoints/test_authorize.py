"""`GET /authorize`: starts and running sessions, by the rules; what is cached; and that nothing leaves its channel."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.asgi_client import AsgiResponse, request, scope_of
from tests.support.clocks import ManualClock
from tests.support.stores import store_in_memory
from tests.support.tokens import CHANNEL, HEADER, NOW, OTHER_CHANNEL, encode_token, snapshot_of, with_claims
from tokensvc.callers.policy import ALL_CHANNELS
from tokensvc.errors import StoreUnavailable
from tokensvc.jose.keypair import generate
from tokensvc.storage import migrate
from tokensvc.storage.store import Store
from tokensvc.tokens import claims as c
from tokensvc.tokens.channel_folders import DEFAULT_FOLDERS, ChannelFolders
from tokensvc.tokens.denylist import Denylist, ViewerRestriction, viewer_digest
from tokensvc.tokens.keyring import Keyring, RegionKeys, WithdrawnKey
from tokensvc.tokens.playback_session import IDLE_SECONDS, MAX_SECONDS, RENEWAL_SECONDS
from tokensvc.tokens.validation import RULES
from tokensvc.web.app import Application
from tokensvc.web.endpoints.authorize import DECISION_MAX_AGE_SECONDS, PATH, AuthorizeRoute
from tokensvc.web.operations import routes_of
from tokensvc.web.routes import AUTHORIZE

KEY = generate()
FOLDER = "/live/us-east-1.123456789012.channel.AbCdEf123456/"
OTHER_FOLDER = "/live/us-east-1.123456789012.channel.other/"
SEGMENT = f"{FOLDER}720p/7.ts"
UUID = "123e4567-e89b-12d3-a456-426614174000"
VIEWER: dict[str, Any] = {c.VIEWER_ID: "ada", c.VIEWER_SESSION_VERSION: NOW}
PAGE = "https://a.example"
STRICT: dict[str, Any] = {c.ALLOW_ORIGIN: PAGE, c.STRICT_ORIGIN: True}
OWN_RULES = {"token-required", "one-token", "path", "original-request"}


class Worker:
    """A worker's application with this one operation, with subrequests as nginx sends them."""

    def __init__(self, store: Store) -> None:
        self.clock, self.denylist, self.outcomes = ManualClock(), Denylist(), Counter[str]()
        self.logged_paths: set[str] = set()
        self.snapshot = snapshot_of(KEY)._replace(denylist=self.denylist)
        self.store = store
        route = AuthorizeRoute(
            folders=ChannelFolders(DEFAULT_FOLDERS),
            single_uses=store.single_uses,
            snapshot=lambda: self.snapshot,
            clock=self.clock,
            lease_seconds=100_000,
            count=lambda outcome: self.outcomes.update([outcome]),
        )
        self.app = Application(
            routes=routes_of([AUTHORIZE.bind(route)]),
            fallback=_nothing,
            clock=self.clock,
            access_log=None,
            count_request=lambda handled: self.logged_paths.add(handled[2]),
        )

    def authorize(self, uri: str, cookie: str = "", method: str = "GET", **headers: str) -> AsgiResponse:
        """The response to a subrequest about this URI."""
        sent = {"x_original_uri": uri, "x_original_method": method, **headers}
        return self.send(scope_of("GET", PATH, **sent, **({"cookie": cookie} if cookie else {})))

    def send(self, scope: dict[str, Any]) -> AsgiResponse:
        return asyncio.run(request(self.app, scope))

    def start(self, **claims: Any) -> str:
        """Start playback with a token of these claims; return the cookie as a player sends it."""
        response = self.authorize(f"{FOLDER}index.m3u8?token={with_claims(KEY, claims)}")
        assert response.status == 204, response.body
        return cookie_of(response)

    def restrict(self, viewer: str, restriction: ViewerRestriction, channel: str = str(CHANNEL)) -> None:
        self.denylist.apply([(viewer_digest(channel, viewer), restriction)], self.clock.now())


async def _nothing(*_: Any) -> None:
    raise AssertionError


def cookie_of(response: AsgiResponse) -> str:
    """The cookie that a response sets, without its attributes."""
    return str(response.headers["set-cookie"]).partition(";")[0]


def rule(response: AsgiResponse) -> str:
    """The rule that refused, which status, header and body agree on."""
    found: str = response.headers["tokensvc-rule"]
    assert response.status == (401 if found == "token-required" else 403)
    assert response.json["detail"].startswith(f"{found}: ")
    assert response.headers["cache-control"] == "no-store"
    assert "set-cookie" not in response.headers
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("store") / "store.db"
    migrate.upgrade(f"sqlite:///{path}")
    return store_in_memory(path)


@pytest.fixture
def worker(store: Store) -> Worker:
    return Worker(store)


@pytest.mark.parametrize("claims", [{}, VIEWER, {c.VIEWER_ID: "\u00fc\u2603"}, {c.ALLOW_ORIGIN: PAGE}])
def test_a_token_starts_playback_and_the_cookie_continues_it(worker: Worker, claims: dict[str, Any]) -> None:
    cookie = worker.start(**claims)
    response = worker.authorize(SEGMENT, cookie)
    assert (response.status, response.body) == (204, b"")
    assert worker.outcomes == {"started": 1, "continued": 1}


def test_the_cookie_is_for_the_channels_folder_and_out_of_reach_for_scripts(worker: Worker) -> None:
    token = with_claims(KEY, {})
    response = worker.authorize(f"{FOLDER}index.m3u8?token={token}")
    name, *attributes = response.headers["set-cookie"].split("; ")
    assert name.startswith("tokensvc_session=")
    assert attributes == [f"Path={FOLDER}", f"Max-Age={IDLE_SECONDS}", "Secure", "HttpOnly", "SameSite=None"]
    assert token not in name
    assert response.headers["cache-control"] == "no-store"


def test_a_token_may_come_in_the_authorization_header(worker: Worker) -> None:
    token = with_claims(KEY, {})
    assert worker.authorize(SEGMENT, authorization=f"Bearer {token}").status == 204
    assert worker.authorize(f"{SEGMENT}?token={token}", authorization=f"bearer {token}").status == 204
    assert rule(worker.authorize(SEGMENT, authorization=f"Basic {token}")) == "token-required"


def test_without_token_and_session_the_status_is_401(worker: Worker) -> None:
    for response in (
        worker.authorize(SEGMENT),
        worker.authorize(f"{SEGMENT}?token="),
        worker.authorize(SEGMENT, "tokensvc_session=x.y"),
    ):
        assert rule(response) == "token-required"
        assert response.headers["www-authenticate"] == 'Bearer realm="tokensvc"'
        assert response.json["code"] == "playback_unauthenticated"


@pytest.mark.parametrize(
    ("expected", "token"),
    [
        ("size", "a" * 3000),
        ("segments", "a.b"),
        ("encoding", "a=.b.c"),
        ("header", "e30.e30.AAAA"),
        ("algorithm", encode_token(KEY, HEADER | {"alg": "none"}, {})),
        ("signature", with_claims(generate(), {})),
        ("channel", with_claims(KEY, {c.CHANNEL_ARN: str(OTHER_CHANNEL)})),
        ("expiry", with_claims(KEY, {c.EXP: NOW})),
        ("not-yet", with_claims(KEY, {"nbf": NOW + 1})),
        ("ten-minutes", with_claims(KEY, {c.VIEWER_ID: "ada", c.EXP: NOW + 601})),
        ("viewer", with_claims(KEY, {c.VIEWER_ID: "a" * 41})),
        ("single-use", with_claims(KEY, {c.SINGLE_USE_UUID: "x"})),
        ("origins", with_claims(KEY, {c.ALLOW_ORIGIN: "x"})),
        ("strict-origin", with_claims(KEY, STRICT)),
        ("resolution", with_claims(KEY, {c.MAXIMUM_RESOLUTION: "4K"})),
        ("ads", with_claims(KEY, {c.ADS_OPT_OUT: "yes"})),
    ],
)
def test_a_token_is_refused_with_the_name_of_the_rule(worker: Worker, expected: str, token: str) -> None:
    response = worker.authorize(f"{FOLDER}index.m3u8?token={token}")
    assert rule(response) == expected
    assert response.json["code"] == "playback_denied"
    assert token not in response.body.decode()
    assert worker.outcomes == {expected: 1}


def test_a_key_that_ivs_no_longer_holds_starts_nothing_new(worker: Worker) -> None:
    cookie = worker.start()
    worker.snapshot = snapshot_of(generate())._replace(denylist=worker.denylist)
    assert rule(worker.authorize(f"{SEGMENT}?token={with_claims(KEY, {})}")) == "signature"
    assert worker.authorize(SEGMENT, cookie).status == 204


@pytest.mark.parametrize("where", [str(CHANNEL), ALL_CHANNELS])
def test_a_denied_viewer_neither_starts_nor_continues(worker: Worker, where: str) -> None:
    cookie, of_another, of_nobody = (
        worker.start(**VIEWER),
        worker.start(**VIEWER | {c.VIEWER_ID: "bob"}),
        worker.start(),
    )
    worker.restrict("ada", ViewerRestriction(denied_until=NOW + 60), where)
    assert rule(worker.authorize(SEGMENT, cookie)) == "revoked"
    assert rule(worker.authorize(f"{SEGMENT}?token={with_claims(KEY, VIEWER)}")) == "revoked"
    assert worker.authorize(SEGMENT, of_another).status == worker.authorize(SEGMENT, of_nobody).status == 204
    worker.clock.advance(60)
    assert worker.authorize(SEGMENT, cookie).status == 204, "a denial that has ended"


def test_a_revoked_session_version_neither_starts_nor_continues(worker: Worker) -> None:
    cookie, later = worker.start(**VIEWER), VIEWER | {c.VIEWER_SESSION_VERSION: NOW + 10}
    worker.restrict("ada", ViewerRestriction(minimum_version=NOW + 1))
    assert rule(worker.authorize(SEGMENT, cookie)) == "revoked"
    assert rule(worker.authorize(f"{SEGMENT}?token={with_claims(KEY, VIEWER)}")) == "revoked"
    worker.clock.advance(30)
    assert rule(worker.authorize(SEGMENT, cookie)) == "revoked", (
        "while the restriction is kept, the clock does not matter"
    )
    assert worker.authorize(SEGMENT, worker.start(**later)).status == 204


def test_a_single_use_token_starts_once_and_segments_spend_nothing(worker: Worker) -> None:
    claims = {c.SINGLE_USE_UUID: UUID}
    cookie, url = worker.start(**claims), f"{FOLDER}index.m3u8?token={with_claims(KEY, claims)}"
    assert [worker.authorize(SEGMENT, cookie).status for _ in range(3)] == [204] * 3
    assert rule(worker.authorize(url)) == "single-use"
    assert rule(worker.authorize(url, cookie)) == "single-use", "a token in the query asks for a new start"
    upper = with_claims(KEY, {c.SINGLE_USE_UUID: UUID.upper()})
    assert rule(worker.authorize(f"{SEGMENT}?token={upper}")) == "single-use"


def test_one_of_many_concurrent_starts_spends_a_single_use(worker: Worker) -> None:
    token = with_claims(KEY, {c.SINGLE_USE_UUID: UUID.replace("4000", "4004")})
    scopes = [scope_of("GET", PATH, x_original_uri=f"{SEGMENT}?token={token}") for _ in range(20)]

    async def authorize_all() -> list[AsgiResponse]:
        return await asyncio.gather(*(request(worker.app, scope) for scope in scopes))

    assert Counter(response.status for response in asyncio.run(authorize_all())) == {204: 1, 403: 19}
    assert worker.outcomes == {"started": 1, "single-use": 19}


def test_a_token_in_the_header_continues_the_session_that_it_started(worker: Worker) -> None:
    authorization = f"Bearer {with_claims(KEY, {c.SINGLE_USE_UUID: UUID.replace('4000', '4001'), c.EXP: NOW + 100})}"
    cookie = cookie_of(worker.authorize(SEGMENT, authorization=authorization))
    worker.clock.advance(200)
    assert worker.authorize(SEGMENT, cookie, authorization=authorization).status == 204, (
        "expired and spent, but started"
    )
    assert rule(worker.authorize(SEGMENT, worker.start(exp=NOW + 900), authorization=authorization)) == "expiry"
    assert rule(worker.authorize(SEGMENT, authorization=authorization)) == "expiry"


def test_only_a_get_that_all_rules_allow_spends_a_single_use(worker: Worker) -> None:
    claims = {c.SINGLE_USE_UUID: UUID.replace("4000", "4002")}
    token = with_claims(KEY, claims)
    expired = with_claims(KEY, claims | {c.EXP: NOW})
    assert rule(worker.authorize(f"{SEGMENT}?token={expired}")) == "expiry"
    assert rule(worker.authorize(f"{OTHER_FOLDER}a.ts?token={token}")) == "channel"
    head = worker.authorize(f"{SEGMENT}?token={token}", method="HEAD")
    assert (head.status, "set-cookie" in head.headers) == (204, False)
    assert worker.authorize(f"{SEGMENT}?token={token}").status == 204
    assert rule(worker.authorize(f"{SEGMENT}?token={token}", method="HEAD")) == "single-use"


def test_a_store_that_cannot_be_reached_refuses_single_uses_and_nothing_else(worker: Worker) -> None:
    class Unavailable:
        def spend(self, _digest: bytes) -> bool:
            raise StoreUnavailable("the store does not respond")

    route = AUTHORIZE.bind(
        AuthorizeRoute(
            folders=ChannelFolders(DEFAULT_FOLDERS),
            single_uses=Unavailable(),  # type: ignore[arg-type] # the one method that is called
            snapshot=lambda: worker.snapshot,
            clock=worker.clock,
            lease_seconds=900,
            count=lambda _: None,
        )
    )
    worker.app = Application(routes=routes_of([route]), fallback=_nothing, clock=worker.clock, access_log=None)
    token = with_claims(KEY, {c.SINGLE_USE_UUID: UUID.replace("4000", "4003")})
    assert worker.authorize(f"{SEGMENT}?token={token}").status == 503
    assert worker.authorize(f"{SEGMENT}?token={with_claims(KEY, {})}").status == 204


def test_a_worker_whose_snapshot_is_too_old_admits_nobody(worker: Worker) -> None:
    cookie = worker.start()
    worker.snapshot = worker.snapshot._replace(refresh_started_at=-200_000.0)
    response = worker.authorize(SEGMENT, cookie)
    assert (response.status, response.json["code"]) == (503, "snapshot_stale")
    worker.snapshot = snapshot_of(KEY)._replace(subject_key=b"")
    assert worker.authorize(f"{SEGMENT}?token={with_claims(KEY, {})}").json["code"] == "subject_key_lost"


def test_a_running_sessions_decision_may_be_cached_and_nothing_else(worker: Worker) -> None:
    cookie = worker.start()
    assert worker.authorize(SEGMENT, cookie).headers["cache-control"] == f"max-age={DECISION_MAX_AGE_SECONDS}"
    worker.clock.advance(IDLE_SECONDS - 1)
    assert worker.authorize(SEGMENT, cookie).headers["cache-control"] == "no-store", "with a new cookie"


def test_a_session_is_renewed_once_a_minute_and_outlives_the_token(worker: Worker) -> None:
    cookie = worker.start(exp=NOW + 100)
    worker.clock.advance(RENEWAL_SECONDS - 1)
    assert "set-cookie" not in worker.authorize(SEGMENT, cookie).headers
    for _ in range(5):
        worker.clock.advance(IDLE_SECONDS - RENEWAL_SECONDS)
        response = worker.authorize(SEGMENT, cookie)
        assert response.headers["set-cookie"].partition("; ")[2].startswith(f"Path={FOLDER}; Max-Age={IDLE_SECONDS};")
        cookie = cookie_of(response)


@pytest.mark.slow
def test_a_session_ends_when_it_is_idle_and_at_the_latest_after_twelve_hours(worker: Worker) -> None:
    idle = worker.start()
    worker.clock.advance(IDLE_SECONDS)
    assert rule(worker.authorize(SEGMENT, idle)) == "token-required"
    cookie, started_at = worker.start(exp=NOW + 900), worker.clock.now()
    while (response := worker.authorize(SEGMENT, cookie)).status == 204:
        cookie = cookie_of(response) if "set-cookie" in response.headers else cookie
        worker.clock.advance(100)
    assert worker.clock.now() - started_at == MAX_SECONDS
    assert rule(response) == "token-required"


def test_strict_origins_hold_for_every_request(worker: Worker) -> None:
    token = with_claims(KEY, STRICT)
    cookie = cookie_of(worker.authorize(f"{SEGMENT}?token={token}", origin=PAGE))
    assert worker.authorize(SEGMENT, cookie, origin=PAGE).status == 204
    for origin in ("https://b.example", "", "null", f"{PAGE}/"):
        headers = {"origin": origin} if origin else {}
        assert rule(worker.authorize(SEGMENT, cookie, **headers)) == "strict-origin"
        assert rule(worker.authorize(f"{SEGMENT}?token={token}", **headers)) == "strict-origin"
    any_origin = cookie_of(
        worker.authorize(f"{SEGMENT}?token={with_claims(KEY, {c.STRICT_ORIGIN: True})}", origin=PAGE)
    )
    assert worker.authorize(SEGMENT, any_origin, origin="https://b.example").status == 204
    assert rule(worker.authorize(SEGMENT, any_origin)) == "strict-origin"


@pytest.mark.parametrize(
    ("claim", "origin", "allowed", "with_credentials"),
    [
        (None, PAGE, "*", False),
        ("*", PAGE, "*", False),
        (PAGE, PAGE, PAGE, True),
        ("https://*.example", PAGE, PAGE, True),
        (PAGE, "https://b.example", None, False),
        (PAGE, "not an origin", None, False),
        (None, "", None, False),
    ],
)
def test_a_page_reads_with_the_cookie_what_the_token_allows_its_origin(
    worker: Worker, claim: str | None, origin: str, allowed: str | None, with_credentials: bool
) -> None:
    headers = {"origin": origin} if origin else {}
    start = worker.authorize(f"{SEGMENT}?token={with_claims(KEY, {c.ALLOW_ORIGIN: claim})}", **headers)
    for response in (start, worker.authorize(SEGMENT, cookie_of(start), **headers)):
        assert response.headers.get("access-control-allow-origin") == allowed
        assert ("access-control-allow-credentials" in response.headers) == with_credentials
        assert response.headers["vary"] == "origin"


def readers(response: AsgiResponse) -> tuple[str, bool]:
    """Which pages may read a refusal and its rule, and whether also those that send the cookie."""
    assert response.headers["access-control-expose-headers"] == "tokensvc-rule"
    return response.headers["access-control-allow-origin"], "access-control-allow-credentials" in response.headers


def test_any_page_may_read_why_its_token_is_refused(worker: Worker) -> None:
    expired = with_claims(KEY, {c.EXP: NOW - 1})
    cookie = cookie_of(worker.authorize(f"{SEGMENT}?token={with_claims(KEY, VIEWER)}"))
    for response in (
        worker.authorize(f"{SEGMENT}?token={expired}", cookie, origin=PAGE),
        worker.authorize(SEGMENT, cookie, origin=PAGE, authorization=f"Bearer {expired}"),
        worker.authorize(f"{SEGMENT}?token={expired}&token={expired}", cookie, origin=PAGE),
    ):
        assert (response.status, *readers(response)) == (403, PAGE, True)
    assert "access-control-allow-origin" not in worker.authorize(SEGMENT, origin="x\u00ff").headers


@pytest.mark.parametrize("claim", [None, "*", "https://b.example"])
def test_no_page_finds_out_by_the_cookie_whether_a_session_runs(worker: Worker, claim: str | None) -> None:
    """With and without a session, before and after its revocation: a page with the cookie reads nothing."""
    token = with_claims(KEY, VIEWER | {c.ALLOW_ORIGIN: claim})
    cookie = cookie_of(worker.authorize(f"{SEGMENT}?token={token}", origin="https://b.example"))
    running = worker.authorize(SEGMENT, cookie, origin=PAGE)
    assert "access-control-allow-credentials" not in running.headers
    worker.restrict("ada", ViewerRestriction(minimum_version=NOW + 1))
    for refused in (worker.authorize(SEGMENT, origin=PAGE), worker.authorize(SEGMENT, cookie, origin=PAGE)):
        assert readers(refused) == ("*", False)


def test_a_page_that_the_session_allows_reads_why_it_ended(worker: Worker) -> None:
    token = with_claims(KEY, VIEWER | {c.ALLOW_ORIGIN: PAGE})
    cookie = cookie_of(worker.authorize(f"{SEGMENT}?token={token}", origin=PAGE))
    worker.restrict("ada", ViewerRestriction(minimum_version=NOW + 1))
    refused = worker.authorize(SEGMENT, cookie, origin=PAGE)
    assert (rule(refused), *readers(refused)) == ("revoked", PAGE, True)


@pytest.mark.parametrize("is_compromised", [False, True])
def test_a_compromised_key_ends_the_sessions_of_its_tokens_and_a_retired_one_does_not(
    worker: Worker, *, is_compromised: bool
) -> None:
    cookie = worker.start()
    account_region = CHANNEL.account_region
    region = worker.snapshot.keyring.region_keys[account_region]
    [(key_id, public)] = region.verification_keys.items()
    withdrawn = {key_id: WithdrawnKey(public, is_compromised, is_imported=False)}
    keyring = Keyring({account_region: RegionKeys(None, {}, withdrawn_keys=withdrawn)})
    worker.snapshot = worker.snapshot._replace(keyring=keyring)
    assert rule(worker.authorize(f"{SEGMENT}?token={with_claims(KEY, {})}")) == "signature", "no new start"
    response = worker.authorize(SEGMENT, cookie)
    assert response.status == (403 if is_compromised else 204)
    if is_compromised:
        assert "compromised" in response.json["detail"]


def test_several_tokens_are_refused_whatever_they_are(worker: Worker) -> None:
    token, other = with_claims(KEY, {}), with_claims(KEY, VIEWER)
    assert rule(worker.authorize(f"{SEGMENT}?token={token}&token={token}")) == "one-token"
    assert rule(worker.authorize(f"{SEGMENT}?token={token}&a=1&%74oken={other}")) == "one-token"
    assert rule(worker.authorize(f"{SEGMENT}?token={token}", authorization=f"Bearer {other}")) == "one-token"
    assert rule(worker.authorize(f"{SEGMENT}?{'a=1&' * 200}")) == "original-request"


def test_caddy_names_the_request_in_its_own_headers(worker: Worker) -> None:
    token = with_claims(KEY, {})
    scope = scope_of("GET", PATH, x_forwarded_uri=f"{SEGMENT}?token={token}", x_forwarded_method="GET")
    assert worker.send(scope).status == 204


def envoy(uri: str, method: str = "GET", **headers: str) -> dict[str, Any]:
    """A subrequest as Envoy sends it: the original path below our own."""
    path, _, query = f"{PATH}{uri}".partition("?")
    return scope_of(method, path, **headers) | {"raw_path": path.encode(), "query_string": query.encode()}


def test_envoy_names_the_request_in_the_path_and_gets_the_only_status_that_it_accepts(worker: Worker) -> None:
    response = worker.send(envoy(f"{FOLDER}index.m3u8?token={with_claims(KEY, {})}"))
    assert response.status == 200
    assert worker.send(envoy(SEGMENT, cookie=cookie_of(response))).status == 200
    assert rule(worker.send(envoy(SEGMENT))) == "token-required"
    assert worker.send(envoy(SEGMENT, "HEAD")).status == 401
    assert worker.send(envoy(SEGMENT, "POST")).status == 405
    assert rule(worker.send(envoy("/elsewhere"))) == "path"
    assert worker.logged_paths == {PATH}, "the path that was sent is neither logged nor a label"


def test_a_request_that_is_named_twice_or_not_at_all_is_refused(worker: Worker) -> None:
    good = f"{SEGMENT}?token={with_claims(KEY, {})}"
    assert rule(worker.send(scope_of("GET", PATH))) == "original-request"
    assert rule(worker.authorize(good, x_forwarded_uri=good)) == "original-request"
    assert rule(worker.authorize(good, x_forwarded_method="GET")) == "original-request"
    assert rule(worker.send(envoy(good, x_original_uri=good))) == "original-request"
    for method in ("POST", "OPTIONS", "get", ""):
        assert rule(worker.authorize(good, method=method)) == "original-request"


@pytest.mark.parametrize(
    "path",
    [
        OTHER_FOLDER,
        f"{FOLDER}../us-east-1.123456789012.channel.other/a.ts",
        f"{FOLDER}%2e%2e/us-east-1.123456789012.channel.other/a.ts",
        f"{FOLDER}..%2fus-east-1.123456789012.channel.other/a.ts",
        f"{FOLDER}%252e%252e/a.ts",
        f"{FOLDER}..;/a.ts",
        f"{FOLDER}..\\a.ts",
        f"{FOLDER}..%5ca.ts",
        f"{FOLDER}/a.ts",
        f"{FOLDER}./a.ts",
        f"{FOLDER}a%00.ts",
        f"/{SEGMENT}",
        FOLDER.rstrip("/"),
        f"https://video.example.com{SEGMENT}",
        FOLDER.replace("live", "LIVE"),
        FOLDER.lower(),
        "",
        "*",
    ],
)
def test_a_session_and_a_token_open_no_path_of_another_channel(worker: Worker, path: str) -> None:
    cookie, token = worker.start(), with_claims(KEY, {})
    assert worker.authorize(path, cookie).headers["tokensvc-rule"] in ("path", "token-required")
    assert worker.authorize(f"{path}?token={token}").headers["tokensvc-rule"] in ("path", "channel")


def test_a_changed_cookie_is_rejected(worker: Worker) -> None:
    cookie = worker.start()
    for position in range(len("tokensvc_session="), len(cookie)):
        changed = "A" if cookie[position] != "A" else "B"
        assert worker.authorize(SEGMENT, cookie[:position] + changed + cookie[position + 1 :]).status == 401
    worker.snapshot = worker.snapshot._replace(subject_key=bytes(32))
    assert worker.authorize(SEGMENT, cookie).status == 401, "of another deployment"


def test_the_first_cookie_of_the_name_counts_among_others(worker: Worker) -> None:
    cookie = worker.start()
    assert worker.authorize(SEGMENT, f"a=1; {cookie}; tokensvc_session=x").status == 204
    assert worker.authorize(SEGMENT, f"tokensvc_session=x; {cookie}").status == 401


_HOSTILE = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60)
_PIECES = st.lists(
    st.sampled_from(
        [
            *(FOLDER, OTHER_FOLDER, "/", "..", ".", "%2e", "%2F", "%5c", "%25", "%", ";", "\\", "?", "#", "&", "a.ts"),
            *("token=", "token=a.b.c", f"token={with_claims(KEY, {})}", f"token={with_claims(KEY, VIEWER)}", "\0", "é"),
        ]
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def hostile(store: Store) -> tuple[Worker, str]:
    worker = Worker(store)
    return worker, worker.start(**VIEWER)


@pytest.mark.slow
@given(
    uri=_PIECES | _HOSTILE,
    authorization=_HOSTILE | st.just(f"Bearer {with_claims(KEY, {})}"),
    cookie=_HOSTILE | st.none(),
    origin=_HOSTILE,
    method=st.sampled_from(["GET", "HEAD", "POST", "\x01"]),
)
def test_whatever_is_sent_is_refused_by_a_rule_or_admitted_to_the_tokens_own_channel(
    hostile: tuple[Worker, str], uri: str, authorization: str, cookie: str | None, origin: str, method: str
) -> None:
    worker, own = hostile
    headers = {"authorization": authorization, "origin": origin}
    for sent in (cookie or own, ""):
        response = worker.authorize(uri, sent, method, **headers)
        if response.status == 204:
            assert re.match(re.escape(FOLDER) + r"(?!.*(/\.\.?(/|$)|//))", uri.partition("?")[0])
        else:
            assert rule(response) in OWN_RULES | {name for name, _ in RULES}
