"""The token routes: authentication, responses, and that nothing outdated is used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.types import Scope

from tests.support.asgi_client import make_receive, response_of, scope_of
from tests.support.clocks import START, ManualClock
from tests.support.leases import ManualLeases
from tests.support.simulated_ivs import SimulatedIvs, outage
from tests.support.tokens import CHANNEL, OTHER_CHANNEL, snapshot_of
from tokensvc.background.audit_writer import IssuedToken
from tokensvc.callers.api_keys import KnownSecret, key_digest
from tokensvc.callers.limits import TokenLimiter, rate_limited_error
from tokensvc.callers.policy import BearerPolicy, Caller, CallerPolicy, Rate, RateLimits, ViewerLogin
from tokensvc.container.prometheus import PrometheusMetrics
from tokensvc.errors import (
    ChannelNotFound,
    InsufficientScope,
    InvalidRequest,
    NoSigningKey,
    Overloaded,
    PlaybackUrlUnavailable,
    RateLimited,
    SnapshotStale,
    TokensvcError,
    Unauthenticated,
)
from tokensvc.http.problem_details import error_response
from tokensvc.jose import keypair
from tokensvc.jose.signing.signer import sign_each
from tokensvc.storage.store import Store
from tokensvc.tokens.channel_cache import CHANNELS_PER_CALL, ChannelCache
from tokensvc.tokens.keyring import EMPTY_KEYRING
from tokensvc.tokens.request import TokenRequest, parse_token_request
from tokensvc.tokens.snapshot import KnownChannel, Snapshot
from tokensvc.tokens.validation import NOTHING_REVOKED, Outcome, PlaybackAttempt, validate
from tokensvc.web.admission import ADMITTED, AdmissionRequest, Decision
from tokensvc.web.authentication import BearerNotVerified, RequestAuthenticator
from tokensvc.web.batch_turns import BatchTurns
from tokensvc.web.channel_lookups import ChannelLookups
from tokensvc.web.context import RefusedToken, RequestContext
from tokensvc.web.endpoints.token_batch import SLICE_SIZE, TokenBatch
from tokensvc.web.endpoints.token_parts import TokenParts
from tokensvc.web.endpoints.tokens import TokenRoutes
from tokensvc.web.schemas import TokenBatchResponse, TokenResponse

pytestmark = pytest.mark.slow

KEY = keypair.generate()
API_KEY = "tsk_abc_secret"
URL = "https://edge.test/a.m3u8"
POLICY = CallerPolicy(channels=("arn:aws:ivs:us-east-1:*",))
SECRETS = {"abc": KnownSecret(key_digest(API_KEY), None, Caller("shop", POLICY))}
AT = datetime.fromtimestamp(START, UTC)
AUTHORIZED = {"authorization": f"Bearer {API_KEY}"}
REQUEST = {"channelArn": str(CHANNEL), "viewerId": "v"}


class Worker:
    """The token routes over a snapshot that a test can change."""

    def __init__(self, store: Store, *, awaited: bool = True) -> None:
        self._awaited = awaited
        self.clock = ManualClock()
        self.ivs = SimulatedIvs()
        self.leases = ManualLeases(self.clock)
        self.wake: Callable[[], object] = lambda: None
        """Called when a request needs a channel that is not known."""
        self.channel_cache = ChannelCache(
            store=store.channels,
            leases=self.leases,
            control_plane=self.ivs,
            clock=self.clock,
            lookup_timeout_seconds=0.3,
            calls_per_second=1,
            wake=lambda: self.wake(),
        )
        channels = {str(CHANNEL): KnownChannel(URL, True, AT)}
        self.snapshot: Snapshot = snapshot_of(KEY)._replace(secrets=SECRETS, channels=channels)
        self.metrics = PrometheusMetrics()
        authenticator = RequestAuthenticator(lambda: self.snapshot, self.clock, lease_seconds=900)
        self.issued: list[IssuedToken] = []
        self.refused: list[str] = []
        self.refused_tokens: list[RefusedToken | None] = []
        self.parts = TokenParts(
            authenticator=authenticator,
            channels=ChannelLookups(self.channel_cache),
            metrics=self.metrics,
            sign_many=sign_each,
            new_uuid=uuid.uuid4,
            record_issued=self.issued.append,
            record_refusal=self._refused,
            take_limits=TokenLimiter(self.clock.monotonic).take,
            admission=None,
            turns=BatchTurns(),
        )
        self.routes = TokenRoutes(self.parts)

    def _refused(self, error: TokensvcError, scope: Scope, context: RequestContext) -> None:
        self.refused.append(f"{scope['path']} {context.caller} {error.code}")
        self.refused_tokens.append(context.refused)

    def single(self, item: Any = REQUEST, **kwargs: Any) -> Any:
        return json.loads(self.call(self.routes.single, item, **kwargs).body)

    def batch(self, *items: Any, **kwargs: Any) -> list[Any]:
        results: list[Any] = json.loads(self.call(self.routes.batch, {"requests": items}, **kwargs).body)["results"]
        return results

    def call(self, endpoint: Any, body: Any, **kwargs: Any) -> Any:
        scope = kwargs.pop("scope", None) or scope_of(**AUTHORIZED)
        if endpoint == self.routes.single and not self._awaited and "receive" not in kwargs:
            context = RequestContext("request-1", self.clock.monotonic())
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            pending = self.routes.single_nowait(scope, content, context)
            if pending is not None:
                return pending.complete(pending.key.sign(pending.digest), 0.0)
        return response_of(endpoint, scope, body, started_at=self.clock.monotonic(), **kwargs)

    def outcomes(self, caller: str = "shop") -> dict[str, float]:
        lines = self.metrics.render().decode().splitlines()
        return {
            line.split('"')[3]: float(line.split()[-1])
            for line in lines
            if line.startswith(f'tokensvc_token_requests_total{{caller="{caller}",')
        }


@pytest.fixture(params=[False, True], ids=["fast path", "task"])
def worker(store: Store, request: pytest.FixtureRequest) -> Worker:
    """A single token has two paths through the routes; every test runs on both."""
    return Worker(store, awaited=request.param)


def test_a_request_returns_a_token_that_allows_playback(worker: Worker) -> None:
    response = worker.call(worker.routes.single, REQUEST)
    assert (response.status, response.code) == (201, "issued")
    assert (b"cache-control", b"no-store") in response.headers
    body = json.loads(response.body)
    TokenResponse.model_validate(body)
    assert body["playbackUrl"] == f"{URL}?token={body['token']}"
    assert (body["expiresAt"], body["refreshAfter"]) == ("2027-01-15T08:05:00Z", "2027-01-15T08:04:00Z")
    assert (body["viewerId"], body["viewerSessionVersion"]) == ("v", int(START))
    assert body["requiresOriginHeader"] is False
    result = validate(
        PlaybackAttempt(body["token"], START, CHANNEL, [KEY.public_key()], revoked_version=NOTHING_REVOKED)
    )
    assert result.outcome is Outcome.ALLOW


def test_an_anonymous_token_has_no_viewer_in_the_response(worker: Worker) -> None:
    policy = CallerPolicy(channels=("*",), allow_anonymous_viewers=True)
    worker.snapshot = worker.snapshot._replace(secrets={"abc": SECRETS["abc"]._replace(caller=Caller("shop", policy))})
    assert not {"viewerId", "viewerSessionVersion"} & worker.single({"channelArn": str(CHANNEL)}).keys()


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer tsk_abc_wrong"}, {"authorization": "Basic x"}])
def test_a_missing_or_wrong_api_key_is_unauthenticated(worker: Worker, headers: dict[str, str]) -> None:
    for call in (worker.single, worker.batch):
        with pytest.raises(Unauthenticated):
            call(REQUEST, scope=scope_of(**headers))


def test_an_unauthenticated_request_is_rejected_before_its_body_is_read(worker: Worker) -> None:
    for call in (worker.single, worker.batch):
        with pytest.raises(Unauthenticated):
            call(REQUEST, scope=scope_of(), receive=lambda: pytest.fail("the body was read"))


def test_a_caller_without_the_scope_is_rejected(worker: Worker) -> None:
    policy = CallerPolicy(channels=("*",), scopes=frozenset({"keys:read"}))
    worker.snapshot = worker.snapshot._replace(secrets={"abc": SECRETS["abc"]._replace(caller=Caller("shop", policy))})
    with pytest.raises(InsufficientScope):
        worker.single()


def test_a_stale_worker_rejects_every_request(worker: Worker) -> None:
    worker.clock.advance(901)
    for call in (worker.single, worker.batch):
        with pytest.raises(SnapshotStale):
            call(REQUEST)


def slowly(worker: Worker, body: Any, meanwhile: Callable[[], object]) -> Callable[[], Any]:
    """A body whose last byte arrives after `meanwhile` was called."""
    content = json.dumps(body).encode()
    return make_receive([content[:-1], content[-1:]], meanwhile)


def test_a_caller_disabled_while_its_body_arrives_gets_no_token(worker: Worker) -> None:
    """Otherwise an open request would outlive the two seconds after which a key must be invalid everywhere."""

    def disable() -> None:
        worker.snapshot = worker.snapshot._replace(secrets={})

    for call, body in ((worker.single, REQUEST), (worker.batch, {"requests": [REQUEST]})):
        worker.snapshot = worker.snapshot._replace(secrets=SECRETS)
        with pytest.raises(Unauthenticated):
            call(receive=slowly(worker, body, disable))


def test_a_snapshot_that_expires_while_the_body_arrives_is_stale(worker: Worker) -> None:
    later = lambda: worker.clock.advance(901)  # noqa: E731
    for call, body in ((worker.single, REQUEST), (worker.batch, {"requests": [REQUEST]})):
        worker.snapshot = worker.snapshot._replace(refresh_started_at=worker.clock.monotonic())
        with pytest.raises(SnapshotStale):
            call(receive=slowly(worker, body, later))


def test_a_caller_disabled_during_the_channel_lookup_gets_no_token(worker: Worker) -> None:
    worker.ivs.add_channels([str(CHANNEL)])

    def disable() -> None:
        worker.snapshot = worker.snapshot._replace(secrets={})
        worker.channel_cache.run_once()

    worker.wake = disable
    worker.snapshot = worker.snapshot._replace(channels={})
    with pytest.raises(Unauthenticated):
        worker.single()


def test_a_caller_disabled_during_a_batch_gets_no_further_tokens(worker: Worker) -> None:
    """Each slice authenticates by the current snapshot, whether its channels were looked up or not."""
    worker.ivs.add_channels([str(OTHER_CHANNEL)])

    def disable() -> None:
        worker.snapshot = worker.snapshot._replace(secrets={})
        worker.channel_cache.run_once()

    worker.wake = disable
    known, looked_up = worker.batch(REQUEST, REQUEST | {"channelArn": str(OTHER_CHANNEL)})
    assert "token" in known
    assert looked_up["problem"]["code"] == "unauthenticated"
    assert worker.outcomes() == {"issued": 1, "unauthenticated": 1}


def test_a_credential_that_ends_during_a_batch_is_one_failure_for_all_that_is_left(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many failures as slices would use up what its client's address may have."""
    authenticate, failures = worker.parts.authenticator.authenticate, list[Unauthenticated]()

    def counted(*arguments: Any) -> Any:
        try:
            return authenticate(*arguments)
        except Unauthenticated as error:
            failures.append(error)
            raise

    def sign_and_disable(messages: Any) -> list[bytes]:
        worker.snapshot = worker.snapshot._replace(secrets={})
        return sign_each(messages)

    monkeypatch.setattr(worker.parts.authenticator, "authenticate", counted)
    worker.parts.sign_many = sign_and_disable
    unknown = REQUEST | {"channelArn": str(OTHER_CHANNEL)}
    results = worker.batch(unknown, *[REQUEST] * (5 * SLICE_SIZE))
    assert [("token" in result) for result in results] == [False] + [True] * (SLICE_SIZE - 1) + [False] * (
        4 * SLICE_SIZE + 1
    )
    assert {result["problem"]["code"] for result in results if "problem" in result} == {"unauthenticated"}
    assert len(failures) == 1


def test_a_key_that_became_active_while_the_body_arrived_signs(worker: Worker) -> None:
    new = keypair.generate()

    def rotate() -> None:
        worker.snapshot = worker.snapshot._replace(keyring=snapshot_of(new).keyring)

    token = worker.single(receive=slowly(worker, REQUEST, rotate))["token"]
    assert (
        validate(PlaybackAttempt(token, START, CHANNEL, [new.public_key()], revoked_version=NOTHING_REVOKED)).outcome
        is Outcome.ALLOW
    )


def test_every_bad_field_is_reported_together(worker: Worker) -> None:
    with pytest.raises(InvalidRequest) as raised:
        worker.single({"ttlSeconds": 0, "viewerId": "", "x": 1})
    assert {e.field for e in raised.value.errors} == {"channelArn", "ttlSeconds", "viewerId", "x"}
    assert worker.outcomes() == {"invalid_request": 1}


def test_a_repeated_field_is_rejected_by_name(worker: Worker) -> None:
    fields = b'"channelArn":"%b","viewerId":"ada","viewerId":"eve"' % str(CHANNEL).encode()
    for endpoint, body, name in (
        (worker.routes.single, b"{%b}", "viewerId"),
        (worker.routes.batch, b'{"requests":[{%b}]}', "requests[0].viewerId"),
    ):
        with pytest.raises(InvalidRequest) as raised:
            worker.call(endpoint, body % fields)
        assert [(e.field, e.message) for e in raised.value.errors] == [(name, "must be given once")]
    assert worker.outcomes() == {"invalid_request": 2}


def test_a_channel_unknown_to_ivs_is_404_for_a_minute(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(channels={str(CHANNEL): KnownChannel(None, False, AT)})
    with pytest.raises(ChannelNotFound):
        worker.single()
    worker.clock.advance(61)
    worker.ivs.add_channels([str(CHANNEL)])
    worker.wake = worker.channel_cache.run_once
    assert worker.single()["playbackUrl"].startswith(worker.ivs.channels[str(CHANNEL)]["playbackUrl"])


def test_a_request_waits_for_the_lookup_of_its_channel(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(channels={})
    worker.ivs.add_channels([str(CHANNEL)])
    worker.wake = worker.channel_cache.run_once
    assert "playbackUrl" in worker.single()


def test_an_ivs_outage_omits_the_playback_url(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(channels={})
    worker.ivs.errors["BatchGetChannel"] = outage()

    def find() -> None:
        with pytest.raises(TokensvcError):
            worker.channel_cache.run_once()

    worker.wake = find
    response = worker.single()
    assert "playbackUrl" not in response
    assert response["token"]


def without_playback_url(worker: Worker) -> None:
    """IVS is unavailable and describes no channel that is not known yet."""
    worker.snapshot = worker.snapshot._replace(channels={str(OTHER_CHANNEL): KnownChannel(URL, True, AT)})
    worker.ivs.errors["BatchGetChannel"] = outage()

    def find() -> None:
        with contextlib.suppress(TokensvcError):
            worker.channel_cache.run_once()

    worker.wake = find


def test_a_token_without_a_url_says_when_to_retry(worker: Worker) -> None:
    without_playback_url(worker)
    single = worker.single()
    missing, known = worker.batch(REQUEST, REQUEST | {"channelArn": str(OTHER_CHANNEL)})
    for response in (single, missing):
        assert response["token"]
        assert response["playbackUrlRetryAfterSeconds"] == 2
        assert "playbackUrl" not in response
        TokenResponse.model_validate(response)
    assert known["playbackUrl"]
    assert "playbackUrlRetryAfterSeconds" not in known


def test_a_request_can_require_the_playback_url(worker: Worker) -> None:
    without_playback_url(worker)
    required = REQUEST | {"requirePlaybackUrl": True}
    with pytest.raises(PlaybackUrlUnavailable) as raised:
        worker.single(required)
    response = error_response(raised.value)
    assert (response.status, response.code) == (503, "playback_url_unavailable")
    assert (b"retry-after", b"2") in response.headers
    results = worker.batch(required, REQUEST, required | {"channelArn": str(OTHER_CHANNEL)})
    TokenBatchResponse.model_validate({"results": results})
    assert results[0]["problem"]["code"] == "playback_url_unavailable"
    assert results[0]["problem"]["retryAfterSeconds"] == 2
    assert results[1]["token"]
    assert results[2]["playbackUrl"]
    assert worker.outcomes() == {"playback_url_unavailable": 2, "issued": 2}


def test_requiring_an_available_url_changes_nothing(worker: Worker) -> None:
    required = REQUEST | {"requirePlaybackUrl": True}
    assert worker.single(required).keys() == worker.single(REQUEST).keys()
    worker.snapshot = worker.snapshot._replace(channels={})
    worker.ivs.add_channels([str(CHANNEL)])
    worker.wake = worker.channel_cache.run_once
    assert "playbackUrl" in worker.single(required)


def test_a_missing_channel_is_404_even_if_the_url_is_required(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(channels={str(CHANNEL): KnownChannel(None, False, AT)})
    with pytest.raises(ChannelNotFound):
        worker.single(REQUEST | {"requirePlaybackUrl": True})


def test_a_lookup_without_a_result_is_awaited_no_longer_than_the_timeout(worker: Worker) -> None:
    """In real time: 0.3 seconds, once for a batch of many channels."""
    worker.snapshot = worker.snapshot._replace(channels={})

    async def timed() -> float:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        await worker.parts.channels.resolve(
            {f"{CHANNEL}{n}" for n in range(20)}, worker.snapshot, Caller("shop", POLICY)
        )
        return loop.time() - started_at

    assert 0.25 <= asyncio.run(timed()) < 1.5


def test_channels_in_regions_without_a_key_are_not_looked_up(worker: Worker) -> None:
    policy = CallerPolicy(channels=("*",))
    worker.snapshot = worker.snapshot._replace(secrets={"abc": SECRETS["abc"]._replace(caller=Caller("shop", policy))})
    worker.wake = worker.channel_cache.run_once
    elsewhere = str(CHANNEL).replace("us-east-1", "eu-west-1")
    with pytest.raises(InvalidRequest, match="no signing key is configured"):
        worker.single(REQUEST | {"channelArn": elsewhere})
    assert not worker.ivs.calls


def test_a_batch_keeps_its_order_and_a_bad_request_fails_alone(worker: Worker) -> None:
    elsewhere = str(CHANNEL).replace("us-east-1", "eu-west-1")
    items = [REQUEST | {"viewerId": f"v{n}"} for n in range(60)]
    bad = {3: {"nothing": 1}, 26: 5, 27: REQUEST | {"ttlSeconds": 601}, 30: REQUEST | {"channelArn": elsewhere}, 59: []}
    results = worker.batch(*[bad.get(n, item) for n, item in enumerate(items)])
    TokenBatchResponse.model_validate({"results": results})
    assert [n for n, result in enumerate(results) if "problem" in result] == sorted(bad)
    assert all(result["viewerId"] == f"v{n}" for n, result in enumerate(results) if n not in bad)
    assert results[30]["problem"]["code"] == "channel_not_allowed"
    for n in (26, 59):
        assert results[n]["problem"]["errors"] == [{"field": f"requests[{n}]", "message": "must be an object"}]
    assert results[27]["problem"]["errors"] == [
        {"field": "ttlSeconds", "message": "must be at most 600 with viewerId, subject or singleUse"}
    ]
    assert worker.outcomes() == {"issued": 55, "invalid_request": 4, "channel_not_allowed": 1}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"requests": []},
        {"requests": [REQUEST] * 501},
        {"requests": {}},
        {"requests": None},
        {"requests": [REQUEST], "more": 1},
        {"request": [REQUEST]},
    ],
)
def test_a_batch_has_1_to_500_requests(worker: Worker, body: Any) -> None:
    with pytest.raises(InvalidRequest):
        worker.call(worker.routes.batch, body)


def test_a_single_request_does_not_wait_for_whole_batches(worker: Worker) -> None:
    """While four batches of 500 run, a single request waits for one slice only."""
    body = json.dumps({"requests": [REQUEST] * 500}).encode()

    async def run() -> tuple[int, int]:
        started_at = worker.clock.monotonic()
        batches = [
            asyncio.ensure_future(
                worker.routes.batch(scope_of(**AUTHORIZED), make_receive(body), RequestContext("b", started_at))
            )
            for _ in range(4)
        ]
        await asyncio.sleep(0)
        single = asyncio.ensure_future(
            worker.routes.single(
                scope_of(**AUTHORIZED), make_receive(json.dumps(REQUEST).encode()), RequestContext("s", started_at)
            )
        )
        await single
        done = sum(batch.done() for batch in batches)
        issued = int(worker.outcomes().get("issued", 0))
        await asyncio.gather(*batches)
        return done, issued

    done, issued = asyncio.run(run())
    assert done == 0
    assert issued <= 1 + 2 * 25


def test_many_batches_of_one_caller_cost_another_at_most_one_slice_for_each_of_its_own(worker: Worker) -> None:
    flood = KnownSecret(key_digest("tsk_flood_secret"), None, Caller("flood", POLICY))
    worker.snapshot = worker.snapshot._replace(secrets={**SECRETS, "flood": flood})
    body = json.dumps({"requests": [REQUEST] * 3 * SLICE_SIZE}).encode()

    async def run() -> float:
        def start(api_key: str) -> asyncio.Task[Any]:
            scope = scope_of(authorization=f"Bearer {api_key}")
            context = RequestContext("b", worker.clock.monotonic())
            return asyncio.ensure_future(worker.routes.batch(scope, make_receive(body), context))

        floods = [start("tsk_flood_secret") for _ in range(20)]
        await asyncio.sleep(0)
        before = worker.outcomes().get("issued", 0)
        await start(API_KEY)
        issued = worker.outcomes()["issued"] - before
        await asyncio.gather(*floods)
        return issued

    assert asyncio.run(run()) <= 2 * 3 * SLICE_SIZE + SLICE_SIZE


def test_a_caller_with_too_many_batches_is_refused_before_the_body_is_read(worker: Worker) -> None:
    reads: list[str] = []
    worker.parts.turns = BatchTurns(1)
    with worker.parts.turns.batch("shop"), pytest.raises(Overloaded):
        worker.call(worker.routes.batch, {}, receive=make_receive(b"{}", lambda: reads.append("body")))
    assert not reads
    assert "token" in worker.batch(REQUEST)[0]


class RefusingAdmission:
    """Refuses the first request that it is asked about, and no others."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def admit(self, asked: Sequence[AdmissionRequest]) -> list[Decision]:
        self.asked += [token.request.viewer_id for token in asked]
        return [rate_limited_error("viewer", Rate(1, 1), 60), *[ADMITTED] * (len(asked) - 1)]

    async def close(self) -> None:
        pass


def test_a_batch_that_waits_for_an_admission_is_parsed_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, admission = list[Any](), RefusingAdmission()

    def parse(item: Any) -> TokenRequest:
        parsed.append(item)
        return parse_token_request(item)

    monkeypatch.setattr("tokensvc.web.endpoints.token_batch.parse_token_request", parse)
    worker.parts.admission = admission
    worker.ivs.add_channels([str(OTHER_CHANNEL)])
    worker.wake = worker.channel_cache.run_once
    items: list[Any] = [REQUEST | {"viewerId": f"v{n}"} for n in range(SLICE_SIZE + 2)]
    items[1] = REQUEST | {"viewerId": "v" * 41}
    items[2] = items[2] | {"channelArn": str(OTHER_CHANNEL)}
    results = worker.batch(*items)
    assert parsed == items
    assert admission.asked == [item["viewerId"] for item in items[:1] + items[2:]]
    codes = [result["problem"]["code"] if "problem" in result else "token" for result in results]
    assert codes == ["rate_limited", "invalid_request"] + ["token"] * SLICE_SIZE


def test_no_response_contains_the_subject(worker: Worker) -> None:
    response = worker.call(worker.routes.single, {"channelArn": str(CHANNEL), "subject": "jane@example.com"})
    assert b"jane" not in response.body
    assert len(json.loads(response.body)["viewerId"]) == 40


def test_a_channel_in_an_invented_region_causes_no_lookup_no_lease_and_no_call(worker: Worker, store: Store) -> None:
    policy = CallerPolicy(channels=("*",))
    worker.snapshot = worker.snapshot._replace(secrets={"abc": SECRETS["abc"]._replace(caller=Caller("shop", policy))})
    invented = [str(CHANNEL).replace("us-east-1", f"invented-{number}") for number in range(30)]
    for arn in invented:
        with pytest.raises(InvalidRequest, match="channelArn"):
            worker.single(REQUEST | {"channelArn": arn})
    results = worker.batch(*(REQUEST | {"channelArn": arn} for arn in invented))
    assert {result["problem"]["code"] for result in results} == {"invalid_request"}
    worker.channel_cache.run_once()
    assert not worker.ivs.calls
    assert not worker.leases.all_held("")
    assert not store.channels.get(invented)


def test_unknown_channels_of_one_caller_do_not_delay_another(worker: Worker) -> None:
    flood = KnownSecret(key_digest("tsk_flood_secret"), None, Caller("flood", POLICY))
    worker.snapshot = worker.snapshot._replace(channels={}, secrets={**SECRETS, "flood": flood})
    worker.ivs.add_channels([str(CHANNEL)])
    items = [REQUEST | {"channelArn": f"{CHANNEL}{number}"} for number in range(2 * CHANNELS_PER_CALL)]
    assert not any(
        "playbackUrl" in result
        for result in worker.batch(*items, scope=scope_of(authorization="Bearer tsk_flood_secret"))
    )
    worker.wake = worker.channel_cache.run_once
    assert "playbackUrl" in worker.single()
    assert len(worker.ivs.requests_of("BatchGetChannel")) == 1


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 5.5, -5.5])
def test_a_clock_jump_stops_signing_until_it_is_corrected_or_confirmed(worker: Worker, jump: float) -> None:
    worker.single()
    worker.clock.jump(jump)
    for call in (worker.single, lambda: worker.batch(REQUEST)):
        with pytest.raises(SnapshotStale, match="clock jumped by"):
            call()
    worker.clock.jump(-jump)
    assert worker.single()["token"], "the clock was corrected"
    worker.clock.jump(jump)
    offset = worker.clock.now() - worker.clock.monotonic()
    worker.snapshot = worker.snapshot._replace(wall_offset_seconds=offset)
    assert worker.single()["token"], "the store has confirmed the new time"


def test_a_clock_jump_within_a_request_does_not_change_its_token(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is read once per request, because it may have jumped at a second reading."""
    readings = iter([worker.clock.now()])
    monkeypatch.setattr(worker.clock, "now", lambda: next(readings, START + 3600))
    context = RequestContext("request-1", worker.clock.monotonic())
    pending = worker.routes.single_nowait(scope_of(**AUTHORIZED), json.dumps(REQUEST).encode(), context)
    assert pending is not None
    assert (
        json.loads(pending.complete(pending.key.sign(pending.digest), 0.0).body)["expiresAt"] == "2027-01-15T08:05:00Z"
    )


def test_a_clock_jump_during_a_channel_lookup_prevents_signing(worker: Worker) -> None:
    """The token is computed from the time after the wait."""
    worker.snapshot = worker.snapshot._replace(channels={})
    look_up = worker.channel_cache.look_up

    def jump(channel_arn: str, caller: str) -> Any:
        worker.clock.jump(3600)
        return look_up(channel_arn, caller)

    worker.channel_cache.look_up = jump  # type: ignore[method-assign]
    with pytest.raises(SnapshotStale, match="jumped"):
        worker.single()


def test_a_clock_jump_within_a_batch_fails_the_remaining_slices(worker: Worker) -> None:
    slices = 0

    def now() -> float:
        nonlocal slices
        slices += 1
        return START + (3600 if slices > 4 else 0)  # three times around the body, then once per slice

    worker.clock.now = now  # type: ignore[method-assign]
    results = worker.batch(*[REQUEST] * (2 * SLICE_SIZE))
    assert all("token" in result for result in results[:SLICE_SIZE])
    assert {result["problem"]["code"] for result in results[SLICE_SIZE:]} == {"snapshot_stale"}


def test_each_token_is_recorded_only_if_the_callers_policy_asks_for_it(worker: Worker) -> None:
    worker.single()
    assert worker.issued == []
    caller = Caller("shop", replace(POLICY, audit_tokens=True), "abc")
    worker.snapshot = worker.snapshot._replace(secrets={"abc": SECRETS["abc"]._replace(caller=caller)})
    worker.single()
    worker.batch(REQUEST, {"channelArn": str(CHANNEL), "subject": "ada"}, {"channelArn": "bad"})
    assert [(token.caller, token.key_id, token.channel_arn, token.viewer) for token in worker.issued] == [
        ("shop", "abc", str(CHANNEL), viewer) for viewer in ("v", "v", "ada")
    ]


def test_the_refusals_of_single_items_of_a_batch_are_handed_on_for_the_record(worker: Worker) -> None:
    policy = replace(POLICY, channels=(str(OTHER_CHANNEL),))
    worker.snapshot = worker.snapshot._replace(secrets={"abc": SECRETS["abc"]._replace(caller=Caller("shop", policy))})
    worker.batch(REQUEST, REQUEST)
    assert worker.refused == ["/v1/tokens shop channel_not_allowed"] * 2


LOGIN = CallerPolicy(channels=("*",), bearer=BearerPolicy("https://login.test", "app"))


@pytest.mark.parametrize(
    ("caller", "item", "viewer"),
    [
        (Caller("shop", replace(POLICY, channels=(str(OTHER_CHANNEL),))), REQUEST, "v"),
        (Caller("shop", POLICY), {"channelArn": str(CHANNEL)}, ""),
        (Caller("shop", replace(POLICY, limits=RateLimits(caller=Rate(1, 1)))), REQUEST | {"viewerId": "w"}, "w"),
        (Caller("shop", LOGIN, login=ViewerLogin("ada", frozenset())), {"channelArn": str(CHANNEL)}, "ada"),
    ],
    ids=["channel_not_allowed", "anonymous", "rate_limited", "viewer app"],
)
def test_a_refusal_has_the_channel_and_the_viewer_on_every_path(
    worker: Worker, caller: Caller, item: dict[str, Any], viewer: str
) -> None:
    worker.snapshot = worker.snapshot._replace(secrets={"abc": KnownSecret(key_digest(API_KEY), None, caller)})
    with contextlib.suppress(TokensvcError):
        worker.single()  # takes the only token of the limit
    worker.batch({"channelArn": 1}, item)
    assert worker.refused_tokens == [None, RefusedToken(str(CHANNEL), viewer)]
    context = RequestContext("r", worker.clock.monotonic())
    body = json.dumps(item).encode()
    with pytest.raises(TokensvcError):
        worker.routes.single_nowait(scope_of(**AUTHORIZED), body, context)
    assert context.refused == RefusedToken(str(CHANNEL), viewer)
    context = RequestContext("r", worker.clock.monotonic())
    with pytest.raises(TokensvcError):
        asyncio.run(worker.routes.single(scope_of(**AUTHORIZED), make_receive(body), context))
    assert context.refused == RefusedToken(str(CHANNEL), viewer)


def test_a_bearer_whose_verification_ends_during_a_batch_is_verified_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two slices: the rest of the batch is not refused."""
    authenticator = worker.parts.authenticator
    authenticate, verified, calls = authenticator.authenticate, authenticator.verified, list[str]()

    def authenticate_now(*arguments: Any) -> Any:
        if calls.count("authenticate") == 1 and "verified again" not in calls:
            raise BearerNotVerified("bearer token not accepted")
        calls.append("authenticate")
        return authenticate(*arguments)

    async def verify(*arguments: Any) -> Any:
        if "authenticate" in calls:
            calls.append("verified again")
        return await verified(*arguments)

    batch = [REQUEST] * (2 * SLICE_SIZE)
    monkeypatch.setattr(authenticator, "verified", verify)
    [caller, snapshot, _] = authenticate(scope_of(**AUTHORIZED), RequestContext("r", 0.0), "tokens:issue")
    monkeypatch.setattr(authenticator, "authenticate", authenticate_now)
    run = TokenBatch(worker.parts, batch, caller, snapshot, scope_of(**AUTHORIZED), RequestContext("r", 0.0)).run()
    assert all("token" in result for result in asyncio.run(run))
    assert calls == ["authenticate", "verified again", "authenticate", "authenticate"]


def limited(worker: Worker, limits: RateLimits) -> None:
    """Give the caller these limits."""
    caller = Caller("shop", CallerPolicy(channels=POLICY.channels, limits=limits))
    worker.snapshot = worker.snapshot._replace(secrets={"abc": KnownSecret(key_digest(API_KEY), None, caller)})


def test_a_request_over_a_limit_is_refused_and_those_of_other_viewers_are_not(worker: Worker) -> None:
    limited(worker, RateLimits(viewer=Rate(per_minute=6, burst=2)))
    worker.single()
    worker.single()
    with pytest.raises(RateLimited, match="too many tokens for this viewer") as refused:
        worker.single()
    headers = dict(error_response(refused.value).headers)
    assert headers[b"retry-after"] == b"10"
    assert headers[b"ratelimit-policy"] == b'"viewer";q=6;w=60'
    worker.single(REQUEST | {"viewerId": "another"})
    worker.clock.advance(10)
    worker.single()
    assert worker.outcomes() == {"issued": 4.0, "rate_limited": 1.0}


def test_each_request_of_a_batch_counts_and_those_over_the_limit_fail_alone(worker: Worker) -> None:
    limited(worker, RateLimits(caller=Rate(per_minute=60, burst=3)))
    results = worker.batch(*[REQUEST] * 5)
    assert ["token" in result for result in results] == [True, True, True, False, False]
    problem = results[3]["problem"]
    assert (problem["status"], problem["code"], problem["retryAfterSeconds"]) == (429, "rate_limited", 1)
    with pytest.raises(RateLimited, match="this caller"):
        worker.single()


def test_a_request_that_waits_for_its_channel_takes_one_token(worker: Worker) -> None:
    limited(worker, RateLimits(channel=Rate(per_minute=1, burst=2)))
    unknown = REQUEST | {"channelArn": str(OTHER_CHANNEL)}
    worker.single(unknown)
    assert ["token" in result for result in worker.batch(unknown, unknown)] == [True, False]


def test_a_request_that_cannot_be_signed_takes_nothing(worker: Worker) -> None:
    """Be it too long a lifetime or a key that is missing for a while: clients that try again are not refused for it."""
    limited(worker, RateLimits(caller=Rate(per_minute=1, burst=1)))
    keyring = worker.snapshot.keyring
    worker.snapshot = worker.snapshot._replace(max_ttl_seconds=60)
    too_long = REQUEST | {"ttlSeconds": 61}
    for _ in range(3):
        with pytest.raises(InvalidRequest, match="exceeds this caller's limit"):
            worker.single(too_long)
    worker.snapshot = worker.snapshot._replace(keyring=EMPTY_KEYRING)
    for _ in range(3):
        with pytest.raises(NoSigningKey):
            worker.single()
    worker.snapshot = worker.snapshot._replace(keyring=keyring)
    assert ["token" in result for result in worker.batch(too_long, REQUEST, REQUEST)] == [False, True, False]


def test_a_request_that_policy_refuses_takes_nothing(worker: Worker) -> None:
    limited(worker, RateLimits(caller=Rate(per_minute=1, burst=1)))
    for _ in range(3):
        with pytest.raises(TokensvcError, match="viewerId or subject is required"):
            worker.single({"channelArn": str(CHANNEL)})
    worker.single()
