"""The policy hook: an HTTP service of the operator's that is asked before a token is issued.

Invariants
- It can only narrow what policy granted: it is asked about requests that policy allows, and `admission.narrowed`
  rejects a wider decision.
- It fails closed. A request without a valid decision within TIMEOUT_SECONDS is rejected with PolicyHookUnavailable.
- A decision is used again only for an equal request, for as long as the hook allows, at most the token's lifetime. The
  number of cached decisions is bounded, and nothing of the requests is stored with them.
- A connection whose request failed, or was cancelled, is closed and replaced: an outage of the hook or clients that go
  away leave every connection to the requests that follow.
- No request changes another: cookies are not kept. A response is read as it is sent, so that its size is bounded before
  it is parsed: a content coding makes it invalid, and so does a name that occurs twice.
- A body is signed with a timestamp (HMAC-SHA-256), so that a hook can reject what others send, or send again.
- A batch asks for at most MAX_OF_BATCH decisions at once, so that single requests find connections. When one of its
  requests gets no decision, no further ones are asked about.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Callable, Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Annotated

import orjson
from pydantic import AfterValidator, Field, ValidationError

from tokensvc.callers.bounded_map import BoundedMap
from tokensvc.callers.policy import DEFAULT_TTL_SECONDS, MAX_STORABLE_TTL_SECONDS, Resolution
from tokensvc.clock import Clock
from tokensvc.errors import InvalidRequest, MalformedRequest, PolicyHookDenied, PolicyHookUnavailable
from tokensvc.json_models import RequestModel
from tokensvc.json_objects import json_object
from tokensvc.origins import check_origin
from tokensvc.outages import FailureLog
from tokensvc.tokens.issuer import MAX_VIEWER_BOUND_TTL_SECONDS
from tokensvc.tokens.request import ORIGINS_MAX_ENTRIES, has_ten_minute_limit
from tokensvc.web.admission import AdmissionRequest, Decision, Narrowing

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 0.3
"""For one decision, waiting for a connection included."""
MAX_CONNECTIONS = 32
MAX_OF_BATCH = 8
IDLE_SECONDS = 3.0
"""How long an idle connection is kept. Common servers close theirs after 5 seconds; a request on a connection that is
being closed would get no decision."""
MAX_RESPONSE_BYTES = 16 * 1024
MAX_DECISIONS = 50_000
TIMESTAMP_HEADER = "Tokensvc-Timestamp"
SIGNATURE_HEADER = "Tokensvc-Signature"
TASK = "policy_hook"
"""The name of the hook in the log's lines about outages."""


class _HookResponse(RequestModel):
    """What the hook responds. An unknown field makes it invalid: it may be a restriction with a misspelt name."""

    allow: bool
    reason: Annotated[str | None, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = None
    max_ttl_seconds: Annotated[int | None, Field(ge=1, le=MAX_STORABLE_TTL_SECONDS)] = None
    maximum_resolution: Resolution | None = None
    allowed_origins: Annotated[
        list[Annotated[str, AfterValidator(check_origin)]] | None, Field(min_length=1, max_length=ORIGINS_MAX_ENTRIES)
    ] = None
    cache_seconds: Annotated[int, Field(ge=0)] = 0

    def decided(self) -> Narrowing | str:
        """The restrictions, or the message of a denial."""
        if not self.allow:
            return "the policy hook denied this token" + (f": {self.reason}" if self.reason else "")
        origins = None if self.allowed_origins is None else tuple(self.allowed_origins)
        return Narrowing(self.max_ttl_seconds, self.maximum_resolution, origins)


class _CachedDecision:
    """A decision that may be used again. It holds no error: one that is raised again and again would keep the frames of
    every request that it refused."""

    __slots__ = ("decided", "until")

    def __init__(self, decided: Narrowing | str, until: float) -> None:
        self.decided = decided
        self.until = until


class PolicyHook:
    """Asks the hook at one URL (`admission.Admission`)."""

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        clock: Clock,
        count_failure: Callable[[str], None],
        failure_log: FailureLog,
        timeout_seconds: float = TIMEOUT_SECONDS,
        trace_headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`count_failure` gets one of `metrics.ADMISSION_FAILURE_REASONS`. It connects at the first request.
        `trace_headers` continue the request's trace in the hook."""
        import httpx  # loads too much to be imported where no hook is set

        self._http = httpx
        # The authorities of the system or of SSL_CERT_FILE, as for the issuers of bearer tokens.
        self._tls = ssl.create_default_context()
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[httpx.AsyncClient] = []
        """Each has one connection, or none yet."""
        self._closing: set[asyncio.Task[None]] = set()
        self._url = url
        self._secret = secret.encode()
        self._clock = clock
        self._count_failure = count_failure
        self._failure_log = failure_log
        self._timeout_seconds = timeout_seconds
        self._trace_headers = trace_headers
        self._cache: BoundedMap[bytes, _CachedDecision] = BoundedMap(MAX_DECISIONS)

    async def admit(self, requests: Sequence[AdmissionRequest]) -> list[Decision]:
        """One decision for each request: restrictions, PolicyHookDenied, or PolicyHookUnavailable."""
        if len(requests) == 1:
            return [await self._decide(requests[0])]
        decisions: list[Decision] = [_unavailable()] * len(requests)
        waiting = iter(range(len(requests)))

        async def decide_in_turn() -> None:
            for position in waiting:
                decisions[position] = await self._decide(requests[position])
                if isinstance(decisions[position], PolicyHookUnavailable):
                    for _ in waiting:  # the others stay unavailable
                        pass

        await asyncio.gather(*(decide_in_turn() for _ in range(min(MAX_OF_BATCH, len(requests)))))
        return decisions

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._discard(self._idle.pop())
        if self._closing:
            await asyncio.wait(self._closing)

    async def _decide(self, request: AdmissionRequest) -> Decision:
        fields = {
            "caller": request.caller.name,
            "clientAddress": request.client_address,
            "request": request.request.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        key = hashlib.blake2b(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
        cached = self._cache.get(key)
        if cached is not None and self._clock.monotonic() < cached.until:
            return _decision(cached.decided)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._request(orjson.dumps({**fields, "requestId": request.request_id}))
        except TimeoutError:
            return self._failed("timeout")
        except (self._http.HTTPError, self._http.InvalidURL):  # the latter from a redirect's Location
            return self._failed("connection")
        except _InvalidResponse as invalid:
            return self._failed("invalid_response", str(invalid))
        self._failure_log.record_success(TASK)
        decided = response.decided()
        if seconds := min(response.cache_seconds, _lifetime_seconds(request, response)):
            self._cache.put(key, _CachedDecision(decided, self._clock.monotonic() + seconds))
        return _decision(decided)

    async def _request(self, body: bytes) -> _HookResponse:
        """POST the body on a connection that is free. Raises httpx.HTTPError, httpx.InvalidURL or _InvalidResponse."""
        async with self._room:
            client = self._idle.pop() if self._idle else self._new_client()
            try:
                response = await self._post(client, body)
            except BaseException:
                self._discard(client)
                raise
            self._idle.append(client)
            return response

    def _new_client(self) -> httpx.AsyncClient:
        """A client with one connection. A pool of httpx's would do if nothing were ever cancelled: it counts requests
        that are cancelled while they get their connection as running for ever, until it has no connection left."""
        return self._http.AsyncClient(
            verify=self._tls,
            limits=self._http.Limits(max_connections=1, keepalive_expiry=IDLE_SECONDS),
            timeout=None,  # the whole decision has one
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    def _discard(self, client: httpx.AsyncClient) -> None:
        """Close a client in a task of its own, which the cancellation of its request does not end."""
        task = asyncio.create_task(client.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _post(self, client: httpx.AsyncClient, body: bytes) -> _HookResponse:
        timestamp = str(int(self._clock.now()))
        headers = {
            **self._trace_headers(),
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: "v1=" + signature(self._secret, timestamp, body),
        }
        async with client.stream("POST", self._url, content=body, headers=headers) as response:
            if response.status_code != 200:
                raise _InvalidResponse(f"status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _InvalidResponse("a content coding")
            received = bytearray()
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > MAX_RESPONSE_BYTES:
                    raise _InvalidResponse(f"more than {MAX_RESPONSE_BYTES} bytes")
        try:
            return _HookResponse.model_validate(json_object(bytes(received), "the response"))
        except MalformedRequest:
            raise _InvalidResponse("not a JSON object") from None
        except InvalidRequest:
            raise _InvalidResponse("a name that occurs twice") from None
        except ValidationError as error:
            fields = {str(part) for problem in error.errors() for part in problem["loc"][:1]}
            raise _InvalidResponse(f"invalid {', '.join(sorted(fields)) or 'JSON'}") from None

    def _failed(self, reason: str, text: str = "") -> PolicyHookUnavailable:
        self._count_failure(reason)
        error = _unavailable(text or reason)
        self._failure_log.record_failure(TASK, error)
        return error


class _InvalidResponse(Exception):
    """Why a response has no valid decision, for the log."""


def _decision(decided: Narrowing | str) -> Decision:
    return PolicyHookDenied(decided) if isinstance(decided, str) else decided


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """The HMAC-SHA-256 of the timestamp, a dot and the body, in hexadecimal."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _unavailable(detail: str = "") -> PolicyHookUnavailable:
    return PolicyHookUnavailable("the policy hook gave no valid decision in time; retry", detail=detail)


def _lifetime_seconds(request: AdmissionRequest, response: _HookResponse) -> int:
    """The longest that a token of this request may live."""
    token = request.request
    limits = [token.ttl_seconds or DEFAULT_TTL_SECONDS, request.max_ttl_seconds]
    if response.max_ttl_seconds is not None:
        limits.append(response.max_ttl_seconds)
    if has_ten_minute_limit(token.viewer_id, token.subject, token.single_use):
        limits.append(MAX_VIEWER_BOUND_TTL_SECONDS)
    return min(limits)
