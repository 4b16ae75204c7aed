"""What a run leaves: a file of JSON lines, each of one type.

Rules of the file
- Lines add up: the records of several processes or machines are their lines one after another, so `cat` merges too.
- The file holds sampled tokens and is readable by its owner alone. It never holds an API key.
- A file is read whole or refused with the number of its first bad line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from benchmarks.load.limits import Limits


class InvalidRecords(Exception):
    """A file holds something else than records, or records that do not belong together."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StageRecord(BaseModel):
    """A stage as it was sent, its rates multiplied by the scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    from_rate: float
    to_rate: float


class Run(_Line):
    """Begins the lines of one machine."""

    type: Literal["run"] = "run"
    plan: str
    digest: str
    """Of the plan and its scale: only runs of the same plan add up."""
    seconds: float
    """Of the schedule, warm-up included; shorter than the plan's where the run was interrupted."""
    warmup_seconds: int
    interrupted: bool
    share: str
    """Which part of the schedule this machine sent, as 1/1."""
    url: str
    started_at: datetime
    machine: dict[str, Any]
    title: str = ""
    """The plan's."""
    scale: float = 1.0
    stages: tuple[StageRecord, ...] = ()
    """Of the whole plan, all machines together."""
    limits: Limits = Limits()
    failures: tuple[str, ...] = ()
    """What went wrong on this machine besides requests: a target that was not there, a generator that died."""


class SecondRecord(_Line):
    """One second of one generator; see `tally.Second`."""

    type: Literal["second"] = "second"
    number: int
    sent: int
    failed: int
    completed: int
    tokens: int
    latencies: dict[int, int]
    errors: dict[str, int] = {}


class KindRecord(_Line):
    """All latencies of one kind of request that one generator saw, and how many of the requests succeeded."""

    type: Literal["kind"] = "kind"
    name: str
    latencies: dict[int, int]
    succeeded: int = 0


class Generator(_Line):
    """How one generator process did itself."""

    type: Literal["generator"] = "generator"
    number: int
    lateness: dict[int, int]
    waited: int
    cpu_seconds: float
    wall_seconds: float
    abandoned: int = 0
    """Requests in flight that a second interrupt left without an answer: neither a success nor an error."""


class Errors(_Line):
    """Failures by their code, of one generator."""

    type: Literal["errors"] = "errors"
    counts: dict[str, int]


class Sample(_Line):
    """A token, its request, and when it was received (seconds since the epoch)."""

    type: Literal["sample"] = "sample"
    token: str
    channel_arn: str
    viewer_id: str
    received_at: float


class Keys(_Line):
    """The public keys that the service published during the run, as JWKs."""

    type: Literal["keys"] = "keys"
    keys: list[dict[str, Any]]


class Reading(_Line):
    """The server's processes at a second of the run: CPU time used so far, and resident memory."""

    type: Literal["reading"] = "reading"
    server: str
    """Machine and process: two generators beside one server read the same."""
    second: int
    cpu_seconds: float
    rss_bytes: int
    processes: int
    """Alive at that second."""
    ended: int = 0
    """Seen before and ended since; their CPU time is in the sum."""


class ActionResult(_Line):
    """A command that was run during the load, and how it ended."""

    type: Literal["action"] = "action"
    command: str
    at_seconds: float
    took_seconds: float
    exit_code: int


Line = Run | SecondRecord | KindRecord | Generator | Errors | Sample | Keys | Reading | ActionResult
_ANY: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write a new file, 0600. Raises FileExistsError rather than overwrite one."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(line.model_dump_json() + "\n" for line in lines)


def read(path: Path) -> list[Line]:
    """All lines of a file. Raises BadRecords with the file and the line."""
    lines: list[Line] = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            lines.append(_ANY.validate_json(text))
        except ValidationError as wrong:
            raise InvalidRecords(f"{path}:{number}: {wrong.errors()[0]['msg']}") from None
    return lines
