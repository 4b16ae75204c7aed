"""The local IVS beside moto's server: `python -m benchmarks.ivs [--json]`.

Rules of the file
- All servers stand on one core and take turns; wrk loads them from the other. Every answer must be a success.
- Requests are signed by botocore, anew for each run, since a signature is good for five minutes. Ours verifies it.
- On a machine that does other work too, requests per second of the server's own CPU say more than those per second.
- GetChannel asks for every channel in turn; ListChannels asks for the default page, which holds all 50 here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from benchmarks import servers, wrk
from benchmarks.report import report

ROUNDS = 5
SECONDS = 3
CONNECTIONS = 16
FEW, MANY = 50, 5000
REGION = "us-east-1"
TARGETS = {
    "GetChannel, ours / moto": 5.0,
    "ListChannels, ours / moto": 5.0,
    "both by turns, ours / moto": 5.0,
    "GetChannel, 5000 channels / 50, cost": 1.2,
}


class Server(NamedTuple):
    """One that is measured, and what it holds."""

    endpoint: servers.Endpoint
    arns: list[str]

    @property
    def url(self) -> str:
        return self.endpoint.url


def main() -> None:
    wrk.needed()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        few = _furnish(running.enter_context(servers.local_ivs()), FEW)
        many = _furnish(running.enter_context(servers.local_ivs()), MANY)
        moto = _furnish(running.enter_context(servers.moto()), FEW)
        _measure(Path(name), few, many, moto)


def _measure(folder: Path, few: Server, many: Server, moto: Server) -> None:
    runs: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    failed = 0
    for _ in range(ROUNDS):
        for name, server, operation in (
            ("ours get", few, "GetChannel"),
            ("ours get many", many, "GetChannel"),
            ("moto get", moto, "GetChannel"),
            ("ours list", few, "ListChannels"),
            ("moto list", moto, "ListChannels"),
            ("ours both", few, "both"),
            ("moto both", moto, "both"),
        ):
            script = wrk.turns_script(folder, operation, _posts(server, operation))
            before = server.endpoint.cpu_seconds()
            run = wrk.run(script, server.url, seconds=SECONDS, connections=CONNECTIONS)
            runs.setdefault(name, []).append(run.per_second)
            busy.setdefault(name, []).append(run.per_second * SECONDS / (server.endpoint.cpu_seconds() - before))
            failed += run.failed
    ratios = {
        "GetChannel, ours / moto": _ratio(runs["ours get"], runs["moto get"]),
        "ListChannels, ours / moto": _ratio(runs["ours list"], runs["moto list"]),
        "both by turns, ours / moto": _ratio(runs["ours both"], runs["moto both"]),
        **{
            f"{what}, ours / moto, per second of the server's CPU": _ratio(busy[f"ours {short}"], busy[f"moto {short}"])
            for what, short in (("GetChannel", "get"), ("ListChannels", "list"), ("both by turns", "both"))
        },
        "GetChannel, 5000 channels / 50, cost": _ratio(runs["ours get"], runs["ours get many"]),
    }
    figures: dict[str, Any] = {f"{name}, per second": median(rates) for name, rates in runs.items()}
    report("the local IVS", ratios, {**figures, "failed requests": failed}, TARGETS)


def _ratio(some: list[float], others: list[float]) -> float:
    return median(one / other for one, other in zip(some, others, strict=True))


def _furnish(endpoint: servers.Endpoint, count: int) -> Server:
    client = boto3.client(
        "ivs",
        region_name=REGION,
        endpoint_url=endpoint.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(max_pool_connections=4),
    )
    with ThreadPoolExecutor(4) as threads:
        made = threads.map(lambda number: client.create_channel(name=f"channel-{number}"), range(count))
        return Server(endpoint, [one["channel"]["arn"] for one in made])


def _posts(server: Server, load: str) -> list[wrk.Post]:
    if load != "both":
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
