"""Starts the measured servers: tokensvc on a store of its own, and its peers, all pinned to one core.

Invariants
- tokensvc runs as shipped: `tokensvc serve`, one worker, with authentication, metrics, request ids and access log.
- All files are in a temporary folder, and all servers listen on loopback.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import psutil

from tokensvc.audit.record import Actor, ActorKind, AuditEvent
from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.callers.policy import CallerPolicy
from tokensvc.container import keys_context, vault
from tokensvc.container.api_keys import new_api_key
from tokensvc.container.store import open_configured_store
from tokensvc.jose import keypair
from tokensvc.settings import read_settings
from tokensvc.storage import migrate
from tokensvc.tokens.channels import ChannelRecord

ACCOUNT_REGION = AccountRegion("000000000000", "us-east-1")
CHANNEL = Arn(ACCOUNT_REGION, "channel", "abcdefghijkl")
_EVENT = AuditEvent(Actor(ActorKind.SYSTEM, "benchmark"), "test")
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
"""Different cores if the machine has more than one."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class RunningService(NamedTuple):
    """A running tokensvc."""

    url: str
    api_key: str
    pid: int


class Endpoint(NamedTuple):
    """A running server: its base URL and process id."""

    url: str
    pid: int


@contextmanager
def deployed_service(folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[RunningService]:
    """tokensvc with one channel, one active key and one caller; `settings` are environment variables."""
    environ, api_key = create_deployment(folder)
    with run_service(folder, {**environ, **settings}, api_key) as running:
        yield running


@contextmanager
def run_service(
    folder: Path, environ: Mapping[str, str], api_key: str, program: str = "tokensvc"
) -> Iterator[RunningService]:
    """tokensvc in this environment; `program` is the module to run instead of `tokensvc`."""
    command = [sys.executable, "-m", program, "serve"]
    with (folder / "access.log").open("w") as log, run_process(command, dict(environ), log) as pid:
        url = f"http://127.0.0.1:{environ['TOKENSVC_PORT']}"
        wait_for_response(url + "/readyz")
        yield RunningService(url, api_key, pid)


def create_deployment(folder: Path) -> tuple[dict[str, str], str]:
    """Create a store in this folder; the environment of its service and its caller's API key."""
    environ = os.environ | {
        "TOKENSVC_CONTROL_PLANE": "local",
        "TOKENSVC_DATABASE_URL": f"sqlite:///{folder}/store.db",
        "TOKENSVC_PASSPHRASE": secrets.token_hex(32),
        "TOKENSVC_VAULT": f"file:{folder}/keys",
        "TOKENSVC_PORT": str(free_port()),
        "TOKENSVC_SHUTDOWN_DELAY_SECONDS": "0",
        "AWS_ENDPOINT_URL_IVS": "http://127.0.0.1:9",
        "AWS_REGION": ACCOUNT_REGION.region,
    }
    return environ, _create_store(environ)


@contextmanager
def run_peer(module: str, environ: Mapping[str, str] = MappingProxyType({})) -> Iterator[Endpoint]:
    """A Python peer under plain uvicorn."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.peers.{module}:app", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
    with run_process(command, {**os.environ, **environ}, None) as pid:
        wait_for_response(f"http://127.0.0.1:{port}/")
        yield Endpoint(f"http://127.0.0.1:{port}", pid)


def cpu_seconds(pid: int) -> float:
    """The CPU time used by all threads of a process and its descendants."""
    server = psutil.Process(pid)
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    used: float = sum(time.user + time.system for time in times)
    return used


@contextmanager
def run_local_ivs(*, rate_limits: bool = False) -> Iterator[Endpoint]:
    """The local IVS in a process of its own, with or without IVS's rate limits."""
    port = free_port()
    command = [sys.executable, "-m", "tokensvc", "ivs", "serve", "--memory", "--port", str(port)]
    command += [] if rate_limits else ["--no-rate-limits"]
    with run_process(command, dict(os.environ), subprocess.DEVNULL) as pid:
        wait_for_response(f"http://127.0.0.1:{port}/")
        yield Endpoint(f"http://127.0.0.1:{port}", pid)


@contextmanager
def run_moto() -> Iterator[Endpoint]:
    """moto's server."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with run_process(command, dict(os.environ), subprocess.DEVNULL) as pid:
        wait_for_response(f"http://127.0.0.1:{port}/")
        yield Endpoint(f"http://127.0.0.1:{port}", pid)


@contextmanager
def on_server_core() -> Iterator[None]:
    """Run this process on the servers' core during the block."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def free_port() -> int:
    """A port that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _create_store(environ: dict[str, str]) -> str:
    settings = read_settings({k: v for k, v in environ.items() if k.startswith("TOKENSVC_")})
    assert settings.database_url is not None
    migrate.upgrade(settings.database_url.get_secret_value())
    store = open_configured_store(settings)
    now = datetime.now(UTC)
    private_key, key_id = keypair.generate(), keys_context.new_key_id()
    public_key = private_key.public_key()
    store.keys.add(key_id, keypair.fingerprint(public_key), keypair.public_der(public_key), now)
    vault.open_vault(settings, store, vault.make_cipher(settings, store)).put(key_id, private_key)
    store.keys.record_import(key_id, ACCOUNT_REGION, str(Arn(ACCOUNT_REGION, "playback-key", "abcdefghijkl")), now)
    store.keys.activate(key_id, ACCOUNT_REGION, now, 3600)
    playback_url = f"https://example.invalid{CHANNEL.playback_path}"
    store.channels.record([ChannelRecord(str(CHANNEL), playback_url, True, now, 0)])
    api_key, secret = new_api_key()
    store.callers.add("bench", CallerPolicy((str(CHANNEL),)), secret, _EVENT)
    store.close()
    return api_key


@contextmanager
def run_process(command: list[str], environ: dict[str, str], log: object) -> Iterator[int]:
    """A process on the servers' core; yields its pid and terminates it after the block. Ctrl-C does not reach it."""
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # standard output is for the benchmark's result
        stderr=log,  # type: ignore[call-overload] # an open file or None
        preexec_fn=init_server_process,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def init_server_process() -> None:
    """Called in a new process: pin it to the servers' core, and terminate it when its parent ends for any reason."""
    os.sched_setaffinity(0, {SERVER_CORE})
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def wait_for_response(url: str) -> None:
    """Wait until the URL responds with any status. Raises SystemExit after 30 seconds."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:  # not listening yet
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{url} did not respond within 30 seconds")
