"""Three rotations and a compromise under load: `python -m benchmarks.rotation [--json]`.

Invariants
- Two workers as shipped, with leases and token lifetimes so short that keys drain within the run, and the local IVS.
- Every issued token is played at the local edge immediately. No request may fail and no token may be denied, except
  tokens of the compromised key after the compromise; in the end all of those must be denied, and no others.
- The key that signed a token is found by verifying it with each public key.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.load.deployment import DeploymentUnderTest, temporary_deployment
from benchmarks.report import report
from tokensvc.jose.es384 import base64url_decode, verify
from tokensvc.jose.keypair import PublicKey, read_public_pem

SETTINGS = {
    "TOKENSVC_WORKERS": "2",
    "TOKENSVC_SNAPSHOT_LEASE_SECONDS": "2",
    "TOKENSVC_STORE_TIMEOUT_SECONDS": "1",
    "TOKENSVC_MAX_TTL_SECONDS": "15",
    "TOKENSVC_KEY_PROPAGATION_SECONDS": "2",
}
ROTATIONS = 3
VIEWERS = 4
BETWEEN_SECONDS = 4
RECENT_TOKENS = 4000
TARGETS = {"failed requests": 0.0, "tokens wrongly denied": 0.0, "tokens of the compromised key still allowed": 0.0}


@dataclass
class ViewerLog:
    """What the viewers observed."""

    issued: int = 0
    failed: list[str] = field(default_factory=list)
    denied: list[tuple[float, str]] = field(default_factory=list)
    """Time and token of each denial."""
    recent: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=RECENT_TOKENS))
    """The latest tokens: expiry, playback URL, token."""
    stopping: threading.Event = field(default_factory=threading.Event)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, temporary_deployment(Path(name), SETTINGS) as deployment:
        _wait_for_playback_url(deployment)
        log = ViewerLog()
        viewers = [threading.Thread(target=_run_viewer, args=(deployment, log)) for _ in range(VIEWERS)]
        for viewer in viewers:
            viewer.start()
        time.sleep(BETWEEN_SECONDS)
        durations = []
        for _ in range(ROTATIONS):
            started = time.monotonic()
            _tokensvc(deployment, "keys", "rotate", "--wait")
            durations.append(time.monotonic() - started)
            time.sleep(BETWEEN_SECONDS)
        compromised_key = _active_key(deployment)
        compromised_at, started = time.time(), time.monotonic()
        _tokensvc(deployment, "keys", "compromise", compromised_key, "--yes")
        compromise_seconds = time.monotonic() - started
        time.sleep(BETWEEN_SECONDS)
        replayed = _replay_recent(log)
        log.stopping.set()
        for viewer in viewers:
            viewer.join()
        _report(
            deployment,
            log,
            compromised_key,
            compromised_at,
            replayed,
            {"rotations": durations, "compromise": compromise_seconds},
        )


def _report(
    deployment: DeploymentUnderTest,
    log: ViewerLog,
    compromised_key: str,
    compromised_at: float,
    replayed: list[tuple[str, bool]],
    durations: dict[str, Any],
) -> None:
    keys = _public_keys(deployment)
    rightly_denied = [
        token
        for denied_at, token in log.denied
        if denied_at >= compromised_at and _signer(token, keys) == compromised_key
    ]
    still_allowed = [token for token, allowed in replayed if allowed and _signer(token, keys) == compromised_key]
    wrongly_denied = [token for token, allowed in replayed if not allowed and _signer(token, keys) != compromised_key]
    counts = {
        "failed requests": float(len(log.failed)),
        "tokens wrongly denied": float(len(log.denied) - len(rightly_denied) + len(wrongly_denied)),
        "tokens of the compromised key still allowed": float(len(still_allowed)),
    }
    figures = {
        "tokens issued and played": log.issued,
        "tokens of the compromised key rightly denied": len(rightly_denied)
        + sum(not allowed for _, allowed in replayed),
        "keys that signed": len({_signer(token, keys) for token, _ in replayed}),
        "duration of each rotation, seconds": ", ".join(f"{seconds:.1f}" for seconds in durations["rotations"]),
        "duration of the compromise, seconds": float(durations["compromise"]),
        "first failure": log.failed[0] if log.failed else "-",
    }
    report("rotation under load", counts, figures, TARGETS)
    if any(counts.values()):
        raise SystemExit(1)


def _run_viewer(deployment: DeploymentUnderTest, log: ViewerLog) -> None:
    """Simulate one viewer after another: request a token, start playback with it."""
    target = deployment.target
    service = urlsplit(target.url)
    connection = http.client.HTTPConnection(str(service.hostname), service.port, timeout=10)
    headers = {"authorization": f"Bearer {target.api_key}", "content-type": "application/json"}
    number = 0
    while not log.stopping.is_set():
        number += 1
        token_request = {
            "channelArn": target.channels[0],
            "viewerId": f"viewer-{threading.get_ident() % 10_000}-{number}",
        }
        try:
            connection.request("POST", "/v1/tokens", json.dumps(token_request), headers)
            response = connection.getresponse()
            body = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            log.failed.append(f"{type(error).__name__}: {error}")
            connection.close()
            continue
        if response.status != 201 or "playbackUrl" not in body:
            log.failed.append(f"{response.status}: {body}")
            continue
        log.issued += 1
        log.recent.append((time.time() + 12, body["playbackUrl"], body["token"]))
        if not _is_allowed(body["playbackUrl"]):
            log.denied.append((time.time(), body["token"]))


def _wait_for_playback_url(deployment: DeploymentUnderTest) -> None:
    """Request tokens until the service knows the channel's playback URL."""
    warm_up_log = ViewerLog()
    viewer = threading.Thread(target=_run_viewer, args=(deployment, warm_up_log))
    viewer.start()
    while not warm_up_log.issued:
        time.sleep(0.1)
    warm_up_log.stopping.set()
    viewer.join()


def _is_allowed(url: str) -> bool:
    edge = urlsplit(url)
    connection = http.client.HTTPConnection(str(edge.hostname), edge.port, timeout=10)
    try:
        connection.request("GET", f"{edge.path}?{edge.query}")
        return connection.getresponse().status != 403  # 404: allowed, but no stream is live
    finally:
        connection.close()


def _replay_recent(log: ViewerLog) -> list[tuple[str, bool]]:
    """Play the latest unexpired tokens again; each token, and whether it is allowed."""
    return [(token, _is_allowed(url)) for expires_at, url, token in list(log.recent) if expires_at > time.time() + 1]


def _active_key(deployment: DeploymentUnderTest) -> str:
    """The id of the active key."""
    keys = json.loads(_tokensvc(deployment, "keys", "list", "--json"))["keys"]
    return str(
        next(key["id"] for key in keys if any(placement["state"] == "active" for placement in key["placements"]))
    )


def _public_keys(deployment: DeploymentUnderTest) -> dict[str, PublicKey]:
    keys = json.loads(_tokensvc(deployment, "keys", "list", "--json"))["keys"]
    return {key["id"]: read_public_pem(_tokensvc(deployment, "keys", "public", key["id"]).encode()) for key in keys}


def _signer(token: str, keys: Mapping[str, PublicKey]) -> str | None:
    signed, _, signature = token.encode().rpartition(b".")
    return next((key_id for key_id, key in keys.items() if verify(key, signed, base64url_decode(signature))), None)


def _tokensvc(deployment: DeploymentUnderTest, *arguments: str) -> str:
    command = [sys.executable, "-m", "tokensvc", *arguments]
    done = subprocess.run(command, env=deployment.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tokensvc {' '.join(arguments)}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
