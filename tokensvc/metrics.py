"""The service's metrics, as a protocol. No label ever contains a channel, a viewer or a key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

ADMISSION_FAILURE_REASONS = ("timeout", "connection", "invalid_response")
"""Why the shared rate limiter or the policy hook gave no decision: too slow, not reachable, or no valid response."""
DROPPED_SPAN_REASONS = ("queue_full", "export_failed")
"""Why spans were not exported: too many waited, or the collector did not accept them."""


class HandledRequest(NamedTuple):
    """One HTTP request that has its response. The hot path passes a `HandledRequestTuple`."""

    finished_at: float
    """Monotonic clock, in seconds."""
    method: str
    route: str
    """The template of the path, never the path that was sent; `-` for a path without a route."""
    status: int
    code: str
    """What the response is: `issued`, for example, or the code of a problem."""
    caller: str
    """"" for a request that was not authenticated."""
    client: str
    request_id: str
    seconds: float
    trace_id: str
    """"" for a request without a trace."""
    is_sampled: bool
    """Whether its trace is exported."""


HandledRequestTuple: TypeAlias = tuple[float, str, str, int, str, str, str, str, float, str, bool]
"""The members of a `HandledRequest`, without the time that making one takes."""


class SigningMetrics(Protocol):
    """What a signer measures. Called on the hot path: each method stores its arguments and returns."""

    def lanes_filled(self, lanes: int, /) -> None:
        """One multi-buffer call, with the number of lanes that held a request."""
        ...

    def signer_fallback(self, reason: str, count: int, /) -> None:
        """Signatures that another library made instead of the multi-buffer signer."""
        ...

    def signature_verified(self, passed: bool, /) -> None:
        """One signature that was verified before it was returned."""
        ...


class StoreMetrics(Protocol):
    """What is measured of the store. Called in any thread, never on the hot path."""

    def store_transaction(self, mode: str, seconds: float, wait_seconds: float | None, /) -> None:
        """One transaction, `read` or `write`: its time, and how much of it was the wait for a connection; None if it
        got no connection."""
        ...

    def store_failed(self, code: str, /) -> None:
        """One transaction that failed, with the error's code."""
        ...

    def store_connections(self, in_use: int, connections_max: int, /) -> None:
        """The connections of the pool: how many a transaction uses, and how many there may be."""
        ...


class Metrics(SigningMetrics, StoreMetrics, Protocol):
    """All metrics of a process. Those of SigningMetrics are counted by `flush` too."""

    def http_request(self, request: HandledRequestTuple, /) -> None:
        """One `HandledRequest`. Called on the hot path: counted by `flush`."""
        ...

    def http_connections(self, count: int, /) -> None:
        """The number of open connections of clients."""
        ...

    def event_loop_lag(self, seconds: float, /) -> None:
        """How late the event loop ran a timer."""
        ...

    def tokens_issued(self, issued: Iterable[tuple[str, float]], /) -> None:
        """Tokens: the caller, and the time that issuing it took: claims, checks, signature. The tokens of a batch share
        the time of their slice equally. Called on the hot path: counted by `flush`."""
        ...

    def token_request_failed(self, caller: str, code: str, /) -> None:
        """One token request that was rejected, with its caller ("" if not authenticated) and the error's code. Counted
        by `flush`."""
        ...

    def playback_authorized(self, outcome: str, /) -> None:
        """One request of a proxy about a file: `started`, `continued`, or the rule that refused it."""
        ...

    def rate_limited(self, limit: str, /) -> None:
        """One request that this limit rejected: `caller`, `viewer`, `channel` or `address`."""
        ...

    def signer_chosen(self, name: str, fallback_reason: str, /) -> None:
        """The signer of this process, and why it is not a faster one."""
        ...

    def build(self, version: str, commit: str, python: str, signer: str, /) -> None:
        """What runs in this process; `signer` is "" if it signs nothing."""
        ...

    def sample_with(self, sample: Callable[[], None], /) -> None:
        """Call this about once a second, and before every rendering: for what is only known at present."""
        ...

    def flush(self) -> None:
        """Count what the methods on the hot path have stored."""
        ...

    def ivs_request(self, operation: str, code: str, seconds: float, /) -> None:
        """One request to IVS, its result (`ok`, or the error code) and its time."""
        ...

    def task_failed(self, task: str) -> None:
        """One failed run of a background task."""
        ...

    def snapshot_age(self, seconds: float) -> None:
        """The age of this worker's snapshot."""
        ...

    def clock_skew(self, seconds: float, /) -> None:
        """How far this machine's clock is ahead of the store's; negative if behind."""
        ...

    def keys(self, region: str, active_age_seconds: float | None, slots_used: int) -> None:
        """The age of a region's active key, if there is one, and the number of the deployment's key pairs in IVS."""
        ...

    def signing_key_available(self, region: str, is_available: bool, /) -> None:
        """Whether this worker has a key that signs for the region's channels."""
        ...

    def rotation(self, is_leader: bool, problems: Mapping[str, int], /) -> None:
        """Whether this process is the rotation leader, and the number of problems by region."""
        ...

    def overdue(self, region: str, rotation_seconds: float, drain_seconds: float, /) -> None:
        """For how long a region's active key has been older than its maximum age, and a retiring key in IVS for longer
        than its drain. 0 if nothing is overdue, or another process is the rotation leader."""
        ...

    def workers(self, active: int, stale: int, /) -> None:
        """The number of active workers, and how many of them have not loaded the newest keys."""
        ...

    def revocation_queue(self, depth: int, oldest_age_seconds: float, /) -> None:
        """The number of queued revocations, and the age of the oldest."""
        ...

    def revocations_dispatched(
        self, sent: int, failed: int, deferred: int, errors_by_code: Mapping[str, int], /
    ) -> None:
        """The number of revocations that IVS accepted, permanently rejected, or that will be retried; and the errors by
        code."""
        ...

    def audit_queue(self, depth: int, lag_seconds: float, /) -> None:
        """The audit records that wait to be written to the store, and for how long the oldest has been waiting."""
        ...

    def audit_events_dropped(self, count: int, /) -> None:
        """Refusals and issued tokens that got no audit record, because too many waited for the store."""
        ...

    def audit_lines_lost(self, count: int, /) -> None:
        """Audit records that the store has and TOKENSVC_AUDIT_LOG has not."""
        ...

    def issuer_keys(self, issuer: str, age_seconds: float, /) -> None:
        """The age of the key set of an issuer of bearer tokens, by the issuer's host."""
        ...

    def issuer_keys_fetched(self, issuer: str, is_fetched: bool, /) -> None:
        """One fetch of an issuer's key set, successful or not."""
        ...

    def limiter_decided(self, seconds: float, /) -> None:
        """One wait for the shared rate limiter, whether it gave a decision or not."""
        ...

    def limiter_failed(self, reason: str, /) -> None:
        """One call of the shared rate limiter that gave no decision: `timeout`, `connection` or `invalid_response`."""
        ...

    def policy_hook_decided(self, seconds: float, /) -> None:
        """One wait for the policy hook, whether it gave a decision or not."""
        ...

    def policy_hook_failed(self, reason: str, /) -> None:
        """One token request without a decision of the policy hook: `timeout`, `connection` or `invalid_response`."""
        ...

    def spans_dropped(self, reason: str, count: int, /) -> None:
        """Spans that were not exported: `queue_full` or `export_failed`."""
        ...

    def exposition(self, accept: str, /) -> tuple[bytes, str]:
        """The metrics of all workers, in OpenMetrics if this Accept header asks for it, else in Prometheus's text
        format; and the content type."""
        ...
