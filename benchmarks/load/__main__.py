"""`python -m benchmarks.load PLAN`: the run of one machine, from the command line to files and an exit code.

Invariants
- Without --url the service is started here on a local IVS, pinned to one core; the generators get the others.
- Exit codes: 0 valid, 1 invalid or failed, 2 wrong usage, 3 valid but over a limit, 130 ended by a signal before the
  first request, or by the third signal.
- Every run is reported, including one whose target cannot be reached.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":  # during the imports an interrupt ends the process without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import servers
from benchmarks.load import limits, plan, result_store, signals
from benchmarks.load.deployment import DeploymentUnderTest, temporary_deployment
from benchmarks.load.limits import Limits
from benchmarks.load.plan import Plan
from benchmarks.load.report_output import present, show
from benchmarks.load.runner import RunConfig, Share, execute, not_started, prepared_run
from benchmarks.load.wire import Target
from benchmarks.load.worker_pool import GeneratorFailed
from tokensvc.secret_files import InsecureFile, read_private_file

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, by the convention of shells."""


def main(arguments: Sequence[str]) -> int:
    """Run a plan, report it, and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if bool(options.url) != bool(options.api_key_file) or bool(options.url) != bool(options.channel):
        parser.error("give --url, --api-key-file and --channel together")
    if options.plan and (options.rate or options.duration):
        parser.error("a plan has its own rates and durations; --scale multiplies its rates")
    if not options.plan and not (options.rate and options.duration):
        parser.error("give a PLAN, or --rate and --duration")
    try:
        name, selected_plan = _selected_plan(options)
        api_key = _api_key(options.api_key_file) if options.api_key_file else ""
        _check_folder(options.out)
    except (plan.InvalidPlan, UsageError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        with _deployment_under_test(options, api_key) as deployment:
            config = RunConfig(
                name,
                selected_plan,
                options.scale,
                deployment.target,
                options.processes,
                options.share,
                options.start_at,
                deployment.environ,
                Limits().changed(options),
            )
            return _run(config, options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(config: RunConfig, options: argparse.Namespace) -> int:
    try:
        with prepared_run(config) as ready, signals.caught() as caught:
            lines = execute(config, ready, caught)
            return present(result_store.report_of(lines), options.out, is_json=options.json)
    except (GeneratorFailed, OSError, ValueError) as failure:
        show(result_store.report_of(not_started(config, str(failure))), is_json=options.json)
        return 1


class UsageError(Exception):
    """An argument cannot be used; the message says why."""


def _selected_plan(options: argparse.Namespace) -> tuple[str, Plan]:
    """The plan and its name, which is part of the file names."""
    if not options.plan:
        return f"rate-{options.rate:g}", plan.steady(options.rate, options.duration)
    path = plan.find(options.plan)
    try:
        return path.stem, plan.read(path)
    except (OSError, UnicodeDecodeError) as failure:
        raise UsageError(f"{path}: {failure}") from None


def _api_key(path: Path) -> str:
    try:
        api_key = read_private_file(path).decode("utf-8").strip()
    except InsecureFile as error:
        raise UsageError(f"--api-key-file {error}") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise UsageError(f"--api-key-file {path}: {getattr(failure, 'strerror', None) or 'is not text'}") from None
    if not api_key or not api_key.isascii() or not api_key.isprintable():
        raise UsageError(f"--api-key-file {path}: must contain one line, the API key")
    return api_key


def _check_folder(folder: Path) -> None:
    """Check before the load that results can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise UsageError(f"--out {folder}: {failure.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--out {folder}: is not writable")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description="Run an open-loop load, defined by a plan or a rate.",
        epilog="Exit codes: 0 valid, 1 invalid or failed, 2 wrong usage, 3 over --max-p99 or --max-error-rate, "
        "130 interrupted before the first request.",
    )
    add = parser.add_argument
    add("plan", nargs="?", metavar="PLAN", help="the name of a built-in plan, such as steady, or a TOML file")
    add("--rate", type=_positive, metavar="N", help="without a plan: request single tokens at this rate per second")
    add(
        "--duration", type=_positive, metavar="S", help=f"duration in seconds, after {plan.WARMUP_SECONDS} s of warm-up"
    )
    add("--url", type=_url, help="the service; by default one is started here")
    add("--api-key-file", type=Path, metavar="FILE", help="file with the caller's API key")
    add("--channel", action="append", metavar="ARN", help="a channel to request tokens for; may be repeated")
    add("--processes", type=_count, default=1, metavar="N", help="number of generators on this machine")
    add("--scale", type=_scale, default=1.0, metavar="X", help="multiply every rate of the plan")
    add("--share", type=_share, default=Share(), metavar="K/N", help="this is machine K of N")
    add("--start-at", type=_instant, metavar="INSTANT", help="start time (RFC 3339), the same on all machines")
    add("--json", action="store_true", help="print the result as one JSON object")
    add("--out", type=Path, default=result_store.RESULTS, metavar="DIR", help="folder for the result files")
    limits.add_options(parser)
    return parser


def _positive(text: str) -> float:
    if not 0 < (number := float(text)) <= plan.MAX_RATE or math.isnan(number):
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {plan.MAX_RATE:,}")
    return number


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        is_usable = False
    if not is_usable or not text.isascii() or not text.isprintable() or " " in text:
        raise argparse.ArgumentTypeError("must be a URL such as https://tokens.example.com")
    return text.rstrip("/")


def _count(text: str) -> int:
    if not 1 <= (number := int(text)) <= 256:
        raise argparse.ArgumentTypeError("must be from 1 to 256")
    return number


def _scale(text: str) -> float:
    if not 0 < (scale := float(text)) <= 10_000:
        raise argparse.ArgumentTypeError("must be above 0 and at most 10000")
    return scale


def _share(text: str) -> Share:
    number, _, total = text.partition("/")
    if not 1 <= int(number) <= int(total):
        raise argparse.ArgumentTypeError("must be K/N with K from 1 to N")
    return Share(int(number) - 1, int(total))


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError("must have an offset, as in 2026-11-21T10:00:00Z")
    return instant


@contextmanager
def _deployment_under_test(options: argparse.Namespace, api_key: str) -> Iterator[DeploymentUnderTest]:
    if options.url:
        yield DeploymentUnderTest(Target(options.url, api_key, tuple(options.channel)), dict(os.environ))
        return
    with tempfile.TemporaryDirectory() as folder, temporary_deployment(Path(folder)) as deployment:
        _avoid_core(servers.SERVER_CORE)
        yield deployment


def _avoid_core(core: int) -> None:
    """Use the other cores, if there are any."""
    others = os.sched_getaffinity(0) - {core}
    if others:
        os.sched_setaffinity(0, others)


if __name__ == "__main__":
    for stop in (signal.SIGINT, signal.SIGTERM):  # background jobs of a shell start with SIGINT ignored
        signal.signal(stop, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
