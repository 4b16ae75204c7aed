"""From a cold start to the first token: `python -m benchmarks.start [--json]`.

Invariants
- A start counts from the creation of the process to the first successful response; the client retries every 5 ms.
- It is compared with the bare app, whose start is that of Python, uvicorn and AWS-LC, which every server here needs.
- Cold means a new process. The files are in the page cache after a first uncounted round, as on a restart.
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

from benchmarks import rounds, servers
from benchmarks.report import report

ROUNDS = 7
RETRY_SECONDS = 0.005
TIMEOUT_SECONDS = 60.0


class Start(NamedTuple):
    """The duration and CPU time of one start."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        environ, api_key = servers.create_deployment(Path(name))
        serve = [sys.executable, "-m", "tokensvc", "serve"]
        bare_port = servers.free_port()
        bare = [sys.executable, "-m", "uvicorn", "benchmarks.peers.bare:app", "--port", str(bare_port)]
        bare += ["--no-access-log", "--log-level", "warning"]
        token_request = urllib.request.Request(
            f"http://127.0.0.1:{environ['TOKENSVC_PORT']}/v1/tokens",
            json.dumps({"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"}).encode(),
            {"authorization": f"Bearer {api_key}"},
        )
        plain = urllib.request.Request(f"http://127.0.0.1:{bare_port}/", b"{}")
        measurements = {
            "tokensvc": partial(_start, serve, environ, token_request),
            "bare": partial(_start, bare, dict(os.environ), plain),
        }
        rounds.interleave(measurements, 1)
        results = rounds.interleave(measurements, ROUNDS)
    seconds = {name: [one.seconds for one in starts] for name, starts in results.items()}
    cpu = {name: [one.cpu_seconds for one in starts] for name, starts in results.items()}
    ratios = {
        "start to first token, tokensvc / bare app that only signs": rounds.ratio(seconds["tokensvc"], seconds["bare"]),
        "CPU time until then, tokensvc / bare app that only signs": rounds.ratio(cpu["tokensvc"], cpu["bare"]),
    }
    figures = {
        "tokensvc, milliseconds": median(seconds["tokensvc"]) * 1000,
        "bare, milliseconds": median(seconds["bare"]) * 1000,
        "tokensvc, CPU milliseconds": median(cpu["tokensvc"]) * 1000,
        "bare, CPU milliseconds": median(cpu["bare"]) * 1000,
    }
    report("from a cold start to the first token", ratios, figures, {})


def _start(command: Sequence[str], environ: Mapping[str, str], token_request: urllib.request.Request) -> Start:
    started = time.monotonic()
    with servers.run_process(list(command), dict(environ), None) as pid:
        while time.monotonic() - started < TIMEOUT_SECONDS:
            try:
                with urllib.request.urlopen(token_request, timeout=5) as response:
                    if response.status in (200, 201):
                        return Start(time.monotonic() - started, servers.cpu_seconds(pid))
            except urllib.error.HTTPError as error:
                raise SystemExit(f"{token_request.full_url} responded with {error.code}") from None
            except OSError:
                time.sleep(RETRY_SECONDS)
    raise SystemExit(f"{token_request.full_url} did not respond within {TIMEOUT_SECONDS:.0f} seconds")


if __name__ == "__main__":
    main()
