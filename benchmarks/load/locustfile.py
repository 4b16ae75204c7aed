"""The same requests with Locust, from as many machines as there are: for volume and soak.

    python -m locust -f benchmarks/load/locustfile.py --master --host https://tokens.staging.example.com
    python -m locust -f benchmarks/load/locustfile.py --worker --master-host MASTER    (on each machine, once a core)

Rules of the file
- Closed loop: a user sends the next request after its response, so a slow server receives fewer, and latencies look
  better than they are. Latency figures come from `python -m benchmarks.load`.
- What to ask comes from a plan: its kinds and weights; its stages do not count, Locust's users do.
- LOAD_API_KEY_FILE, LOAD_CHANNELS (comma-separated ARNs) and LOAD_PLAN (steady) are read on each machine that sends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from locust import FastHttpUser, constant, events, task
from locust.runners import MasterRunner

from benchmarks.load import plan
from benchmarks.load.request_kinds import KINDS, PreparedRequest, prepare, rejected_in
from tokensvc.secret_files import read_private_file


class Caller(FastHttpUser):
    """A backend that asks without a pause."""

    wait_time = constant(0)
    prepared: ClassVar[Iterator[PreparedRequest]]
    headers: ClassVar[dict[str, str]]

    @task
    def send_request(self) -> None:
        """Send the next request; what is no success is a failure by its code."""
        request = next(self.prepared)
        kind = KINDS[request.kind]
        with self.client.post(
            kind.path, data=request.body, headers=self.headers, name=request.kind, catch_response=True
        ) as response:
            rejected = rejected_in(request.kind, response.content or b"")
            if response.status_code != kind.status:
                response.failure(f"{response.status_code} {_code(response)}")
            elif rejected:
                response.failure(f"{rejected} asks of a batch were refused")


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    """Read the plan and the key, once a process; a master sends nothing and needs neither."""
    if isinstance(environment.runner, MasterRunner):
        return
    chosen = plan.read(plan.find(os.environ.get("LOAD_PLAN", "steady")))
    channels = os.environ["LOAD_CHANNELS"].split(",")
    api_key = read_private_file(Path(os.environ["LOAD_API_KEY_FILE"])).decode().strip()
    Caller.headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    Caller.prepared = _mix(chosen, channels)


def _mix(chosen: plan.Plan, channels: list[str]) -> Iterator[PreparedRequest]:
    iterators = [cycle(prepare(row.kind, row.batch_size, channels)) for row in chosen.request]
    weights = [row.weight for row in chosen.request]
    choose = Random(chosen.seed).choices
    return (next(choose(iterators, weights)[0]) for _ in count())


def _code(response: Any) -> str:
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""
