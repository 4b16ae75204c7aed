"""IVS's key pairs and channels in memory, as a control plane, with IVS's errors and network faults.

Invariants
- Key pairs belong to one account and region; at most three; a duplicate public key is a conflict; lists are paged.
- A fault loses a request before its effect, or the response after it; callers cannot tell which.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

from tokensvc.errors import (
    ControlPlaneConflict,
    ControlPlaneError,
    ControlPlaneQuotaExceeded,
    ControlPlaneRejected,
    ControlPlaneResourceMissing,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
)
from tokensvc.jose.keypair import PublicKey, fingerprint, public_pem, read_public_pem

QUOTA = 3
BATCH_MAX = 50
Lost = Literal["before", "after"]
_Kind = TypeVar("_Kind", bound=ControlPlaneError)


class SimulatedIvs:
    """One account of IVS."""

    def __init__(self, account: str = "123456789012", page: int = 1) -> None:
        self.account = account
        self.pairs: dict[str, dict[str, Any]] = {}
        """By ARN."""
        self.channels: dict[str, dict[str, Any]] = {}
        """By ARN, as BatchGetChannel describes them."""
        self.absent_code = "ResourceNotFoundException"
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.losses: dict[str, Lost] = {}
        """By operation, which part of its next call is lost; only once."""
        self.errors: dict[str, ControlPlaneError] = {}
        """By operation or region, the error of every call to it."""
        self.fingerprint_of: Callable[[PublicKey], str] = fingerprint
        self._page = page
        self._numbers = itertools.count(1)

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append((region, operation, dict(request)))
        for key in (operation, region):
            if key in self.errors:
                raise self.errors[key]
        lost = self.losses.pop(operation, None)
        if lost == "before":
            raise outage(operation)
        response: dict[str, Any] = getattr(self, f"_{operation}")(region, request)
        if lost == "after":
            raise outage(operation)
        return response

    def twin(self) -> SimulatedIvs:
        """An independent copy with the same key pairs and ARNs."""
        twin = SimulatedIvs(self.account, self._page)
        twin.pairs, twin._numbers = copy.deepcopy(self.pairs), copy.copy(self._numbers)
        twin.losses = dict(self.losses)
        return twin

    def requests_of(self, operation: str) -> list[dict[str, Any]]:
        """The requests of all calls to an operation."""
        return [request for _, name, request in self.calls if name == operation]

    def add_foreign(self, region: str, count: int = 1, tags: Mapping[str, str] | None = None) -> list[str]:
        """Add key pairs that others imported."""
        arns = [self._arn(region, "playback-key") for _ in range(count)]
        for arn in arns:
            self.pairs[arn] = {
                "arn": arn,
                "name": "theirs",
                "fingerprint": "00",
                "material": arn,
                "tags": dict(tags or {}),
            }
        return arns

    def add_pair(self, region: str, key: PublicKey, tags: Mapping[str, str] | None = None) -> str:
        """Add a manually imported key pair; return its ARN."""
        request = {"publicKeyMaterial": public_pem(key), "name": "manual", "tags": dict(tags or {})}
        return str(self._ImportPlaybackKeyPair(region, request)["keyPair"]["arn"])

    def add_channels(self, arns: Iterable[str]) -> None:
        """Add private channels with a playback URL."""
        for arn in arns:
            self.channels[arn] = {"arn": arn, "playbackUrl": f"https://edge.test/{arn[-6:]}.m3u8", "authorized": True}

    def tagged(self, key: str, value: str) -> list[dict[str, Any]]:
        """The key pairs with this tag."""
        return [pair for pair in self.pairs.values() if pair["tags"].get(key) == value]

    def _ImportPlaybackKeyPair(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        key = read_public_pem(request["publicKeyMaterial"].encode())
        here = self._in(region)
        if any(pair["material"] == request["publicKeyMaterial"] for pair in here):
            raise _error(ControlPlaneConflict, "ImportPlaybackKeyPair", "ConflictException", 409)
        if len(here) >= QUOTA:
            raise _error(ControlPlaneQuotaExceeded, "ImportPlaybackKeyPair", "ServiceQuotaExceededException", 402)
        arn = self._arn(region, "playback-key")
        self.pairs[arn] = {
            "arn": arn,
            "name": request.get("name", ""),
            "fingerprint": self.fingerprint_of(key),
            "material": request["publicKeyMaterial"],
            "tags": dict(request.get("tags", {})),
        }
        return {"keyPair": _select(self.pairs[arn], "arn", "name", "fingerprint", "tags")}

    def _ListPlaybackKeyPairs(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        start, here = int(request.get("nextToken", 0)), self._in(region)
        page = [_select(pair, "arn", "name", "tags") for pair in here[start : start + self._page]]
        next_token = {"nextToken": str(start + self._page)} if start + self._page < len(here) else {}
        return {"keyPairs": page, **next_token}

    def _GetPlaybackKeyPair(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        pair = self._pair(region, "GetPlaybackKeyPair", request["arn"])
        return {"keyPair": _select(pair, "arn", "name", "fingerprint", "tags")}

    def _TagResource(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._pair(region, "TagResource", request["resourceArn"])["tags"].update(request["tags"])
        return {}

    def _DeletePlaybackKeyPair(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        del self.pairs[self._pair(region, "DeletePlaybackKeyPair", request["arn"])["arn"]]
        return {}

    def _BatchGetChannel(self, region: str, request: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N802
        if not 1 <= len(request["arns"]) <= BATCH_MAX or any(f":{region}:" not in arn for arn in request["arns"]):
            raise _error(ControlPlaneRejected, "BatchGetChannel", "ValidationException", 400)
        known = [self.channels[arn] for arn in request["arns"] if arn in self.channels]
        errors = [{"arn": arn, "code": self.absent_code} for arn in request["arns"] if arn not in self.channels]
        return {"channels": known, "errors": errors}

    def _in(self, region: str) -> list[dict[str, Any]]:
        return [pair for arn, pair in self.pairs.items() if arn.startswith(f"arn:aws:ivs:{region}:{self.account}:")]

    def _pair(self, region: str, operation: str, arn: str) -> dict[str, Any]:
        found = next((pair for pair in self._in(region) if pair["arn"] == arn), None)
        if found is None:
            raise _error(ControlPlaneResourceMissing, operation, "ResourceNotFoundException", 404)
        return found

    def _arn(self, region: str, kind: str) -> str:
        return f"arn:aws:ivs:{region}:{self.account}:{kind}/{next(self._numbers):012}"


def channel_arn(number: int, region: str = "us-east-1") -> str:
    """The ARN of one of many channels."""
    return f"arn:aws:ivs:{region}:123456789012:channel/channel{number:06}"


def outage(operation: str = "*") -> ControlPlaneUnavailable:
    """The error of a lost request."""
    return ControlPlaneUnavailable("IVS did not respond", operation=operation, ivs_code="ReadTimeoutError")


def throttle(operation: str = "*") -> ControlPlaneThrottled:
    """The error of a throttled request."""
    return _error(ControlPlaneThrottled, operation, "ThrottlingException", 429)


def _select(pair: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return copy.deepcopy({name: pair[name] for name in names})


def _error(kind: type[_Kind], operation: str, code: str, status: int) -> _Kind:
    return kind(f"IVS responded to {operation} with {code}", operation=operation, ivs_code=code, status=status)
