"""A load plan: which requests, how many per second, for how long. Read from TOML and validated before the run.

Rules of the file
- A plan that breaks a rule is refused whole, with each broken rule and the line it stands on.
- Rates are in requests a second, for the whole run and not for each process; durations are in seconds.
"""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmarks.load.pacer import Arrivals, Stage
from benchmarks.load.request_kinds import KINDS
from benchmarks.load.toml_positions import line_of

PLANS = Path(__file__).parent / "plans"
MAX_RATE = 10_000_000
WARMUP_SECONDS = 3
"""Of a plan that is made of a rate and a duration."""
_MAX_SECONDS = 604_800
_Rate = Annotated[float, Field(ge=0, le=MAX_RATE)]


class InvalidPlan(Exception):
    """A plan cannot be used: one line of text for each broken rule."""


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
        """The stage as the pacer wants it."""
        return Stage(self.seconds, self.rate[0] * scale, self.rate[1] * scale)


class RequestRow(_Part):
    """`[[request]]`: a kind, and its share among all."""

    kind: str
    weight: Annotated[float, Field(gt=0)] = 1
    batch_size: Annotated[int, Field(ge=1, le=500)] = 1
    """Of a batch: how many tokens at once."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"must be one of {', '.join(KINDS)}")
        return kind

    @field_validator("asks")
    @classmethod
    def _only_for_batches(cls, batch_size: int, info: Any) -> int:
        if batch_size > 1 and info.data.get("kind") in KINDS and not KINDS[info.data["kind"]].is_batch:
            raise ValueError(f"a {info.data['kind']} has one ask")
        return batch_size


class ActionRow(_Part):
    """`[[action]]`: a command that is run during the load, such as `tokensvc keys rotate`."""

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
    """Kept open for the whole run, of all processes together. A request that finds none free waits, and that counts."""
    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10
    """From the intended instant on; a request that has no answer then has failed."""
    warmup_seconds: Annotated[int, Field(ge=0)] = 0
    """The first seconds of the schedule are sent but not counted."""
    arrivals: Arrivals = "poisson"
    seed: int = 1
    samples: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Tokens that are kept and verified."""
    stage: tuple[StageRow, ...]
    request: tuple[RequestRow, ...]
    action: tuple[ActionRow, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the schedule is, warm-up included."""
        return sum(stage.seconds for stage in self.stage)

    @field_validator("request")
    @classmethod
    def _not_empty(cls, requests: tuple[RequestRow, ...]) -> tuple[RequestRow, ...]:
        if not requests:
            raise ValueError("must hold at least one kind of request")
        return requests

    @field_validator("stage")
    @classmethod
    def _has_a_rate(cls, stages: tuple[StageRow, ...]) -> tuple[StageRow, ...]:
        if not any(stage.scaled(1).requests for stage in stages):
            raise ValueError("must hold at least one stage with a rate above 0")
        return stages

    @model_validator(mode="after")
    def _within_the_schedule(self) -> Self:
        if self.warmup_seconds >= self.seconds:
            raise _RuleViolation(("warmup_seconds",), f"must be shorter than all stages together, {self.seconds:g}")
        for number, action in enumerate(self.action):
            if action.at_seconds >= self.seconds:
                raise _RuleViolation(("action", number, "at_seconds"), f"must be before the end, {self.seconds:g}")
        return self


class _RuleViolation(Exception):
    """A value that only the whole plan shows to be wrong."""

    def __init__(self, path: tuple[str | int, ...], rule: str) -> None:
        super().__init__(rule)
        self.path = path


def steady(rate: float, seconds: float) -> Plan:
    """Single tokens at one rate, counted for so many seconds after the warm-up. Raises BadPlan."""
    if seconds > _MAX_SECONDS - WARMUP_SECONDS:
        raise InvalidPlan(f"--duration: must be {_MAX_SECONDS - WARMUP_SECONDS:,} seconds at most")
    return Plan.model_validate(
        {
            "title": "single tokens",
            "warmup_seconds": WARMUP_SECONDS,
            "stage": [{"seconds": seconds + WARMUP_SECONDS, "rate": rate}],
            "request": [{"kind": "token"}],
        }
    )


def find(name: str) -> Path:
    """The file of a plan: one of ours by its name, or a path."""
    path = PLANS / f"{name}.toml" if "/" not in name and not name.endswith(".toml") else Path(name)
    if not path.is_file():
        ours = ", ".join(sorted(plan.stem for plan in PLANS.glob("*.toml")))
        raise InvalidPlan(f"there is no plan {path}; ours are {ours}")
    return path


def read(path: Path) -> Plan:
    """The plan in a file. Raises BadPlan with file, line and rule of everything that is wrong."""
    return parse(path.read_text("utf-8"), str(path))


def parse(text: str, name: str) -> Plan:
    """The plan that a text holds; `name` stands in what a refusal says."""
    try:
        return Plan.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as broken:
        raise InvalidPlan(f"{name}: {broken}") from None
    except _RuleViolation as wrong:
        raise InvalidPlan(_message(text, name, wrong.path, str(wrong))) from None
    except ValidationError as wrong:
        errors = [(error["loc"], error["msg"].removeprefix("Value error, ")) for error in wrong.errors()]
        raise InvalidPlan("\n".join(_message(text, name, path, rule) for path, rule in errors)) from None


def _message(text: str, name: str, path: tuple[str | int, ...], rule: str) -> str:
    return f"{name}:{line_of(text, path)}: {'.'.join(map(str, path))}: {rule}"
