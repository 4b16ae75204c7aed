"""Runs wrk with a script and parses its output."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.servers import LOAD_CORE


class Run(NamedTuple):
    """The result of one run of wrk."""

    per_second: float
    failed: int
    requests: int


def require() -> None:
    """Raises SystemExit with the remedy if wrk is not installed."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; `make system-packages` installs it (Debian)")


def script(folder: Path, name: str, body: object, headers: dict[str, str]) -> Path:
    """Write a wrk script that posts this body."""
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{json.dumps(body)}]==]"]
    lines += [f'wrk.headers["{key}"] = "{value}"' for key, value in headers.items()]
    path = folder / f"{name}.lua"
    path.write_text("\n".join(lines))
    return path


class Post(NamedTuple):
    """One request."""

    path: str
    body: str
    headers: dict[str, str]


def trace_header(number: int) -> dict[str, str]:
    """The header of a client with tracing, different for each number (W3C Trace Context)."""
    return {"traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01"}


def sequence_script(folder: Path, name: str, posts: list[Post]) -> Path:
    """Write a wrk script that sends these requests one after another, repeatedly."""
    lines = ["requests, position = {}, 0", "init = function()"]
    for number, post in enumerate(posts, 1):
        headers = ", ".join(f'["{key}"] = [==[{value}]==]' for key, value in post.headers.items())
        lines.append(f'requests[{number}] = wrk.format("POST", "{post.path}", {{{headers}}}, [==[{post.body}]==])')
    lines += [
        "end",
        "request = function()",
        f"position = position % {len(posts)} + 1",
        "return requests[position]",
        "end",
    ]
    path = folder / f"{name}.lua"
    path.write_text("\n".join(lines))
    return path


def run(script_path: Path, url: str, *, seconds: int, connections: int) -> Run:
    """Load the URL from the other core for `seconds`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script_path), url]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CORE}),
    )
    return parse(done.stdout)


def parse(output: str) -> Run:
    """Parse wrk's output. A missing response counts as a failure too. Raises SystemExit on any other output."""
    rejected = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", output)
    requests = re.search(r"(\d+) requests in", output)
    if per_second is None or requests is None:
        raise SystemExit(f"unexpected output of wrk:\n{output}")
    failed = (int(rejected[1]) if rejected else 0) + (sum(map(int, lost.groups())) if lost else 0)
    return Run(float(per_second[1]), failed, int(requests[1]))
