"""What the management listener may be asked: the body of each route, checked whole, every bad field named."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from tokensvc.aws.arn import parse_arn
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import RequestModel
from tokensvc.local_ivs.faults import ALL_OPERATIONS, Fault, FaultKind
from tokensvc.local_ivs.model import ServiceModel
from tokensvc.validation_errors import field_errors

MAX_ADVANCE_SECONDS = 366 * 24 * 3600
"""Enough for everything that IVS remembers; more is surely a slip."""
MAX_DELAY_SECONDS = 60
MAX_VIEWERS = 10_000_000
INGEST_SHAPE = "IngestConfigurations"
BATCH_REVOCATION = "BatchStartViewerSessionRevocation"

_M = TypeVar("_M", bound=BaseModel)


class AdvanceClockRequest(RequestModel):
    advance_seconds: float = Field(gt=0, le=MAX_ADVANCE_SECONDS, allow_inf_nan=False)


class StreamRequest(RequestModel):
    """Every step of a stream says on which channel."""

    channel_arn: str

    @field_validator("channel_arn")
    @classmethod
    def _is_a_channel(cls, value: str) -> str:
        return str(parse_arn(value, "channel"))


class StartStreamRequest(StreamRequest):
    ingest_configurations: dict[str, Any] | None = None


class SetIngestRequest(StreamRequest):
    ingest_configurations: dict[str, Any]


class SetHealthRequest(StreamRequest):
    health: Literal["HEALTHY", "STARVING", "UNKNOWN"]


class SetViewersRequest(StreamRequest):
    count: int = Field(ge=0, le=MAX_VIEWERS)


class PlanFaultRequest(RequestModel):
    kind: Annotated[FaultKind, Field(strict=False)]
    operation: str = ALL_OPERATIONS
    rate: float = Field(1.0, ge=0, le=1, allow_inf_nan=False)
    count: int | None = Field(None, ge=1)
    delay_seconds: float | None = Field(None, gt=0, le=MAX_DELAY_SECONDS, allow_inf_nan=False)
    seed: int = 0


def read_as(model: type[_M], body: dict[str, Any]) -> _M:
    """The body as this model. Raises InvalidRequest naming every bad field."""
    try:
        return model.model_validate(body)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid)) from None


def read_ingest(model: ServiceModel, value: dict[str, Any]) -> dict[str, Any]:
    """Tracks as IVS's own model has them. Raises InvalidRequest naming every bad field."""
    ingest, report = model.read_shape(INGEST_SHAPE, value, "ingestConfigurations")
    if report:
        raise InvalidRequest([FieldError(violation.path, violation.constraint) for violation in report])
    checked: dict[str, Any] = ingest
    return checked


def read_fault(model: ServiceModel, ask: PlanFaultRequest) -> Fault:
    """A fault that makes sense. Raises InvalidRequest."""
    errors = []
    if ask.operation != ALL_OPERATIONS and ask.operation not in model.operations:
        errors.append(FieldError("operation", f"must be an operation of IVS, or {ALL_OPERATIONS}"))
    if (ask.kind is FaultKind.DELAY) != (ask.delay_seconds is not None):
        errors.append(FieldError("delaySeconds", f"must be given for kind {FaultKind.DELAY}, and for no other"))
    if ask.kind is FaultKind.ENTRY_ERROR and ask.operation not in (BATCH_REVOCATION, ALL_OPERATIONS):
        errors.append(FieldError("operation", f"must be {BATCH_REVOCATION} for kind {FaultKind.ENTRY_ERROR}"))
    if errors:
        raise InvalidRequest(errors)
    return Fault(ask.kind, ask.operation, ask.rate, ask.count, ask.delay_seconds or 0.0, ask.seed)
