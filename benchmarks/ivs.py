"""The local IVS compared with moto's server: `python -m benchmarks.ivs [--json]`.

Invariants
- All servers run on one core and are measured in interleaved rounds; wrk loads them from the other core. Every response
  must be a success.
- botocore signs the requests for each run, since a signature is valid for five minutes. The local IVS verifies it.
- On a shared machine, requests per second of server CPU time are more reliable than requests per second.
- GetChannel requests every channel in turn; ListChannels requests the default page, which holds all 50 here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from benchmarks import rounds, servers, wrk
from benchmarks.report import report
from benchmarks.rounds import Spread
from benchmarks.server_measurement import Contender, ServerMeasurement, measure_server

ROUNDS = 5
SECONDS = 3
FEW, MANY = 50, 5000
LOADS = {"GetChannel": "get", "ListChannels": "list", "both alternating": "both"}
REGION = "us-east-1"
TARGETS = {
    "GetChannel, tokensvc / moto": 5.0,
    "ListChannels, tokensvc / moto": 5.0,
    "both alternating, tokensvc / moto": 5.0,
    "GetChannel, 5000 channels / 50, cost": 1.2,
}


class Server(NamedTuple):
    """A measured server and the channels that it holds."""

    endpoint: servers.Endpoint
    arns: list[str]

    @property
    def url(self) -> str:
        return self.endpoint.url


def main() -> None:
    wrk.require()
    ratios, figures = measure(ROUNDS, SECONDS, many=MANY)
    report("the local IVS", ratios, figures, TARGETS)


def measure(round_count: int, seconds: int, *, many: int = 0) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Ratios of the local IVS to moto, and figures; with `many`, also the local IVS with that many channels."""
    with tempfile.TemporaryDirectory() as folder_name, ExitStack() as running:
        folder = Path(folder_name)
        few = _create_channels(running.enter_context(servers.run_local_ivs()), FEW)
        moto = _create_channels(running.enter_context(servers.run_moto()), FEW)
        measurements = {
            f"{name} {short}": partial(_measure_load, folder, server, load, seconds)
            for load, short in LOADS.items()
            for name, server in (("tokensvc", few), ("moto", moto))
        }
        if many:
            full = _create_channels(running.enter_context(servers.run_local_ivs()), many)
            measurements["tokensvc get many"] = partial(_measure_load, folder, full, "GetChannel", seconds)
        results = rounds.interleave(measurements, round_count)
    rates = {name: [one.per_second for one in measured] for name, measured in results.items()}
    cpu = {name: [one.cpu_us for one in measured] for name, measured in results.items()}
    ratios = {}
    for load, short in LOADS.items():
        ratios[f"{load}, tokensvc / moto"] = rounds.ratio(rates[f"tokensvc {short}"], rates[f"moto {short}"])
        ratios[f"{load}, tokensvc / moto, by server CPU"] = rounds.ratio(cpu[f"moto {short}"], cpu[f"tokensvc {short}"])
    if many:
        name = f"GetChannel, {many} channels / {FEW}, cost"
        ratios[name] = rounds.ratio(rates["tokensvc get"], rates["tokensvc get many"])
        ratios[f"{name}, by server CPU"] = rounds.ratio(cpu["tokensvc get many"], cpu["tokensvc get"])
    return ratios, {f"{name}, per second": median(values) for name, values in rates.items()}


def _measure_load(folder: Path, server: Server, load: str, seconds: int) -> ServerMeasurement:
    script = wrk.sequence_script(folder, "requests", _posts(server, load))
    return measure_server(Contender(script, server.url, server.endpoint.pid), seconds)


def _create_channels(endpoint: servers.Endpoint, count: int) -> Server:
    client = boto3.client(
        "ivs",
        region_name=REGION,
        endpoint_url=endpoint.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(max_pool_connections=4),
    )
    with ThreadPoolExecutor(4) as threads:
        created = threads.map(lambda number: client.create_channel(name=f"channel-{number}"), range(count))
        return Server(endpoint, [one["channel"]["arn"] for one in created])


def _posts(server: Server, load: str) -> list[wrk.Post]:
    if load != "both alternating":
        return list(_signed(server, load))
    (listing,) = _signed(server, "ListChannels")
    return [post for get in _signed(server, "GetChannel") for post in (get, listing)]


def _signed(server: Server, operation: str) -> Iterator[wrk.Post]:
    signer = SigV4Auth(Credentials("test", "test"), "ivs", REGION)
    for body in [{"arn": arn} for arn in server.arns] if operation == "GetChannel" else [{}]:
        text = json.dumps(body)
        headers = {"Content-Type": "application/json", "Host": urlsplit(server.url).netloc}
        request = AWSRequest("POST", f"{server.url}/{operation}", data=text, headers=headers)
        signer.add_auth(request)
        yield wrk.Post(f"/{operation}", text, dict(request.headers.items()))


if __name__ == "__main__":
    main()
