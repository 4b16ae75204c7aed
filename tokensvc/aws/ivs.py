"""Amazon IVS over boto3: one attempt a call, and every failure in our own words.

Rules of the file
- Credentials, endpoint and profile are found by boto3's own chain; of AWS's variables only AWS_REGION is read here.
- One attempt (`total_max_attempts=1`), 2 s to connect, 5 s to read: the only retries are ours, where they are paced.
- The endpoint must be what the control plane setting says: `aws` never talks to a local IVS, nor `local` to AWS.
- FAILURES maps each error code of the model; what is not in it is judged by its HTTP status.
- Codes and messages of an error response are made printable here: they are stored, logged and displayed.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore import exceptions as boto
from botocore import xform_name
from botocore.config import Config
from botocore.loaders import Loader, create_loader

from tokensvc.clock import Clock, SystemClock
from tokensvc.errors import (
    Action,
    ControlPlaneError,
    ControlPlaneDenied,
    FieldError,
    ControlPlaneQuotaExceeded,
    ControlPlaneRejected,
    Remedy,
    ControlPlaneConflict,
    ControlPlaneResourceMissing,
    SettingsError,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
)
from tokensvc.printable import printable

if TYPE_CHECKING:
    from boto3.session import Session

ERROR_CLASSES: dict[str, type[ControlPlaneError]] = {
    "AccessDeniedException": ControlPlaneDenied,
    "PendingVerification": ControlPlaneDenied,
    "ValidationException": ControlPlaneRejected,
    "ResourceNotFoundException": ControlPlaneResourceMissing,
    "ChannelNotBroadcasting": ControlPlaneResourceMissing,
    "ConflictException": ControlPlaneConflict,
    "ServiceQuotaExceededException": ControlPlaneQuotaExceeded,
    "ThrottlingException": ControlPlaneThrottled,
    "InternalServerException": ControlPlaneUnavailable,
    "ServiceUnavailable": ControlPlaneUnavailable,
    "StreamUnavailable": ControlPlaneUnavailable,
    # what AWS's front doors say before the service is reached (IVS API reference, "Common Errors")
    "ExpiredTokenException": ControlPlaneDenied,
    "IncompleteSignature": ControlPlaneDenied,
    "InvalidSignatureException": ControlPlaneDenied,
    "MissingAuthenticationTokenException": ControlPlaneDenied,
    "NotAuthorized": ControlPlaneDenied,
    "OptInRequired": ControlPlaneDenied,
    "UnrecognizedClientException": ControlPlaneDenied,
    "RequestTimeoutException": ControlPlaneUnavailable,
}

_CREDENTIAL_PROBLEMS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.SSOError,
)

CLIENTS_MAX = 40
"""Clients that are kept, each about 0.4 MiB: more than there are AWS regions. Which regions are called is decided by
those who call; this is the bound should one of them take a region from outside."""

_AWS_HOST = re.compile(r"[a-z0-9.-]+\.(amazonaws\.com|api\.aws)")

CallObserver = Callable[[str, str], None]
"""Told the operation and its outcome (`ok`, or the error code) after each call."""


def ignore_calls(_operation: str, _code: str) -> None:
    """Nobody counts the calls of a command."""


def default_region() -> str | None:
    """The region that boto3's own chain names, else AWS_REGION: AWS's containers and other SDKs know no other variable,
    and boto3 alone does not read it."""
    with _settled():
        region: str | None = _session().region_name
    return region or os.environ.get("AWS_REGION")


@cache
def ivs_regions() -> frozenset[str]:
    """The regions that have IVS, by the installed botocore's endpoint data."""
    partitions = create_loader().load_data("endpoints")["partitions"]
    return frozenset(r for partition in partitions for r in partition["services"].get("ivs", {}).get("endpoints", {}))


def make_client(service: str, region: str) -> Any:
    """A boto3 client that makes one attempt. Raises SettingsError when boto3 finds nothing to make it of."""
    config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, max_pool_connections=8)
    with _settled():
        return _session().client(service, region_name=region, config=config)


def _session() -> Session:
    """boto3's chain of settings as it is now. boto3 is loaded here: most commands never need it."""
    import boto3
    import botocore.session

    session = botocore.session.get_session()
    session.register_component("data_loader", _data(session.get_config_variable("data_path")))
    return boto3.session.Session(botocore_session=session)


@cache
def _data(path: str | None) -> Loader:
    """botocore's description of AWS, which takes longer to read than a call takes: read once a process."""
    return create_loader(path)


class AwsControlPlane:
    """Amazon IVS, or the local IVS that boto3's endpoint setting points at: `kind` says which of them it must be."""

    def __init__(self, kind: str, observe: CallObserver = ignore_calls, clock: Clock | None = None) -> None:
        self._kind = kind
        self._observe = observe
        self._clock = clock or SystemClock()
        self._ahead: dict[str, float] = {}
        self._clients: OrderedDict[str, Any] = OrderedDict()
        """By region, the one that was used last at the end."""
        self._lock = threading.Lock()

    def check(self, region: str) -> None:
        """Raise SettingsError when boto3 finds nothing to work with, or an endpoint of another kind than the settings
        name. Calls nobody."""
        self._client(region)

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            client = self._client(region)
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**request)
            metadata = answer.pop("ResponseMetadata", {})
            self._look_at_date(region, metadata)
            shape = client.meta.service_model.operation_model(operation).output_shape
            if not answer and not _may_be_empty(shape, metadata):
                raise ValueError("no modelled member")
        except SettingsError:
            raise
        except boto.ClientError as refusal:
            failure = _of_refusal(operation, refusal)
        except boto.BotoCoreError as problem:
            failure = _of_transport(operation, problem)
        except Exception as problem:  # noqa: BLE001 - botocore's parser fails in any way over what is no answer of IVS
            failure = _of_nonsense(operation, problem)
        else:
            self._observe(operation, "ok")
            return answer
        self._observe(operation, failure.ivs_code)
        raise failure from None

    def clock_offset_seconds(self, region: str) -> float | None:
        """How far this machine's clock is ahead of the `Date` that IVS put on its last answer there, to about a second;
        None before there was one."""
        return self._ahead.get(region)

    def _look_at_date(self, region: str, metadata: Mapping[str, Any]) -> None:
        with suppress(TypeError, ValueError):  # no date, or none that can be read
            date = parsedate_to_datetime(metadata.get("HTTPHeaders", {}).get("date"))
            self._ahead[region] = self._clock.now() - date.timestamp()

    def _client(self, region: str) -> Any:
        """boto3 clients may be shared by threads, but not be made by two at once."""
        with self._lock:
            if region not in self._clients:
                client = make_client("ivs", region)
                _require_kind(self._kind, str(client.meta.endpoint_url))
                self._clients[region] = client
                if len(self._clients) > CLIENTS_MAX:  # a thread that still uses it goes on with it
                    unused, _ = self._clients.popitem(last=False)
                    self._ahead.pop(unused, None)
            self._clients.move_to_end(region)
            return self._clients[region]


def _may_be_empty(shape: Any, metadata: Mapping[str, Any]) -> bool:
    """Whether an answer without any member of the shape is one of IVS.

    INFERRED: a batch of which nothing failed may leave `errors` out. What else answers 200 and nothing, a proxy say,
    has no request id of AWS.
    """
    members = shape.members if shape is not None else {}
    in_body = {name for name, member in members.items() if "location" not in member.serialization}
    return not members or (in_body == {"errors"} and "RequestId" in metadata)


@contextmanager
def _settled() -> Iterator[None]:
    """What boto3 says of profiles, files and endpoints that it cannot use is a fault of the settings."""
    try:
        yield
    except (boto.BotoCoreError, ValueError) as problem:
        errors = [FieldError("AWS_*", f"do not hold: {problem}")]
        raise SettingsError(errors, remedy=Remedy(Action.CORRECT_AWS_SETTINGS)) from None


def _require_kind(kind: str, endpoint: str) -> None:
    """The endpoint is boto3's to choose; that it fits what the store's keys live in is ours to see."""
    at_aws = _AWS_HOST.fullmatch(urlsplit(endpoint).hostname or "") is not None
    if at_aws != (kind == "aws"):
        raise SettingsError(
            [FieldError("control_plane", f"is {kind}, and boto3 would call {endpoint}")],
            remedy=Remedy(Action.UNSET_IVS_ENDPOINT if kind == "aws" else Action.SET_IVS_ENDPOINT),
        )


def _of_refusal(operation: str, refusal: boto.ClientError) -> ControlPlaneError:
    error = refusal.response.get("Error", {})
    metadata = refusal.response.get("ResponseMetadata", {})
    code, status = printable(str(error.get("Code", ""))), int(metadata.get("HTTPStatusCode", 0))
    words = printable(str(error.get("Message") or refusal.response.get("exceptionMessage") or "no message"))
    return ERROR_CLASSES.get(code, _by_status(status))(
        f"IVS answered {operation} with {code}: {words}",
        operation=operation,
        ivs_code=code,
        status=status,
        request_id=printable(str(metadata.get("RequestId", ""))),
    )


def _by_status(status: int) -> type[ControlPlaneError]:
    if status == 429:
        return ControlPlaneThrottled
    if status in (401, 403):
        return ControlPlaneDenied
    return ControlPlaneUnavailable if status >= 500 else ControlPlaneRejected


def _of_nonsense(operation: str, problem: Exception) -> ControlPlaneError:
    """Not of IVS: a proxy's page, or half an answer. The effect may or may not have happened."""
    words = f"what answered {operation} is not IVS, or was cut off"
    return ControlPlaneUnavailable(words, operation=operation, ivs_code="Unreadable", detail=type(problem).__name__)


def _of_transport(operation: str, problem: boto.BotoCoreError) -> ControlPlaneError:
    name = type(problem).__name__
    kind: type[ControlPlaneError] = ControlPlaneUnavailable
    if isinstance(problem, _CREDENTIAL_PROBLEMS):
        kind = ControlPlaneDenied
    elif isinstance(problem, boto.ParamValidationError | boto.NoRegionError):
        kind = ControlPlaneRejected
    return kind(
        f"IVS could not be asked for {operation}: {printable(str(problem))}", operation=operation, ivs_code=name
    )
