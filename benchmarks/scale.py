"""What a token costs as a deployment grows: `python -m benchmarks.scale [--json]`.

Invariants
- Three services are measured: the smallest (one caller, one channel, one denial), one with two workers, and a large
  one. Program, store and settings are otherwise the same; they are measured in interleaved rounds on one core.
- The CPU time of all processes of a service per token counts; rates would only show which service had the core.
- In the large deployment, consecutive requests differ in caller, viewer and channel.
- Every request has its own `traceparent`: headers equal to the previous request's are not parsed again
  (`web/protocol.py`), and that saving with a single caller would look like a cost of many.
- Two workers get twice the connections, so that each is as busy as a single one.
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
from tokensvc.audit.record import Actor, ActorKind
from tokensvc.audit.requester import Requester
from tokensvc.aws.arn import Arn
from tokensvc.callers.policy import CallerPolicy
from tokensvc.container.api_keys import new_api_key
from tokensvc.revocations.store import NewDenial
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.channels import ChannelRecord
from tokensvc.tokens.denylist import viewer_digest

_EVENT = Requester(Actor(ActorKind.SYSTEM, "benchmark")).event("test")
ROUNDS = 45
SECONDS = 1
DISTINCT_REQUESTS = 2000
"""How many different requests wrk cycles through."""
WRITE_BATCH_SIZE = 5000
LOAD_DENIALS_SECONDS = 15
"""The time that workers get to load all denials."""
TARGETS = {
    "token with two workers / with one, server CPU": 1.05,
    "token in the large deployment / in the smallest, server CPU": 1.05,
}


class DeploymentSize(NamedTuple):
    """Numbers of callers, denials and channels."""

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
            _running_service(folder / "large", LARGE) as large,
        ):
            time.sleep(LOAD_DENIALS_SECONDS)
            measurements = {
                "one": partial(measure_server, one, SECONDS),
                "two": partial(measure_server, two, SECONDS),
                "large": partial(measure_server, large, SECONDS),
            }
            results = rounds.interleave(measurements, ROUNDS)
    _report(results)


@contextmanager
def _running_service(folder: Path, size: DeploymentSize, *, workers: int = 1) -> Iterator[Contender]:
    """A service of this size and the requests sent to it."""
    folder.mkdir()
    environ, _ = servers.create_deployment(folder)
    channels = [str(Arn(servers.ACCOUNT_REGION, "channel", f"{number:012}")) for number in range(size.channels)]
    with closing(open_store(environ["TOKENSVC_DATABASE_URL"])) as store:
        _record(store, channels)
        _deny(store, channels, size.denials)
        keys = [_add_caller(store, number) for number in range(size.callers)]
    numbers = range(DISTINCT_REQUESTS)
    posts = [_post(keys[number % len(keys)], channels[number % len(channels)], number) for number in numbers]
    script = wrk.sequence_script(folder, "requests", posts)
    with servers.run_service(folder, {**environ, "TOKENSVC_WORKERS": str(workers)}, keys[0]) as running:
        yield Contender(script, running.url, running.pid, connections=CONNECTIONS * workers)


def _record(store: Store, channels: list[str]) -> None:
    now = datetime.now(UTC)
    store.channels.record([ChannelRecord(arn, f"https://example.invalid/{arn}.m3u8", True, now, 0) for arn in channels])


def _deny(store: Store, channels: list[str], count: int) -> None:
    """Deny viewers that request no tokens."""
    until = int(time.time()) + 3600
    for start in range(0, count, WRITE_BATCH_SIZE):
        of_channels = [(n, channels[n % len(channels)]) for n in range(start, min(count, start + WRITE_BATCH_SIZE))]
        store.denials.add(
            "bench", [NewDenial(arn, viewer_digest(arn, f"out-{n}"), until) for n, arn in of_channels], event=_EVENT
        )


def _add_caller(store: Store, number: int) -> str:
    api_key, secret = new_api_key()
    policy = CallerPolicy((f"arn:aws:ivs:{servers.ACCOUNT_REGION.region}:*",))
    store.callers.add(f"caller-{number}", policy, secret, _EVENT)
    return api_key


def _post(api_key: str, channel_arn: str, number: int) -> wrk.Post:
    body = json.dumps({"channelArn": channel_arn, "viewerId": f"viewer-{number:06}"})
    headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
    return wrk.Post("/v1/tokens", body, headers | wrk.trace_header(number))


def _report(results: dict[str, list[ServerMeasurement]]) -> None:
    cpu = {name: [one.cpu_us for one in measured] for name, measured in results.items()}
    ratios = {
        "token with two workers / with one, server CPU": rounds.ratio(cpu["two"], cpu["one"]),
        "token in the large deployment / in the smallest, server CPU": rounds.ratio(cpu["large"], cpu["one"]),
    }
    figures = {
        "one worker, smallest deployment, CPU microseconds per token": median(cpu["one"]),
        "two workers, CPU microseconds per token": median(cpu["two"]),
        "large deployment, CPU microseconds per token": median(cpu["large"]),
        **{f"large deployment, {name}": count for name, count in LARGE._asdict().items()},
    }
    report("token cost as a deployment grows", ratios, figures, TARGETS)


if __name__ == "__main__":
    main()
