"""Amazon IVS over boto3: one attempt a call, and every failure in our own words.

Rules of the file
- Credentials, endpoint and profile are found by boto3's own chain; nothing of AWS's is read here.
- One attempt (`total_max_attempts=1`), 2 s to connect, 5 s to read: the only retries are ours, where they are paced.
- FAILURES maps each error code of the model; what is not in it is judged by its HTTP status.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from botocore import exceptions as boto
from botocore import xform_name
from botocore.config import Config

from tokensvc.errors import (
    ControlPlaneError,
    Denied,
    QuotaExceeded,
    Rejected,
    ResourceConflict,
    ResourceMissing,
    Throttled,
    Unavailable,
)

FAILURES: dict[str, type[ControlPlaneError]] = {
    "AccessDeniedException": Denied,
    "PendingVerification": Denied,
    "ValidationException": Rejected,
    "ResourceNotFoundException": ResourceMissing,
    "ChannelNotBroadcasting": ResourceMissing,
    "ConflictException": ResourceConflict,
    "ServiceQuotaExceededException": QuotaExceeded,
    "ThrottlingException": Throttled,
    "InternalServerException": Unavailable,
    "ServiceUnavailable": Unavailable,
    "StreamUnavailable": Unavailable,
    # what AWS's front doors say before the service is reached (IVS API reference, "Common Errors")
    "ExpiredTokenException": Denied,
    "IncompleteSignature": Denied,
    "InvalidSignatureException": Denied,
    "MissingAuthenticationTokenException": Denied,
    "NotAuthorized": Denied,
    "OptInRequired": Denied,
    "UnrecognizedClientException": Denied,
    "RequestTimeoutException": Unavailable,
}

_CREDENTIAL_PROBLEMS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
)

Observe = Callable[[str, str], None]
"""Told the operation and its outcome (`ok`, or the error code) after each call."""


def default_region() -> str | None:
    """The region that boto3's own chain names, if any."""
    region: str | None = boto3.session.Session().region_name
    return region


class AwsControlPlane:
    """Amazon IVS, or whatever boto3's endpoint setting points at."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client(region), xform_name(operation))(**request)
        except boto.ClientError as refusal:
            failure = _of_refusal(operation, refusal)
        except boto.BotoCoreError as problem:
            failure = _of_transport(operation, problem)
        else:
            self._observe(operation, "ok")
            answer.pop("ResponseMetadata", None)
            return answer
        self._observe(operation, failure.ivs_code)
        raise failure from None

    def _client(self, region: str) -> Any:
        """boto3 clients may be shared by threads, but not be made by two at once."""
        with self._lock:
            if region not in self._clients:
                config = Config(
                    connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, max_pool_connections=8
                )
                self._clients[region] = boto3.session.Session().client("ivs", region_name=region, config=config)
            return self._clients[region]


def _of_refusal(operation: str, refusal: boto.ClientError) -> ControlPlaneError:
    error = refusal.response.get("Error", {})
    metadata = refusal.response.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "")), int(metadata.get("HTTPStatusCode", 0))
    words = error.get("Message") or refusal.response.get("exceptionMessage") or "no message"
    return FAILURES.get(code, _by_status(status))(
        f"IVS answered {operation} with {code}: {words}",
        operation=operation,
        ivs_code=code,
        status=status,
        request_id=str(metadata.get("RequestId", "")),
    )


def _by_status(status: int) -> type[ControlPlaneError]:
    if status == 429:
        return Throttled
    if status in (401, 403):
        return Denied
    return Unavailable if status >= 500 else Rejected


def _of_transport(operation: str, problem: boto.BotoCoreError) -> ControlPlaneError:
    name = type(problem).__name__
    kind: type[ControlPlaneError] = Unavailable
    if isinstance(problem, _CREDENTIAL_PROBLEMS):
        kind = Denied
    elif isinstance(problem, boto.ParamValidationError | boto.NoRegionError):
        kind = Rejected
    return kind(f"IVS could not be asked for {operation}: {problem}", operation=operation, ivs_code=name)
