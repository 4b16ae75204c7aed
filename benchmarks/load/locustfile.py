"""The same requests with Locust, from any number of machines, for high volume and soak tests.

    python -m locust -f benchmarks/load/locustfile.py --master --host https://tokens.staging.example.com
    python -m locust -f benchmarks/load/locustfile.py --worker --master-host MASTER    (on each machine, once per core)

Invariants
- Closed loop: a user sends the next request after its response, so a slow server receives fewer, and latencies look
  better than they are. Use `python -m benchmarks.load` for latencies.
- The kinds of request and their weights come from a plan; its stages are ignored, Locust's users define the load.
- LOAD_API_KEY_FILE, LOAD_CHANNELS (comma-separated ARNs) and LOAD_PLAN (default: steady) are read on each worker.
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
    """A backend that sends requests without a pause."""

    wait_time = constant(0)
    prepared: ClassVar[Iterator[PreparedRequest]]
    headers: ClassVar[dict[str, str]]

    @task
    def send_request(self) -> None:
        """Send the next request; an unsuccessful response is a failure with its code."""
        request = next(self.prepared)
        kind = KINDS[request.kind]
        with self.client.post(
            kind.path, data=request.body, headers=self.headers, name=request.kind, catch_response=True
        ) as response:
            rejected = rejected_in(request.kind, response.content or b"")
            if response.status_code != kind.status:
                response.failure(f"{response.status_code} {_code(response)}")
            elif rejected:
                response.failure(f"{rejected} requests of a batch were rejected")


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    """Read the plan and the key, once per process; a master sends nothing and needs neither."""
    if isinstance(environment.runner, MasterRunner):
        return
    selected_plan = plan.read(plan.find(os.environ.get("LOAD_PLAN", "steady")))
    channels = os.environ["LOAD_CHANNELS"].split(",")
    api_key = read_private_file(Path(os.environ["LOAD_API_KEY_FILE"])).decode().strip()
    Caller.headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    Caller.prepared = _mix(selected_plan, channels)


def _mix(selected_plan: plan.Plan, channels: list[str]) -> Iterator[PreparedRequest]:
    iterators = [cycle(prepare(row.kind, row.batch_size, channels)) for row in selected_plan.request]
    weights = [row.weight for row in selected_plan.request]
    choose = Random(selected_plan.seed).choices
    return (next(choose(iterators, weights)[0]) for _ in count())


def _code(response: Any) -> str:
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""
