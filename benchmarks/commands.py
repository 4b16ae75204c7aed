"""How long short commands take: `python -m benchmarks.commands [--json] [--python PYTHON]`.

Invariants
- A command is compared with `python -c pass` of the same Python in the same round, by CPU time. On a quiet machine
  that is the time that it takes: beyond the interpreter, loading libraries and work.
- `--python` is that of an environment into which a wheel was installed; the default is the one that runs this.
- The commands act on a demo in a process of its own, on the other core if there are two.
- `tests/cli/test_imports.py` says which libraries a command may load, on any machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import rounds, servers
from benchmarks.report import report

ROUNDS = 3
MAX_RATIO = 25
STARTS_WITHIN_SECONDS = 60.0
COMMANDS = {
    "--version": 0,
    "--help": 0,
    "keys --help": 0,
    "serve --help": 0,
    "demo --help": 0,
    "health": 0,
    "settings": 0,
    "settings --example": 0,
    "db upgrade": 0,
    "callers list": 0,
    "callers show demo": 0,
    "keys list": 0,
    "keys show {key}": 0,
    "keys public {key}": 0,
    "tokens issue --channel {channel} --viewer ada": 0,
    "tokens explain e30.e30.e30": 4,
    "revocations add --channel {channel} --viewer bob": 0,
    "revocations list": 0,
    "denials add --channel {channel} --viewer eve --deny-for 1m": 0,
    "denials list": 0,
    "audit list": 0,
    "keys list --ivs": 0,
    "doctor": 0,
}
"""Every kind of short command, and the exit code that it has. The last two call IVS."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--python", default=sys.executable)
    python = parser.parse_args().python
    with tempfile.TemporaryDirectory() as name, _demo(python, Path(name)) as environ:
        key = _output([python, "-m", "tokensvc", "keys", "list", "--json"], environ)
        words = {"key": json.loads(key)["keys"][0]["id"], "channel": environ["CHANNEL"]}
        measurements = {"pass": partial(_cpu_seconds, [python, "-c", "pass"], environ, 0)}
        for line, code in COMMANDS.items():
            command = [python, "-m", "tokensvc", *line.format(**words).split()]
            measurements[line] = partial(_cpu_seconds, command, environ, code)
        rounds.interleave(measurements, 1)
        results = rounds.interleave(measurements, ROUNDS)
    ratios = {line: rounds.ratio(results[line], results["pass"]) for line in COMMANDS}
    figures = {f"{line}, CPU milliseconds": min(seconds) * 1000 for line, seconds in results.items()}
    report("short commands / python -c pass", ratios, figures, dict.fromkeys(ratios, MAX_RATIO), target_label="at most")


@contextmanager
def _demo(python: str, folder: Path) -> Iterator[Mapping[str, str]]:
    """A running demo; yields the environment of a shell that acts on it."""
    command = [
        "/bin/sh",
        "-c",
        f'cd "$1" && exec "{python}" -m tokensvc demo --port 0 --no-rate-limits',
        "sh",
        str(folder),
    ]
    with (folder / "log").open("w") as log, servers.run_process(command, dict(os.environ), log):
        ends_at = time.monotonic() + STARTS_WITHIN_SECONDS
        while not (folder / ".demo/demo.json").exists():
            if time.monotonic() > ends_at:
                raise SystemExit(f"the demo did not start: {(folder / 'log').read_text()}")
            time.sleep(0.05)
        shown = _output(["/bin/sh", "-ec", f". {folder}/.demo/env; env -0"], os.environ)
        yield dict(line.split("=", 1) for line in shown.split("\0") if line)


def _output(command: list[str], environ: Mapping[str, str]) -> str:
    done = subprocess.run(command, env=dict(environ), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command} exited with {done.returncode}: {done.stderr}")
    return done.stdout


def _cpu_seconds(command: list[str], environ: Mapping[str, str], code: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != code:
        raise SystemExit(f"{command} exited with {done.returncode}: {done.stderr.decode()}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
