"""What is counted. No label ever holds a channel, a viewer or a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class SigningMetrics(Protocol):
    """What a signer reports of its work. Called on the hot path: each call notes and returns."""

    def lanes_filled(self, lanes: int, /) -> None:
        """One multi-buffer call, by how many of its lanes held a request."""
        ...

    def signer_fallback(self, reason: str, count: int, /) -> None:
        """So many signatures that another library made in its place."""
        ...

    def signature_verified(self, passed: bool, /) -> None:
        """One signature that was verified before it was given out."""
        ...


class Metrics(SigningMetrics, Protocol):
    """The service's figures, as DESIGN's names for them say. Those of the signer are counted by `settle` too."""

    def tokens_issued(self, seconds: Iterable[float], /) -> None:
        """Note tokens, by how long minting each of them took: claims, checks, signature. Those of a batch share the
        time of their slice. On the hot path: counted by `settle`."""
        ...

    def token_request_failed(self, code: str, /) -> None:
        """Note one token that was refused, by the failure's code. Counted by `settle` too."""
        ...

    def signer_chosen(self, name: str, fallback_reason: str, /) -> None:
        """What signs in this process, and why no faster signer does."""
        ...

    def flush(self) -> None:
        """Count what was noted."""
        ...

    def ivs_request(self, operation: str, code: str) -> None:
        """One call to IVS and its outcome: `ok`, or the error code."""
        ...

    def task_failed(self, task: str) -> None:
        """One failed run of a background duty."""
        ...

    def snapshot_age(self, seconds: float) -> None:
        """How old this worker's snapshot is."""
        ...

    def keys(self, region: str, active_age_seconds: float | None, slots_used: int) -> None:
        """The age of the active key of a region, if any, and how many of our key pairs IVS holds there."""
        ...

    def rotation(self, is_leader: bool, problems: Mapping[str, int], /) -> None:
        """Whether this process performs rotations, and how many things are wrong in each region."""
        ...

    def workers(self, active: int, stale: int, /) -> None:
        """How many work, and how many of them have not heard of the newest keys."""
        ...

    def revocation_queue(self, depth: int, oldest_age_seconds: float, /) -> None:
        """How many entries wait for IVS, and for how long the oldest has."""
        ...

    def revocations_dispatched(self, sent: int, failed: int, deferred: int, errors_by_code: Mapping[str, int], /) -> None:
        """How many entries IVS took, refused for good, or is to be told again; and by code, what went wrong."""
        ...

    def render(self) -> bytes:
        """All figures of all workers in Prometheus's text format."""
        ...
