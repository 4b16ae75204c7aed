"""A whole deployment for a test: local IVS, store, vault and the service, all as real processes.

Invariants
- It is set up as the README says: `db upgrade`, `keys generate`, `callers add`, `serve`; channels with boto3.
- Each deployment has its own AWS account, so that several can share one local IVS without sharing quotas.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from tests.support.http_client import Client
from tests.support.processes import TOKENSVC, CommandResult, Process, environment, run, started, wait_until

REGION = "us-east-1"
ACCOUNTS = 64
RUN_COMMANDS = """
import json, os, sys
from tokensvc.cli import main
for line in sys.stdin:
    arguments, settings = json.loads(line)
    before = dict(os.environ)
    os.environ.update(settings)
    sys.argv = ["tokensvc", *arguments]
    try:
        main()
    except SystemExit as exit:
        print("exited with", exit.code, file=sys.stderr, flush=True)
    os.environ.clear()
    os.environ.update(before)
"""
"""Runs several commands in one process, because most of a command's time is its start."""


class LocalIvs:
    """A running local IVS."""

    def __init__(self, process: Process, info: dict[str, str]) -> None:
        self.process = process
        self.endpoint = info["ivsEndpoint"]
        self.management_url = info["managementUrl"]
        self._accounts = itertools.count(1)

    def new_account(self) -> str:
        """An access key of an unused account; its secret is the same string."""
        number = next(self._accounts)
        assert number <= ACCOUNTS, "ACCOUNTS is too small"
        return f"account{number}"

    def client(self, access_key: str) -> Any:
        """An unmodified boto3 client."""
        return boto3.client(
            "ivs",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=access_key,
            config=Config(retries={"total_max_attempts": 3, "mode": "standard"}),
        )

    def start_stream(self, channel_arn: str) -> None:
        """Start a channel's stream; until then its playback URL returns 404."""
        with Client(self.management_url) as management:
            started = management.request("POST", "/streams/start", json.dumps({"channelArn": channel_arn}))
            assert started.status == 201, started


@contextlib.contextmanager
def local_ivs(folder: Path) -> Iterator[LocalIvs]:
    """`tokensvc ivs serve`, in memory."""
    info = folder / "ivs.json"
    keys = [f"account{n}:account{n}:{100_000_000_000 + n}" for n in range(1, ACCOUNTS + 1)]
    options = [
        "--port",
        "0",
        "--memory",
        "--no-rate-limits",
        "--info-file",
        str(info),
        *(f"--access-key={key}" for key in keys),
    ]
    with started([TOKENSVC, "ivs", "serve", *options], folder, environment(folder / "home"), "ivs") as process:
        process.wait_until(info.exists, "it writes its connection info")
        yield LocalIvs(process, json.loads(info.read_text()))


class Service(NamedTuple):
    """The running service."""

    url: str
    process: Process

    def client(self, key: str = "") -> Client:
        return Client(self.url, key)


class Deployment:
    """The store, vault and settings of one deployment."""

    def __init__(self, ivs: LocalIvs, folder: Path, database_url: str = "") -> None:
        self.ivs = ivs
        self.folder = folder
        self.access_key = ivs.new_account()
        self.store = folder / "store.db"
        self.passphrase = secrets.token_hex(32)
        self.environ = environment(
            folder / "home",
            {
                "TOKENSVC_CONTROL_PLANE": "local",
                "TOKENSVC_DATABASE_URL": database_url or f"sqlite:///{self.store}",
                "TOKENSVC_PASSPHRASE": self.passphrase,
                "TOKENSVC_VAULT": "store" if database_url else f"file:{folder / 'keys'}",
                "TOKENSVC_KEY_PROPAGATION_SECONDS": "0",
                "TOKENSVC_KEY_STANDBY": "false",
                "TOKENSVC_SHUTDOWN_DELAY_SECONDS": "0",
                "TOKENSVC_CHANNEL_CALLS_PER_SECOND": "5",
                "TOKENSVC_CHANNEL_LOOKUP_TIMEOUT_SECONDS": "5",
                "TOKENSVC_PORT": "0",
                "AWS_ENDPOINT_URL_IVS": ivs.endpoint,
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.access_key,
            },
        )
        self._names = itertools.count(1)

    def run(self, *arguments: str, code: int | None = 0, stdin: str = "", **settings: str) -> CommandResult:
        """Run a `tokensvc` command on this deployment; `settings` are named without their prefix."""
        return run([TOKENSVC, *arguments], self.folder, self._with(settings), stdin=stdin, code=code)

    def run_all(self, *commands: tuple[list[str], dict[str, str]]) -> CommandResult:
        """Run several commands in turn, each with its settings, regardless of their exit codes."""
        lines = [json.dumps((arguments, _prefixed(settings))) for arguments, settings in commands]
        return run([sys.executable, "-c", RUN_COMMANDS], self.folder, self.environ, stdin="\n".join(lines))

    def set_up(self, *options: str) -> str:
        """Create the store, an active key and a caller; return its API key."""
        add = ["callers", "add", "first", *(options or ("--all-channels",))]
        result = self.run_all((["db", "upgrade"], {}), (["keys", "generate"], {}), (add, {}))
        assert result.err.count("exited with 0") == 3, result.err
        return next(word for word in result.out.split() if word.startswith("tsk_"))

    def add_caller(self, *options: str) -> str:
        """Add a caller; return its API key."""
        name = f"caller-{next(self._names)}"
        return str(self.run("callers", "add", name, "--json", *(options or ("--all-channels",))).json["apiKey"])

    def add_caller_and_wait(self, service: Service, path: str, *scopes: str) -> str:
        """Add a caller for all channels with these scopes; wait until the service accepts it at that path; return its
        API key."""
        api_key = self.add_caller("--all-channels", *(word for scope in scopes for word in ("--scope", scope)))
        with service.client(api_key) as client:
            wait_until(lambda: client.get(path).status == 200, "the service knows the caller")
        return api_key

    def new_channel(self, **fields: object) -> Any:
        """Create a private channel with boto3 and start its stream."""
        ivs = self.ivs.client(self.access_key)
        channel = ivs.create_channel(authorized=True, **fields)["channel"]
        ivs.close()
        self.ivs.start_stream(channel["arn"])
        return channel

    @contextlib.contextmanager
    def serve(self, **settings: str) -> Iterator[Service]:
        """Run `tokensvc serve` while the block runs."""
        environ = self._with(settings)
        workers = int(environ.get("TOKENSVC_WORKERS", "1"))
        name = f"serve{next(self._names)}"
        with started([TOKENSVC, "serve"], self.folder, environ, name) as process:
            process.wait_until(lambda: process.err.count('"event": "serving"') >= workers, "all workers serve")
            lines = [json.loads(line) for line in process.err.splitlines() if '"serving"' in line]
            yield Service(f"http://127.0.0.1:{lines[0]['port']}", process)

    def _with(self, settings: dict[str, str]) -> dict[str, str]:
        return self.environ | _prefixed(settings)


def _prefixed(settings: dict[str, str]) -> dict[str, str]:
    return {f"TOKENSVC_{name}": value for name, value in settings.items()}


_given_ports = set[int]()


def free_port() -> int:
    """A port that was free a moment ago, is outside the range of ephemeral ports, and is given to nobody else: each
    process gives a port once, and each worker of pytest-xdist has ports of its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    while True:
        port = 15_000 + 16 * random.SystemRandom().randrange(1_000) + worker
        if port in _given_ports:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given_ports.add(port)
            return port
