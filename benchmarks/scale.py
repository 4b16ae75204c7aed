"""What a token costs as a deployment grows: `python -m benchmarks.scale [--json]`.

Rules of the file
- One service as small as can be (one caller, one channel, one denial), one with two workers, one with a crowd: the same
  program, store and settings otherwise, by turns on one core.
- What counts is the CPU time of all of a service's processes for one token: rates would only say who had the core.
- In the crowd every request comes from another caller, for another viewer of another channel.
- Every request, whomever it comes from, has a `traceparent` of its own: a head that comes again is not parsed again
  (`web/protocol.py`), and what that saves with one caller would look like the price of many.
- Two workers have twice the connections, so that each of them is as busy as one alone.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import rounds, servers, wrk
from benchmarks.report import report
from benchmarks.server_measurement import CONNECTIONS, Contender, ServerMeasurement, measure_server
from tokensvc.aws.arn import Arn
from tokensvc.callers.policy import CallerPolicy
from tokensvc.container import service
from tokensvc.revocations.store import NewDenial
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.channels import ChannelRecord
from tokensvc.tokens.denylist import viewer_digest

ROUNDS = 45
SECONDS = 1
DISTINCT_REQUESTS = 2000
"""Different requests that wrk goes round in, of the crowd's callers and channels."""
WRITE_BATCH_SIZE = 5000
LOAD_DENIALS_SECONDS = 15
"""How long a worker may take until it has loaded all that is denied."""
TARGETS = {
    "a token with two workers / with one, server CPU": 1.05,
    "a token in the crowd / with one of each, server CPU": 1.05,
}


class DeploymentSize(NamedTuple):
    """How many there are."""

    callers: int
    denials: int
    channels: int


SMALL = DeploymentSize(1, 1, 1)
LARGE = DeploymentSize(10_000, 200_000, 5_000)


def main() -> None:
    wrk.require()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            _running_service(folder / "one", SMALL) as one,
            _running_service(folder / "two", SMALL, workers=2) as two,
            _running_service(folder / "crowd", LARGE) as large,
        ):
            time.sleep(LOAD_DENIALS_SECONDS)
            measurements = {
                "one": partial(measure_server, one, SECONDS),
                "two": partial(measure_server, two, SECONDS),
                "crowd": partial(measure_server, large, SECONDS),
            }
            results = rounds.interleave(measurements, ROUNDS)
    _report(results)


@contextmanager
def _running_service(folder: Path, large: DeploymentSize, *, workers: int = 1) -> Iterator[Contender]:
    """A service with so many of each, and what it is asked."""
    folder.mkdir()
    environ, _ = servers.create_deployment(folder)
    channels = [str(Arn(servers.ACCOUNT_REGION, "channel", f"{number:012}")) for number in range(large.channels)]
    with closing(open_store(environ["TOKENSVC_DATABASE_URL"])) as store:
        _record(store, channels)
        _deny(store, channels, large.denials)
        keys = [_add_caller(store, number) for number in range(large.callers)]
    posts = [_post(keys[number % len(keys)], channels[number % len(channels)], number) for number in range(DISTINCT_REQUESTS)]
    script = wrk.sequence_script(folder, "requests", posts)
    with servers.run_service(folder, {**environ, "TOKENSVC_WORKERS": str(workers)}, keys[0]) as service_:
        yield Contender(script, service_.url, service_.pid, connections=CONNECTIONS * workers)


def _record(store: Store, channels: list[str]) -> None:
    now = datetime.now(UTC)
    store.channels.record([ChannelRecord(arn, f"https://example.invalid/{arn}.m3u8", True, now, 0) for arn in channels])


def _deny(store: Store, channels: list[str], count: int) -> None:
    """Viewers that never ask."""
    until = int(time.time()) + 3600
    for start in range(0, count, WRITE_BATCH_SIZE):
        of_channels = [(n, channels[n % len(channels)]) for n in range(start, min(count, start + WRITE_BATCH_SIZE))]
        store.denials.add("bench", [NewDenial(arn, viewer_digest(arn, f"out-{n}"), until) for n, arn in of_channels])


def _add_caller(store: Store, number: int) -> str:
    api_key, secret = service.new_api_key()
    store.callers.add(f"caller-{number}", CallerPolicy((f"arn:aws:ivs:{servers.ACCOUNT_REGION.region}:*",)), secret)
    return api_key


def _post(api_key: str, channel_arn: str, number: int) -> wrk.Post:
    body = json.dumps({"channelArn": channel_arn, "viewerId": f"viewer-{number:06}"})
    headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
    return wrk.Post("/v1/tokens", body, headers | wrk.trace_header(number))


def _report(results: dict[str, list[ServerMeasurement]]) -> None:
    cpu = {name: [one.cpu_us for one in measured] for name, measured in results.items()}
    ratios = {
        "a token with two workers / with one, server CPU": rounds.ratio(cpu["two"], cpu["one"]),
        "a token in the crowd / with one of each, server CPU": rounds.ratio(cpu["crowd"], cpu["one"]),
    }
    figures = {
        "one worker, one of each, CPU microseconds a token": median(cpu["one"]),
        "two workers, CPU microseconds a token": median(cpu["two"]),
        "the crowd, CPU microseconds a token": median(cpu["crowd"]),
        **{f"the crowd's {name}": count for name, count in LARGE._asdict().items()},
    }
    report("a token as a deployment grows", ratios, figures, TARGETS)


if __name__ == "__main__":
    main()
