"""Three rotations and a compromise under load: `python -m benchmarks.rotation [--json]`.

Rules of the file
- Two workers as shipped, with leases and lives so short that keys drain within the run; the local IVS beside them.
- Every token minted is tried at the local edge at once. No request may fail and no token be refused, but for tokens of
  the compromised key once it is compromised; those must all be refused in the end, and no others.
- Which key signed a token is told by verifying it with each key's public half.
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

from benchmarks.load.deployment import Standing, deployed
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
KEPT = 4000
TARGETS = {"failed requests": 0.0, "tokens refused": 0.0, "of the compromised key, still admitted": 0.0}


@dataclass
class Ledger:
    """What the viewers saw."""

    minted: int = 0
    failed: list[str] = field(default_factory=list)
    refused: list[tuple[float, str]] = field(default_factory=list)
    """When, and which token."""
    kept: deque[tuple[float, str, str]] = field(default_factory=lambda: deque(maxlen=KEPT))
    """The last tokens: when they end, where they are played, and they themselves."""
    stopping: threading.Event = field(default_factory=threading.Event)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, deployed(Path(name), SETTINGS) as standing:
        _find_channel(standing)
        ledger = Ledger()
        viewers = [threading.Thread(target=_watch, args=(standing, ledger)) for _ in range(VIEWERS)]
        for viewer in viewers:
            viewer.start()
        time.sleep(BETWEEN_SECONDS)
        took = []
        for _ in range(ROTATIONS):
            began = time.monotonic()
            _tokensvc(standing, "keys", "rotate", "--wait")
            took.append(time.monotonic() - began)
            time.sleep(BETWEEN_SECONDS)
        bad = _signing(standing)
        began_at, began = time.time(), time.monotonic()
        _tokensvc(standing, "keys", "compromise", bad, "--yes")
        compromised = time.monotonic() - began
        time.sleep(BETWEEN_SECONDS)
        again = _try_again(ledger)
        ledger.stopping.set()
        for viewer in viewers:
            viewer.join()
        _report(standing, ledger, bad, began_at, again, {"rotations": took, "compromise": compromised})


def _report(
    standing: Standing, ledger: Ledger, bad: str, began_at: float, again: list[tuple[str, bool]], took: dict[str, Any]
) -> None:
    keys = _public_keys(standing)
    excused = [token for at, token in ledger.refused if at >= began_at and _signer(token, keys) == bad]
    still = [token for token, admitted in again if admitted and _signer(token, keys) == bad]
    wrongly = [token for token, admitted in again if not admitted and _signer(token, keys) != bad]
    counts = {
        "failed requests": float(len(ledger.failed)),
        "tokens refused": float(len(ledger.refused) - len(excused) + len(wrongly)),
        "of the compromised key, still admitted": float(len(still)),
    }
    figures = {
        "tokens minted and tried": ledger.minted,
        "of the compromised key, refused as they must be": len(excused) + sum(not admitted for _, admitted in again),
        "keys that signed": len({_signer(token, keys) for token, _ in again}),
        "rotations took, seconds": ", ".join(f"{seconds:.1f}" for seconds in took["rotations"]),
        "compromise took, seconds": float(took["compromise"]),
        "first failure": ledger.failed[0] if ledger.failed else "-",
    }
    report("rotation under load", counts, figures, TARGETS)
    if any(counts.values()):
        raise SystemExit(1)


def _watch(standing: Standing, ledger: Ledger) -> None:
    """One viewer after another: ask for a token, start playback with it."""
    target = standing.target
    service = urlsplit(target.url)
    connection = http.client.HTTPConnection(str(service.hostname), service.port, timeout=10)
    headers = {"authorization": f"Bearer {target.api_key}", "content-type": "application/json"}
    number = 0
    while not ledger.stopping.is_set():
        number += 1
        ask = {"channelArn": target.channels[0], "viewerId": f"viewer-{threading.get_ident() % 10_000}-{number}"}
        try:
            connection.request("POST", "/v1/tokens", json.dumps(ask), headers)
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as problem:
            ledger.failed.append(f"{type(problem).__name__}: {problem}")
            connection.close()
            continue
        if answer.status != 201 or "playbackUrl" not in body:
            ledger.failed.append(f"{answer.status}: {body}")
            continue
        ledger.minted += 1
        ledger.kept.append((time.time() + 12, body["playbackUrl"], body["token"]))
        if not _plays(body["playbackUrl"]):
            ledger.refused.append((time.time(), body["token"]))


def _find_channel(standing: Standing) -> None:
    """Ask until the service knows the channel's playback URL."""
    warm, warming = Ledger(), threading.Event()
    warm.stopping = warming
    viewer = threading.Thread(target=_watch, args=(standing, warm))
    viewer.start()
    while not warm.minted:
        time.sleep(0.1)  # and look again
    warming.set()
    viewer.join()


def _plays(url: str) -> bool:
    edge = urlsplit(url)
    connection = http.client.HTTPConnection(str(edge.hostname), edge.port, timeout=10)
    try:
        connection.request("GET", f"{edge.path}?{edge.query}")
        return connection.getresponse().status != 403  # 404: admitted, and nothing is streamed just now
    finally:
        connection.close()


def _try_again(ledger: Ledger) -> list[tuple[str, bool]]:
    """Try the last tokens once more, those that still live: each token, and whether it is admitted."""
    return [(token, _plays(url)) for ends_at, url, token in list(ledger.kept) if ends_at > time.time() + 1]


def _signing(standing: Standing) -> str:
    """The key that signs."""
    keys = json.loads(_tokensvc(standing, "keys", "list", "--json"))["keys"]
    return str(next(key["id"] for key in keys if any(place["state"] == "active" for place in key["placements"])))


def _public_keys(standing: Standing) -> dict[str, PublicKey]:
    keys = json.loads(_tokensvc(standing, "keys", "list", "--json"))["keys"]
    return {key["id"]: read_public_pem(_tokensvc(standing, "keys", "public", key["id"]).encode()) for key in keys}


def _signer(token: str, keys: Mapping[str, PublicKey]) -> str | None:
    signed, _, signature = token.encode().rpartition(b".")
    return next((key_id for key_id, key in keys.items() if verify(key, signed, base64url_decode(signature))), None)


def _tokensvc(standing: Standing, *arguments: str) -> str:
    command = [sys.executable, "-m", "tokensvc", *arguments]
    done = subprocess.run(command, env=standing.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"tokensvc {' '.join(arguments)}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
