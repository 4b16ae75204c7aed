"""The service's metrics, as a protocol. No label ever contains a channel, a viewer or a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


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


class Metrics(SigningMetrics, Protocol):
    """All metrics of a process. Those of SigningMetrics are counted by `flush` too."""

    def tokens_issued(self, seconds: Iterable[float], /) -> None:
        """Tokens, each with the time that issuing it took: claims, checks, signature. The tokens of a batch share the
        time of their slice equally. Called on the hot path: counted by `flush`."""
        ...

    def token_request_failed(self, code: str, /) -> None:
        """One token request that was rejected, with the error's code. Counted by `flush`."""
        ...

    def signer_chosen(self, name: str, fallback_reason: str, /) -> None:
        """The signer of this process, and why it is not a faster one."""
        ...

    def flush(self) -> None:
        """Count what the methods on the hot path have stored."""
        ...

    def ivs_request(self, operation: str, code: str) -> None:
        """One request to IVS and its result: `ok`, or the error code."""
        ...

    def task_failed(self, task: str) -> None:
        """One failed run of a background task."""
        ...

    def snapshot_age(self, seconds: float) -> None:
        """The age of this worker's snapshot."""
        ...

    def keys(self, region: str, active_age_seconds: float | None, slots_used: int) -> None:
        """The age of a region's active key, if there is one, and the number of the deployment's key pairs in IVS."""
        ...

    def rotation(self, is_leader: bool, problems: Mapping[str, int], /) -> None:
        """Whether this process is the rotation leader, and the number of problems by region."""
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

    def render(self) -> bytes:
        """The metrics of all workers in Prometheus's text format."""
        ...
