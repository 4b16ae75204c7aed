"""The request bodies of the management listener. Every invalid field is reported."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from tokensvc.aws.arn import parse_arn
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import RequestModel
from tokensvc.local_ivs.faults import ALL_OPERATIONS, Fault, FaultKind
from tokensvc.local_ivs.model import ApiModel
from tokensvc.validation_errors import field_errors

MAX_ADVANCE_SECONDS = 366 * 24 * 3600
"""Longer than IVS stores anything; more is surely a mistake."""
MAX_DELAY_SECONDS = 60
MAX_VIEWERS = 10_000_000
INGEST_SHAPE = "IngestConfigurations"
BATCH_REVOCATION = "BatchStartViewerSessionRevocation"

_M = TypeVar("_M", bound=BaseModel)


class AdvanceClockRequest(RequestModel):
    advance_seconds: float = Field(gt=0, le=MAX_ADVANCE_SECONDS, allow_inf_nan=False)


class StreamRequest(RequestModel):
    """A request about the stream of a channel."""

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
    """Parse a body. Raises InvalidRequest naming every invalid field."""
    try:
        return model.model_validate(body)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid)) from None


def read_ingest(model: ApiModel, value: dict[str, Any]) -> dict[str, Any]:
    """Validate tracks by IVS's service model. Raises InvalidRequest naming every invalid field."""
    ingest, violations = model.validate_shape(INGEST_SHAPE, value, "ingestConfigurations")
    if violations:
        raise InvalidRequest([FieldError(violation.path, violation.constraint) for violation in violations])
    validated: dict[str, Any] = ingest
    return validated


def read_fault(model: ApiModel, request: PlanFaultRequest) -> Fault:
    """The requested fault. Raises InvalidRequest naming every invalid field."""
    errors = []
    if request.operation != ALL_OPERATIONS and request.operation not in model.operations:
        errors.append(FieldError("operation", f"must be an operation of IVS or {ALL_OPERATIONS}"))
    if (request.kind is FaultKind.DELAY) != (request.delay_seconds is not None):
        errors.append(FieldError("delaySeconds", f"must be set for kind {FaultKind.DELAY} and for no other kind"))
    if request.kind is FaultKind.ENTRY_ERROR and request.operation not in (BATCH_REVOCATION, ALL_OPERATIONS):
        errors.append(FieldError("operation", f"must be {BATCH_REVOCATION} for kind {FaultKind.ENTRY_ERROR}"))
    if errors:
        raise InvalidRequest(errors)
    return Fault(
        request.kind, request.operation, request.rate, request.count, request.delay_seconds or 0.0, request.seed
    )
