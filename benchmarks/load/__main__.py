"""`python -m benchmarks.load PLAN`: one machine's run, from the command line to files and an exit code.

Rules of the file
- Without --url the service is started here, on a local IVS, pinned to one core; the generators get the others.
- Exit codes: 0 a run that counts, 1 one that is invalid or failed, 2 wrong use, 130 given up without a report.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from benchmarks import servers
from benchmarks.load import paper, plan, shelf
from benchmarks.load.conduct import Order, Share, conduct
from benchmarks.load.crew import Unreachable
from benchmarks.load.deployment import Standing, deployed
from benchmarks.load.wire import Target

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


def main(arguments: Sequence[str]) -> int:
    """Run a plan and report."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.url) != bool(options.api_key_file) or bool(options.url) != bool(options.channel):
        parser.error("--url, --api-key-file and --channel go together")
    try:
        path = plan.find(options.plan)
        chosen = plan.read(path)
    except plan.BadPlan as bad:
        print(bad, file=sys.stderr)
        return 2
    with _standing(options) as standing:
        order = Order(
            path.stem,
            chosen,
            options.scale,
            standing.target,
            options.processes,
            options.share,
            options.start_at,
            standing.environ,
        )
        try:
            lines = conduct(order)
        except (Unreachable, OSError, ValueError) as failure:
            print(f"{standing.target.url}: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:  # before the start, or a second one
            return INTERRUPTED
    result, files = shelf.keep(options.out, lines)
    print(json.dumps(result, indent=2) if options.json else paper.text_of(result))
    print("\n".join(f"wrote {file}" for file in files), file=sys.stderr)
    return 1 if result["invalid"] or result["failed"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="Open-loop load, as a plan says.")
    parser.add_argument("plan", metavar="PLAN", help="one of ours by its name, as steady, or a TOML file")
    parser.add_argument("--url", help="the service; without it one is started here")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the caller's API key")
    parser.add_argument("--channel", action="append", metavar="ARN", help="a channel to ask for; may be repeated")
    parser.add_argument("--processes", type=_count, default=1, metavar="N", help="generators on this machine")
    parser.add_argument("--scale", type=_scale, default=1.0, metavar="X", help="multiplies every rate of the plan")
    parser.add_argument("--share", type=_share, default=Share(), metavar="K/N", help="this is machine K of N")
    parser.add_argument("--start-at", type=_instant, metavar="INSTANT", help="RFC 3339; the same for all machines")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--out", type=Path, default=shelf.RESULTS, metavar="DIR", help="where the files go")
    return parser


def _count(text: str) -> int:
    if not 1 <= (number := int(text)) <= 256:
        raise argparse.ArgumentTypeError("must be 1 to 256")
    return number


def _scale(text: str) -> float:
    if not 0 < (scale := float(text)) <= 10_000:
        raise argparse.ArgumentTypeError("must be above 0, and 10000 at most")
    return scale


def _share(text: str) -> Share:
    number, _, of = text.partition("/")
    if not 1 <= int(number) <= int(of):
        raise argparse.ArgumentTypeError("must be K/N with K from 1 to N")
    return Share(int(number) - 1, int(of))


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError("must say its offset, as 2026-11-21T10:00:00Z")
    return instant


@contextmanager
def _standing(options: argparse.Namespace) -> Iterator[Standing]:
    if options.url:
        api_key = options.api_key_file.read_text().strip()
        yield Standing(Target(options.url.rstrip("/"), api_key, tuple(options.channel)), dict(os.environ))
        return
    with tempfile.TemporaryDirectory() as folder, deployed(Path(folder)) as standing:
        _leave_core(servers.SERVER_CORE)
        yield standing


def _leave_core(core: int) -> None:
    """Leave the server's core to it, where there is another."""
    others = os.sched_getaffinity(0) - {core}
    if others:
        os.sched_setaffinity(0, others)


if __name__ == "__main__":
    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs begin with Ctrl-C ignored
        signal.signal(stop, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
