"""A stand-in for the extension that counts its calls and may return wrong signatures or none.

It signs with AWS-LC, so that the tests run on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from tokensvc.jose.signing.aws_lc import AwsLcKey

Request = tuple[AwsLcKey, bytes]
Fault = Callable[[list[bytes]], list[bytes | None]]
"""Changes the signatures of one call."""


def no_fault(signatures: list[bytes]) -> list[bytes | None]:
    return [*signatures]


def bit_flipped(lane: int, bit: int) -> Fault:
    def flip(signatures: list[bytes]) -> list[bytes | None]:
        if lane >= len(signatures):
            return [*signatures]
        wrong = (int.from_bytes(signatures[lane], "big") ^ 1 << bit).to_bytes(len(signatures[lane]), "big")
        return [*signatures[:lane], wrong, *signatures[lane + 1 :]]

    return flip


def swapped(first: int, second: int) -> Fault:
    def swap(signatures: list[bytes]) -> list[bytes | None]:
        swapped = [*signatures]
        swapped[first], swapped[second] = signatures[second], signatures[first]
        return [*swapped]

    return swap


def failed(*lanes: int) -> Fault:
    def fail(signatures: list[bytes]) -> list[bytes | None]:
        return [None if lane in lanes else signature for lane, signature in enumerate(signatures)]

    return fail


def zeros(lane: int) -> Fault:
    """The bytes that the C code writes for a failed lane, without reporting the lane as failed."""

    def zero(signatures: list[bytes]) -> list[bytes | None]:
        return [bytes(96) if number == lane else signature for number, signature in enumerate(signatures)]

    return zero


class FaultyExtension:
    """Signs correctly until `fault` is set. Repeated requests get the same signature, to save time."""

    LANES = 8

    def __init__(self, fault: Fault = no_fault) -> None:
        self.fault = fault
        self.calls: list[int] = []
        """The number of requests of each call."""
        self.made: set[bytes] = set()
        """Every signature that it has returned."""
        self._signed: dict[tuple[AwsLcKey, bytes], bytes] = {}

    def Key(self, secret: bytes) -> AwsLcKey:  # noqa: N802 - the extension's type
        return AwsLcKey(ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP384R1()))

    def sign(self, requests: tuple[Request, ...], /) -> list[bytes | None]:
        self.calls.append(len(requests))
        for request in requests:
            if request not in self._signed:
                key, digest = request
                self._signed[request] = key.sign(digest)
        signatures = self.fault([self._signed[request] for request in requests])
        self.made |= {signature for signature in signatures if signature is not None}
        return signatures

    def supported(self) -> bool:
        return True

    def self_test(self) -> None: ...


class RecordedMetrics:
    """The metrics of a signer, in order."""

    def __init__(self) -> None:
        self.filled: list[int] = []
        self.fallbacks: list[tuple[str, int]] = []
        self.verified: list[bool] = []

    def lanes_filled(self, lanes: int, /) -> None:
        self.filled.append(lanes)

    def signer_fallback(self, reason: str, count: int, /) -> None:
        self.fallbacks.append((reason, count))

    def signature_verified(self, passed: bool, /) -> None:
        self.verified.append(passed)
