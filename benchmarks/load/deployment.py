"""The deployment under load if no URL is given: local IVS, store, key, caller and one worker, created as in the README.

Invariants
- It is created with the real commands on a real local IVS, so that actions such as `tokensvc keys rotate` work on it.
- The service runs as shipped, pinned with the local IVS to the servers' core; its log goes to a file.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import boto3

from benchmarks import servers
from benchmarks.load.wire import Target

REGION = "us-east-1"
PROPAGATION_SECONDS = 3
"""The local IVS accepts a key immediately; a short delay keeps the waiting phase visible."""


class DeploymentUnderTest(NamedTuple):
    """The target of the load, and the environment in which commands act on it."""

    target: Target
    environ: dict[str, str]


@contextmanager
def temporary_deployment(
    folder: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[DeploymentUnderTest]:
    """Run a deployment in this folder during the block; `settings` are environment variables."""
    port = servers.free_port()
    with servers.run_local_ivs() as ivs, (folder / "serve.log").open("w") as log:
        environ = {**_environ(folder, ivs.url, port), **settings}
        client = boto3.client("ivs", region_name=REGION, endpoint_url=ivs.url, **_credentials())
        channel_arn = client.create_channel(name="load", authorized=True)["channel"]["arn"]
        _tokensvc(environ, "db", "upgrade")
        _tokensvc(environ, "keys", "generate")
        scopes = ["--scope", "tokens:issue", "--scope", "revocations:write"]
        added = _tokensvc(environ, "callers", "add", "load", "--channels", channel_arn, *scopes, "--json")
        with servers.run_process([sys.executable, "-m", "tokensvc", "serve"], environ, log):
            url = f"http://127.0.0.1:{port}"
            servers.wait_for_response(f"{url}/readyz")
            yield DeploymentUnderTest(Target(url, json.loads(added)["apiKey"], (channel_arn,)), environ)


def _environ(folder: Path, ivs_url: str, port: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENSVC_", "AWS_"))}
    return inherited | {
        "TOKENSVC_CONTROL_PLANE": "local",
        "TOKENSVC_DATABASE_URL": f"sqlite:///{folder}/store.db",
        "TOKENSVC_PASSPHRASE": secrets.token_hex(32),
        "TOKENSVC_VAULT": f"file:{folder}/keys",
        "TOKENSVC_PORT": str(port),
        "TOKENSVC_KEY_PROPAGATION_SECONDS": str(PROPAGATION_SECONDS),
        "TOKENSVC_SHUTDOWN_DELAY_SECONDS": "0",
        "AWS_ENDPOINT_URL_IVS": ivs_url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def _credentials() -> dict[str, str]:
    return {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def _tokensvc(environ: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tokensvc", *arguments], env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"tokensvc {' '.join(arguments)}:\n{done.stderr}")
    return done.stdout
