"""A load plan: which requests, how many per second, for how long. Read from TOML and validated before the run.

Invariants
- A plan that breaks a rule is rejected, with the line of each broken rule.
- Rates are in requests per second for the whole run, not per process; durations are in seconds.
"""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmarks.load.pacer import Arrivals, Stage
from benchmarks.load.request_kinds import KINDS
from tokensvc.toml_positions import line_of

PLANS = Path(__file__).parent / "plans"
MAX_RATE = 10_000_000
WARMUP_SECONDS = 3
"""The warm-up of a plan made from --rate and --duration."""
_MAX_SECONDS = 604_800
_Rate = Annotated[float, Field(ge=0, le=MAX_RATE)]


class InvalidPlan(Exception):
    """A plan is invalid; the message has one line for each broken rule."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class StageRow(_Part):
    """`[[stage]]`: a steady rate, or `[from, to]`."""

    seconds: Annotated[float, Field(gt=0, le=_MAX_SECONDS)]
    rate: tuple[_Rate, _Rate]

    @field_validator("rate", mode="before")
    @classmethod
    def _one_or_two(cls, rate: Any) -> Any:
        if isinstance(rate, int | float):
            return (rate, rate)
        if not isinstance(rate, list) or len(rate) != 2:
            raise ValueError("must be a rate, or [from, to]")
        return rate

    def scaled(self, scale: float) -> Stage:
        """The stage for the pacer, with its rates multiplied by the scale."""
        return Stage(self.seconds, self.rate[0] * scale, self.rate[1] * scale)


class RequestRow(_Part):
    """`[[request]]`: a kind of request and its weight."""

    kind: str
    weight: Annotated[float, Field(gt=0)] = 1
    batch_size: Annotated[int, Field(ge=1, le=500)] = 1
    """Token requests per batch; 1 for other kinds."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"must be one of {', '.join(KINDS)}")
        return kind

    @field_validator("batch_size")
    @classmethod
    def _only_for_batches(cls, batch_size: int, info: Any) -> int:
        if batch_size > 1 and info.data.get("kind") in KINDS and not KINDS[info.data["kind"]].is_batch:
            raise ValueError(f"must be 1 for the kind {info.data['kind']}")
        return batch_size


class ActionRow(_Part):
    """`[[action]]`: a command to run during the load, such as `tokensvc keys rotate`."""

    at_seconds: Annotated[float, Field(ge=0)]
    command: Annotated[str, Field(min_length=1)]

    @field_validator("command")
    @classmethod
    def _can_be_split(cls, command: str) -> str:
        shlex.split(command)
        return command


class Plan(_Part):
    """A whole plan."""

    title: str
    connections: Annotated[int, Field(ge=1, le=50_000)] = 64
    """Keep-alive connections of all processes together. Latency includes waiting for a free one."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10
    """From the intended send time; a request without a response by then has failed."""
    warmup_seconds: Annotated[int, Field(ge=0)] = 0
    """The requests of the first seconds are sent but not counted."""
    arrivals: Arrivals = "poisson"
    seed: int = 1
    samples: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Number of tokens to sample and verify."""
    stage: tuple[StageRow, ...]
    request: tuple[RequestRow, ...]
    action: tuple[ActionRow, ...] = ()

    @property
    def seconds(self) -> float:
        """The length of the schedule, including the warm-up."""
        return sum(stage.seconds for stage in self.stage)

    @field_validator("request")
    @classmethod
    def _not_empty(cls, requests: tuple[RequestRow, ...]) -> tuple[RequestRow, ...]:
        if not requests:
            raise ValueError("must have at least one kind of request")
        return requests

    @field_validator("stage")
    @classmethod
    def _has_a_rate(cls, stages: tuple[StageRow, ...]) -> tuple[StageRow, ...]:
        if not any(stage.scaled(1).requests for stage in stages):
            raise ValueError("must have at least one stage with a rate above 0")
        return stages

    @model_validator(mode="after")
    def _within_the_schedule(self) -> Self:
        if self.warmup_seconds >= self.seconds:
            raise _RuleViolation(("warmup_seconds",), f"must be shorter than all stages together ({self.seconds:g} s)")
        for number, action in enumerate(self.action):
            if action.at_seconds >= self.seconds:
                raise _RuleViolation(("action", number, "at_seconds"), f"must be before the end ({self.seconds:g} s)")
        return self


class _RuleViolation(Exception):
    """A value is invalid in the context of the whole plan."""

    def __init__(self, path: tuple[str | int, ...], rule: str) -> None:
        super().__init__(rule)
        self.path = path


def steady(rate: float, seconds: float) -> Plan:
    """A plan with single tokens at one rate, counted for `seconds` after the warm-up. Raises InvalidPlan."""
    if seconds > _MAX_SECONDS - WARMUP_SECONDS:
        raise InvalidPlan(f"--duration: must be at most {_MAX_SECONDS - WARMUP_SECONDS:,} seconds")
    return Plan.model_validate(
        {
            "title": "single tokens",
            "warmup_seconds": WARMUP_SECONDS,
            "stage": [{"seconds": seconds + WARMUP_SECONDS, "rate": rate}],
            "request": [{"kind": "token"}],
        }
    )


def find(name: str) -> Path:
    """The file of a plan, given as the name of a built-in one or as a path. Raises InvalidPlan."""
    path = PLANS / f"{name}.toml" if "/" not in name and not name.endswith(".toml") else Path(name)
    if not path.is_file():
        names = ", ".join(sorted(plan.stem for plan in PLANS.glob("*.toml")))
        raise InvalidPlan(f"plan {path} does not exist; the built-in plans are {names}")
    return path


def read(path: Path) -> Plan:
    """Read the plan in a file. Raises InvalidPlan with file, line and rule of each error."""
    return parse(path.read_text("utf-8"), str(path))


def parse(text: str, name: str) -> Plan:
    """Parse a plan; `name` is the file name in error messages. Raises InvalidPlan."""
    try:
        return Plan.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidPlan(f"{name}: {error}") from None
    except _RuleViolation as violation:
        raise InvalidPlan(_message(text, name, violation.path, str(violation))) from None
    except ValidationError as invalid:
        errors = [(error["loc"], error["msg"].removeprefix("Value error, ")) for error in invalid.errors()]
        raise InvalidPlan("\n".join(_message(text, name, path, rule) for path, rule in errors)) from None


def _message(text: str, name: str, path: tuple[str | int, ...], rule: str) -> str:
    return f"{name}:{line_of(text, path)}: {'.'.join(map(str, path))}: {rule}"
