"""The request bodies and query parameters of the management listener. Every invalid field is reported."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from tokensvc.aws.arn import parse_arn
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import RequestModel
from tokensvc.local_ivs.edge.sessions import SESSION_ID_CHARS
from tokensvc.local_ivs.faults import ALL_OPERATIONS, Fault, FaultKind
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.session_store import SessionPosition
from tokensvc.pagination import PageQuery, PageTokens

MAX_ADVANCE_SECONDS = 366 * 24 * 3600
"""Longer than IVS stores anything; more is surely a mistake."""
MAX_DELAY_SECONDS = 60
MAX_VIEWERS = 10_000_000
SESSIONS_PAGE_SIZE, MAX_SESSIONS_PAGE_SIZE = 100, 1000
INGEST_SHAPE = "IngestConfigurations"
BATCH_REVOCATION = "BatchStartViewerSessionRevocation"

ChannelArn = Annotated[str, AfterValidator(lambda text: str(parse_arn(text, "channel")))]


class AdvanceClockRequest(RequestModel):
    """By how much to advance the clock."""

    advance_seconds: float = Field(
        gt=0, le=MAX_ADVANCE_SECONDS, allow_inf_nan=False, description="By how much to advance the clock"
    )


class StreamRequest(RequestModel):
    """A request about the stream of a channel."""

    channel_arn: ChannelArn = Field(description="The channel; its ARN names account and region")


class StartStreamRequest(StreamRequest):
    """The stream to start."""

    ingest_configurations: dict[str, Any] | None = Field(
        None,
        description="The encoder's tracks, as IVS's `IngestConfigurations`. Default: one video track of 852 by 480 at "
        "30 frames a second, and one audio track",
    )


class SetIngestRequest(StreamRequest):
    """What the encoder sends from now on."""

    ingest_configurations: dict[str, Any] = Field(description="The encoder's tracks, as IVS's `IngestConfigurations`")


class SetHealthRequest(StreamRequest):
    """The health of a stream."""

    health: Literal["HEALTHY", "STARVING", "UNKNOWN"] = Field(description="The stream's health from now on")


class SetViewersRequest(StreamRequest):
    """The viewers of a stream."""

    count: int = Field(
        ge=0,
        le=MAX_VIEWERS,
        description="A number of viewers, in addition to the sessions at the edge",
    )


class ListSessionsQuery(PageQuery):
    """Which sessions to list, as query parameters. The position of an entry is when it started, and its id."""

    page_tokens: ClassVar[PageTokens] = PageTokens(
        "sessions", rf"([0-9]{{1,12}}\.[0-9]{{1,9}})-([A-Za-z0-9]{{{SESSION_ID_CHARS}}})"
    )

    channel_arn: ChannelArn | None = None
    max_results: int = Field(SESSIONS_PAGE_SIZE, ge=1, le=MAX_SESSIONS_PAGE_SIZE)

    @property
    def after(self) -> SessionPosition | None:
        """The position after which the page starts; None for the first page."""
        if self.position is None:
            return None
        started_at, session_id = self.position
        return SessionPosition(float(started_at), session_id)


class PlanFaultRequest(RequestModel):
    """A fault to inject."""

    kind: Annotated[FaultKind, Field(strict=False)] = Field(description="What goes wrong, see below")
    operation: str = Field(ALL_OPERATIONS, description="An operation of IVS, or `*` for all")
    rate: float = Field(1.0, ge=0, le=1, allow_inf_nan=False, description="The share of calls that are affected")
    count: int | None = Field(
        None, ge=1, description="After how many affected calls the fault ends. Default: it does not end"
    )
    delay_seconds: float | None = Field(
        None,
        gt=0,
        le=MAX_DELAY_SECONDS,
        allow_inf_nan=False,
        description="How late the response is; required for the kind `delay`, and for no other",
    )
    seed: int = Field(0, description="The seed of the random choice: the same seed affects the same calls")


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
