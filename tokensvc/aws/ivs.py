"""Amazon IVS over boto3: one attempt per call, and every error converted to a ControlPlaneError.

Invariants
- boto3's own chain finds credentials, endpoint and profile; of AWS's variables only AWS_REGION is read here.
- One attempt (`total_max_attempts=1`), 2 s to connect, 5 s to read: all retries are made by the callers, which pace
  them.
- The endpoint must match the control plane setting: `aws` never calls a local IVS, and `local` never calls AWS.
- ERROR_CLASSES has every error code of the model. Other codes are classified by their HTTP status.
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
    ControlPlaneConflict,
    ControlPlaneDenied,
    ControlPlaneError,
    ControlPlaneQuotaExceeded,
    ControlPlaneRejected,
    ControlPlaneResourceMissing,
    ControlPlaneThrottled,
    ControlPlaneUnavailable,
    FieldError,
    Remedy,
    SettingsError,
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
    # returned by AWS before a request reaches the service (IVS API reference, "Common Errors")
    "ExpiredTokenException": ControlPlaneDenied,
    "IncompleteSignature": ControlPlaneDenied,
    "InvalidSignatureException": ControlPlaneDenied,
    "MissingAuthenticationTokenException": ControlPlaneDenied,
    "NotAuthorized": ControlPlaneDenied,
    "OptInRequired": ControlPlaneDenied,
    "UnrecognizedClientException": ControlPlaneDenied,
    "RequestTimeoutException": ControlPlaneUnavailable,
}

_CREDENTIAL_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.SSOError,
)

CLIENTS_MAX = 40
"""How many clients are cached, each about 0.4 MiB: more than there are AWS regions. Callers choose the regions; this
limits the memory if one of them takes a region from outside."""

_AWS_HOST = re.compile(r"[a-z0-9.-]+\.(amazonaws\.com|api\.aws)")

CallObserver = Callable[[str, str, float], None]
"""Called after each call with the operation, its result (`ok`, or the error code) and its time in seconds."""


def ignore_calls(_operation: str, _code: str, _seconds: float) -> None:
    """The observer of commands, whose calls are not counted."""


def default_region() -> str | None:
    """The region of boto3's own chain, or else AWS_REGION. AWS's containers and other SDKs use only that variable, and
    only boto3 does not read it. Raises SettingsError."""
    with _settings_errors():
        region: str | None = _session().region_name
    return region or os.environ.get("AWS_REGION")


@cache
def ivs_regions() -> frozenset[str]:
    """The regions that have IVS, according to the endpoint data of the installed botocore."""
    partitions = create_loader().load_data("endpoints")["partitions"]
    return frozenset(r for partition in partitions for r in partition["services"].get("ivs", {}).get("endpoints", {}))


def make_client(service: str, region: str) -> Any:
    """A boto3 client that makes one attempt per call. Raises SettingsError if boto3's configuration is unusable."""
    config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, max_pool_connections=8)
    with _settings_errors():
        return _session().client(service, region_name=region, config=config)


def _session() -> Session:
    """A session with boto3's present configuration. boto3 is imported here: most commands never need it."""
    import boto3
    import botocore.session

    session = botocore.session.get_session()
    session.register_component("data_loader", _data_loader(session.get_config_variable("data_path")))
    return boto3.session.Session(botocore_session=session)


@cache
def _data_loader(path: str | None) -> Loader:
    """botocore's model of AWS. Loaded once per process, because loading takes longer than a call."""
    return create_loader(path)


class AwsControlPlane:
    """Amazon IVS, or a local IVS at boto3's endpoint setting. `kind` is the one it must be: `aws` or `local`."""

    def __init__(self, kind: str, observe: CallObserver = ignore_calls, clock: Clock | None = None) -> None:
        self._kind = kind
        self._observe = observe
        self._clock = clock or SystemClock()
        self._clock_offsets: dict[str, float] = {}
        self._clients: OrderedDict[str, Any] = OrderedDict()
        """By region, the most recently used last."""
        self._lock = threading.Lock()

    def check(self, region: str) -> None:
        """Raises SettingsError if boto3's configuration is unusable, or its endpoint does not match the control plane
        setting. Makes no call."""
        self._client(region)

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        started_at = self._clock.monotonic()
        try:
            client = self._client(region)
            response: dict[str, Any] = getattr(client, xform_name(operation))(**request)
            metadata = response.pop("ResponseMetadata", {})
            self._record_clock_offset(region, metadata)
            shape = client.meta.service_model.operation_model(operation).output_shape
            if not response and not _may_be_empty(shape, metadata):
                raise ValueError("no modelled member")
        except SettingsError:
            raise
        except boto.ClientError as client_error:
            error = _from_client_error(operation, client_error)
        except boto.BotoCoreError as transport_error:
            error = _from_transport_error(operation, transport_error)
        except Exception as parse_error:  # noqa: BLE001 - botocore's parser may raise anything for a foreign response
            error = _from_parse_error(operation, parse_error)
        else:
            self._observe(operation, "ok", self._clock.monotonic() - started_at)
            return response
        self._observe(operation, error.ivs_code, self._clock.monotonic() - started_at)
        raise error from None

    def clock_offset_seconds(self, region: str) -> float | None:
        """How far this machine's clock was ahead of the `Date` header of the last response from this region, to about a
        second; None before the first response."""
        return self._clock_offsets.get(region)

    def _record_clock_offset(self, region: str, metadata: Mapping[str, Any]) -> None:
        with suppress(TypeError, ValueError):  # the date is missing or malformed
            date = parsedate_to_datetime(metadata.get("HTTPHeaders", {}).get("date"))
            self._clock_offsets[region] = self._clock.now() - date.timestamp()

    def _client(self, region: str) -> Any:
        """boto3 clients may be shared by threads, but two threads must not create clients at the same time."""
        with self._lock:
            if region not in self._clients:
                client = make_client("ivs", region)
                _require_kind(self._kind, str(client.meta.endpoint_url))
                self._clients[region] = client
                if len(self._clients) > CLIENTS_MAX:  # a thread that is using the client keeps its reference
                    unused, _ = self._clients.popitem(last=False)
                    self._clock_offsets.pop(unused, None)
            self._clients.move_to_end(region)
            return self._clients[region]


def _may_be_empty(shape: Any, metadata: Mapping[str, Any]) -> bool:
    """Whether IVS may return a response without any member of the shape.

    INFERRED: IVS may leave `errors` out of the response to a batch in which nothing failed. Its responses have an AWS
    request id, so an empty 200 without one comes from a proxy.
    """
    members = shape.members if shape is not None else {}
    in_body = {name for name, member in members.items() if "location" not in member.serialization}
    return not members or (in_body == {"errors"} and "RequestId" in metadata)


@contextmanager
def _settings_errors() -> Iterator[None]:
    """Convert boto3's exceptions about unusable profiles, files and endpoints to SettingsError."""
    try:
        yield
    except (boto.BotoCoreError, ValueError) as error:
        errors = [FieldError("AWS_*", f"cannot be used: {error}")]
        raise SettingsError(errors, remedy=Remedy(Action.CORRECT_AWS_SETTINGS)) from None


def _require_kind(kind: str, endpoint: str) -> None:
    """Raises SettingsError if the endpoint that boto3 has chosen does not match the control plane setting."""
    at_aws = _AWS_HOST.fullmatch(urlsplit(endpoint).hostname or "") is not None
    if at_aws != (kind == "aws"):
        raise SettingsError(
            [FieldError("control_plane", f"is {kind}, but boto3 is configured to call {endpoint}")],
            remedy=Remedy(Action.UNSET_IVS_ENDPOINT if kind == "aws" else Action.SET_IVS_ENDPOINT),
        )


def _from_client_error(operation: str, client_error: boto.ClientError) -> ControlPlaneError:
    error = client_error.response.get("Error", {})
    metadata = client_error.response.get("ResponseMetadata", {})
    code, status = printable(str(error.get("Code", ""))), int(metadata.get("HTTPStatusCode", 0))
    message = printable(str(error.get("Message") or client_error.response.get("exceptionMessage") or "no message"))
    return ERROR_CLASSES.get(code, _class_of_status(status))(
        f"IVS responded to {operation} with {code}: {message}",
        operation=operation,
        ivs_code=code,
        status=status,
        request_id=printable(str(metadata.get("RequestId", ""))),
    )


def _class_of_status(status: int) -> type[ControlPlaneError]:
    if status == 429:
        return ControlPlaneThrottled
    if status in (401, 403):
        return ControlPlaneDenied
    return ControlPlaneUnavailable if status >= 500 else ControlPlaneRejected


def _from_parse_error(operation: str, error: Exception) -> ControlPlaneError:
    """A response that is not from IVS, such as a proxy's page, or incomplete. The operation may have taken effect."""
    message = f"the response to {operation} is not from IVS, or is incomplete"
    return ControlPlaneUnavailable(message, operation=operation, ivs_code="Unreadable", detail=type(error).__name__)


def _from_transport_error(operation: str, error: boto.BotoCoreError) -> ControlPlaneError:
    error_class: type[ControlPlaneError] = ControlPlaneUnavailable
    if isinstance(error, _CREDENTIAL_ERRORS):
        error_class = ControlPlaneDenied
    elif isinstance(error, boto.ParamValidationError | boto.NoRegionError):
        error_class = ControlPlaneRejected
    message = f"the IVS call {operation} failed: {printable(str(error))}"
    return error_class(message, operation=operation, ivs_code=type(error).__name__)
