"""Where the blocks of a page run: beside a demo of its own, or as a deployment that the page itself sets up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.docs.page_shell import PYTHON_DIRECTORY
from tests.support.deployment import REGION, LocalIvs, free_port, local_ivs
from tests.support.postgres import PostgresServer
from tests.support.processes import TOKENSVC, environment, started

EXAMPLE_CHANNEL = "arn:aws:ivs:us-east-1:123456789012:channel/abcdefghijkl"
EXAMPLE_ACCOUNT = "123456789012"


class PageEnvironment(NamedTuple):
    """What a page's blocks find."""

    folder: Path
    variables: Mapping[str, str]
    substitutions: Mapping[str, str]


def _ports() -> dict[str, str]:
    """The ports of the tutorials' own servers, which other tests may be using."""
    substitutions = {}
    for port in (3000, 8000):
        free = free_port()
        for written in ("127.0.0.1:{}", "localhost:{}", "--port {}", "listen({},"):
            substitutions[written.format(port)] = written.format(free)
    return substitutions


@contextmanager
def beside_demo(folder: Path) -> Iterator[PageEnvironment]:
    """A demo of the page's own, in `.demo` of the directory where its blocks run."""
    variables = environment(folder / "home", {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})
    variables["PATH"] = f"{PYTHON_DIRECTORY}:{variables['PATH']}"
    with started([TOKENSVC, "demo", "--port", "0"], folder, environment(folder / "home"), "demo") as process:
        process.wait_until(lambda: "keys rotate" in process.out, "the demo prints its commands")
        info = json.loads((folder / ".demo" / "demo.json").read_text())
        port = info["url"].rpartition(":")[2]
        yield PageEnvironment(folder, variables, {"127.0.0.1:8080": f"127.0.0.1:{port}", **_ports()})


@contextmanager
def as_production(folder: Path, postgres: PostgresServer) -> Iterator[PageEnvironment]:
    """An empty PostgreSQL database and a local IVS in AWS's place: everything else is up to the page."""
    database = postgres.fresh()
    with local_ivs(folder) as ivs:
        variables, channel = _aws(folder, ivs)
        variables["PATH"] = f"{PYTHON_DIRECTORY}:{postgres.binaries}:{variables['PATH']}"
        for directory in ("etc/tokensvc", "var/lib/tokensvc", "var/backups"):
            (folder / directory).mkdir(parents=True, mode=0o700)
        port = free_port()
        variables["TOKENSVC_PORT"] = str(port)
        yield PageEnvironment(
            folder,
            variables,
            {
                "TOKENSVC_CONTROL_PLANE=aws": "TOKENSVC_CONTROL_PLANE=local",
                "postgresql://tokensvc@db.example.com/tokensvc": postgres.url(database),
                "/etc/tokensvc": str(folder / "etc/tokensvc"),
                "/var/lib/tokensvc": str(folder / "var/lib/tokensvc"),
                "/var/backups": str(folder / "var/backups"),
                "127.0.0.1:8080": f"127.0.0.1:{port}",
                EXAMPLE_CHANNEL: channel,
                EXAMPLE_ACCOUNT: channel.split(":")[4],
                **_ports(),
            },
        )
    postgres.drop(database)


def _aws(folder: Path, ivs: LocalIvs) -> tuple[dict[str, str], str]:
    """The variables of a shell with access to an AWS account, and the ARN of a private channel in it."""
    access_key = ivs.new_account()
    client: Any = ivs.client(access_key)
    channel = client.create_channel(authorized=True)["channel"]["arn"]
    client.close()
    ivs.start_stream(channel)
    aws = {
        "AWS_ENDPOINT_URL_IVS": ivs.endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": access_key,
    }
    return environment(folder / "home", aws), str(channel)


PRODUCTION: frozenset[str] = frozenset()
"""The pages whose blocks set up a deployment; those of all others run beside a demo."""
