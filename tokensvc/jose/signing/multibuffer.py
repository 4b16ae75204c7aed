"""ES384 signatures eight at a time, with Intel's multi-buffer P-384 code (AVX-512 IFMA) and AWS-LC as the fallback.

Invariants
- If the extension makes no signature, or one that is found to be invalid, AWS-LC makes it before it is returned.
- AWS-LC verifies the first VERIFY_FIRST signatures of each key, then one in VERIFY_EVERY, of each lane in turn; at most
  VERIFY_PER_SECOND a second, since verifying costs more than signing. After an invalid signature the extension is not
  used again in this process.
- Nonces never leave the extension (native/ecdsa_p384.h).
- `sign_many` is called by one thread; `sign` of a key by any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tokensvc.jose import es384, keypair
from tokensvc.jose.es384 import COORDINATE_BYTES
from tokensvc.jose.keypair import PrivateKey
from tokensvc.jose.signing.aws_lc import AwsLcKey
from tokensvc.jose.signing.signer import NoMetrics, sign_each
from tokensvc.log import structlog
from tokensvc.metrics import SigningMetrics

MIN_BATCH = 3
"""The number of signatures from which one call is faster than AWS-LC: `python -m benchmarks.signers`."""

VERIFY_FIRST = 64
VERIFY_EVERY = 64
VERIFY_PER_SECOND = 100

_SWITCHED_OFF = (
    "multi-buffer signing is switched off in this process, because one of its signatures was invalid; AWS-LC signs "
    "instead"
)
_log = structlog.get_logger(__name__)


class Extension(Protocol):
    """The C extension (`_multibuffer.pyi`)."""

    @property
    def LANES(self) -> int: ...  # noqa: N802 - the extension's constant

    @property
    def Key(self) -> Callable[[bytes], Any]: ...  # noqa: N802 - the extension's type

    def sign(self, requests: tuple[tuple[Any, bytes], ...], /) -> list[bytes | None]: ...


class MultiBufferKey:
    """A P-384 key loaded by the extension and by AWS-LC."""

    __slots__ = ("aws_lc", "native", "unverified")

    def __init__(self, aws_lc: AwsLcKey, native: object) -> None:
        self.aws_lc = aws_lc
        self.native = native
        self.unverified = VERIFY_FIRST
        """How many more of its signatures will all be verified."""

    def sign(self, digest: bytes) -> bytes:
        return self.aws_lc.sign(digest)


_Request = tuple[MultiBufferKey, bytes]


def check_lanes(extension: Extension) -> None:
    """Sign in every lane, with two alternating keys. Raises ValueError if a signature is missing or invalid.

    A test of MultiBufferSigner would pass in that case, because it replaces such signatures by AWS-LC's.
    """
    keys = [_load(extension, keypair.generate()) for _ in range(2)]
    requests = [(keys[lane % 2], es384.digest(bytes([lane]))) for lane in range(extension.LANES)]
    signatures = extension.sign(tuple([(key.native, digest) for key, digest in requests]))
    for lane, ((key, digest), signature) in enumerate(zip(requests, signatures, strict=True)):
        if signature is None or not key.aws_lc.verify(digest, signature):
            raise ValueError(f"the signature of lane {lane} is {'missing' if signature is None else 'wrong'}")


def _load(extension: Extension, private_key: PrivateKey) -> MultiBufferKey:
    secret = private_key.private_numbers().private_value.to_bytes(COORDINATE_BYTES, "big")
    return MultiBufferKey(AwsLcKey(private_key), extension.Key(secret))


class MultiBufferSigner:
    """Uses the extension for MIN_BATCH requests or more, and AWS-LC for fewer and for lanes that fail."""

    name = "multibuffer"

    def __init__(
        self,
        extension: Extension,
        metrics: SigningMetrics | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._extension = extension
        self._metrics = metrics or NoMetrics()
        self._monotonic = monotonic
        self._problem = ""
        self._since_verified = 0
        self._lane = 0
        self._second_started_at = monotonic()
        self._verified_this_second = 0

    def prepare(self, private_key: PrivateKey) -> MultiBufferKey:
        return _load(self._extension, private_key)

    def sign_many(self, requests: Sequence[_Request]) -> list[bytes]:
        lanes = self._extension.LANES
        if len(requests) <= lanes:
            return self._sign_group(requests)
        signatures: list[bytes] = []
        for start in range(0, len(requests), lanes):
            signatures += self._sign_group(requests[start : start + lanes])
        return signatures

    def problem(self) -> str:
        return self._problem

    def _sign_group(self, group: Sequence[_Request]) -> list[bytes]:
        """Sign at most as many requests as there are lanes."""
        if len(group) < MIN_BATCH:
            return sign_each(group)
        if self._problem:
            return self._sign_instead(group, "switched_off")
        made = self._extension.sign(tuple([(key.native, digest) for key, digest in group]))
        self._metrics.lanes_filled(len(group))
        signatures = [
            signature or self._sign_instead([request], "lane_failed")[0]
            for signature, request in zip(made, group, strict=True)
        ]
        for lane in self._lanes_to_verify(group):
            if not self._verifies(group[lane], signatures[lane]):
                self._switch_off(lane)
                return self._sign_instead(group, "not_verified")
        return signatures

    def _sign_instead(self, group: Sequence[_Request], reason: str) -> list[bytes]:
        self._metrics.signer_fallback(reason, len(group))
        return sign_each(group)

    def _lanes_to_verify(self, group: Sequence[_Request]) -> Sequence[int]:
        """Every lane whose key is new, and one lane in VERIFY_EVERY signatures, within the limit for this second."""
        lanes = [lane for lane, (key, _) in enumerate(group) if key.unverified]
        self._since_verified += len(group)
        if self._since_verified >= VERIFY_EVERY:
            self._since_verified -= VERIFY_EVERY
            self._lane += 1
            if not lanes:
                lanes = [self._lane % len(group)]
        if not lanes:
            return lanes
        now = self._monotonic()
        if now - self._second_started_at >= 1:
            self._second_started_at, self._verified_this_second = now, 0
        return lanes[: VERIFY_PER_SECOND - self._verified_this_second]

    def _verifies(self, request: _Request, signature: bytes) -> bool:
        key, digest = request
        self._verified_this_second += 1
        passed = key.aws_lc.verify(digest, signature)
        self._metrics.signature_verified(passed)
        key.unverified = max(0, key.unverified - 1)
        return passed

    def _switch_off(self, lane: int) -> None:
        self._problem = _SWITCHED_OFF
        _log.critical("multi-buffer signing switched off: invalid signature", lane=lane)
