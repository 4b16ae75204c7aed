"""From a cold start to the first token: `python -m benchmarks.start [--json]`.

Rules of the file
- A start counts from the process's birth to the first answer that is a success; who asks tries again every 5 ms.
- The bare app is beside it: what it takes is Python, uvicorn and AWS-LC, which nobody can do without.
- Cold means a new process. The files are in the machine's memory after the first, uncounted round, as on a restart.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import rounds as turns
from benchmarks import servers
from benchmarks.report import report

ROUNDS = 7
AGAIN_SECONDS = 0.005
GIVE_UP_SECONDS = 60.0


class Start(NamedTuple):
    """One start."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        environ, api_key = servers.furnished(Path(name))
        serve = [sys.executable, "-m", "tokensvc", "serve"]
        bare_port = servers.free_port()
        bare = [sys.executable, "-m", "uvicorn", "benchmarks.peers.bare:app", "--port", str(bare_port)]
        bare += ["--no-access-log", "--log-level", "warning"]
        ask = urllib.request.Request(
            f"http://127.0.0.1:{environ['TOKENSVC_PORT']}/v1/tokens",
            json.dumps({"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"}).encode(),
            {"authorization": f"Bearer {api_key}"},
        )
        plain = urllib.request.Request(f"http://127.0.0.1:{bare_port}/", b"{}")
        contest = {"ours": partial(_start, serve, environ, ask), "bare": partial(_start, bare, dict(os.environ), plain)}
        turns.by_turns(contest, 1)
        rounds = turns.by_turns(contest, ROUNDS)
    seconds = {name: [one.seconds for one in taken] for name, taken in rounds.items()}
    cpu = {name: [one.cpu_seconds for one in taken] for name, taken in rounds.items()}
    ratios = {
        "start to first token, ours / bare app that only signs": turns.ratio(seconds["ours"], seconds["bare"]),
        "CPU until then, ours / bare app that only signs": turns.ratio(cpu["ours"], cpu["bare"]),
    }
    figures = {
        "ours, milliseconds": median(seconds["ours"]) * 1000,
        "bare, milliseconds": median(seconds["bare"]) * 1000,
        "ours, CPU milliseconds": median(cpu["ours"]) * 1000,
        "bare, CPU milliseconds": median(cpu["bare"]) * 1000,
    }
    report("from a cold start to the first token", ratios, figures, {})


def _start(command: Sequence[str], environ: Mapping[str, str], ask: urllib.request.Request) -> Start:
    began = time.monotonic()
    with servers.running(list(command), dict(environ), None) as pid:
        while time.monotonic() - began < GIVE_UP_SECONDS:
            try:
                with urllib.request.urlopen(ask, timeout=5) as answer:
                    if answer.status in (200, 201):
                        return Start(time.monotonic() - began, servers.cpu_seconds(pid))
            except urllib.error.HTTPError as refusal:
                raise SystemExit(f"{ask.full_url} answered {refusal.code}") from None
            except OSError:
                time.sleep(AGAIN_SECONDS)
    raise SystemExit(f"{ask.full_url} did not answer")


if __name__ == "__main__":
    main()
