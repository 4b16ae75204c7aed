"""The records of a run: a file of JSON lines, each of one type.

Invariants
- Lines can be concatenated: the records of several processes or machines are their lines in any order after the run
  line, so `cat` merges too.
- The file contains sampled tokens and is readable by its owner alone. It never contains an API key.
- A file is read completely or rejected with the number of its first invalid line.
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
    """A file does not contain records, or records that cannot be merged."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StageRecord(BaseModel):
    """A stage as it was sent, its rates multiplied by the scale."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float
    from_rate: float
    to_rate: float


class Run(_Line):
    """The first line of one machine."""

    type: Literal["run"] = "run"
    plan: str
    digest: str
    """Hash of the plan and its scale: only runs of the same plan can be merged."""
    seconds: float
    """Length of the schedule including the warm-up; shorter than the plan's if the run was interrupted."""
    warmup_seconds: int
    interrupted: bool
    share: str
    """The part of the schedule that this machine sent, such as 1/1."""
    url: str
    started_at: datetime
    machine: dict[str, Any]
    title: str = ""
    """The title of the plan."""
    scale: float = 1.0
    stages: tuple[StageRecord, ...] = ()
    """The stages of the whole plan, for all machines together."""
    limits: Limits = Limits()
    failures: tuple[str, ...] = ()
    """Failures on this machine other than of requests: an unreachable target, a generator that died."""


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
    """All latencies of one kind of request at one generator, and how many of the requests succeeded."""

    type: Literal["kind"] = "kind"
    name: str
    latencies: dict[int, int]
    succeeded: int = 0


class Generator(_Line):
    """The scheduling delays and resource usage of one generator process."""

    type: Literal["generator"] = "generator"
    number: int
    scheduling_delays: dict[int, int]
    waited: int
    cpu_seconds: float
    wall_seconds: float
    abandoned: int = 0
    """Requests in flight at the second interrupt: neither a success nor an error."""


class Errors(_Line):
    """Failures of one generator by code."""

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
    """Machine and process id; several generators on one machine read the same server."""
    second: int
    cpu_seconds: float
    rss_bytes: int
    processes: int
    """Running processes at that second."""
    ended: int = 0
    """Processes that were seen before and have ended; their CPU time is included."""


class ActionResult(_Line):
    """The result of a command that was run during the load."""

    type: Literal["action"] = "action"
    command: str
    at_seconds: float
    took_seconds: float
    exit_code: int


Line = Run | SecondRecord | KindRecord | Generator | Errors | Sample | Keys | Reading | ActionResult
_ANY: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write a new file with mode 0600. Raises FileExistsError if it exists."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(line.model_dump_json() + "\n" for line in lines)


def read(path: Path) -> list[Line]:
    """All lines of a file. Raises InvalidRecords with the file and the line."""
    lines: list[Line] = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            lines.append(_ANY.validate_json(text))
        except ValidationError as invalid:
            raise InvalidRecords(f"{path}:{number}: {invalid.errors()[0]['msg']}") from None
    return lines
