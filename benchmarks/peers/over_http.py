"""A token over HTTP: tokensvc as shipped and typical implementations, each one process on one core.

Invariants
- All get the same request: a channel and a viewer, and the caller's key in `Authorization`. wrk runs on another core.
- tokensvc checks the caller, its policy, the request, the channel and the denials, counts metrics, and writes an access
  log. The peers check the caller, trust the body, and log nothing; "bare" checks nothing at all.
- A token of each server is verified before it is measured.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import rounds, servers, wrk
from benchmarks.peers import unavailable
from benchmarks.peers.key import API_KEY
from benchmarks.peers.verification import InvalidToken, verify_signature, verify_token
from benchmarks.rounds import Spread
from benchmarks.server_measurement import Contender, measure_server

BARE = "bare app that only signs"
NAIVE = "Starlette + PyJWT with PEM"
FASTIFY = {"fastify + jose": "jose", "fastify + jsonwebtoken": "jsonwebtoken", "fastify + fast-jwt": "fast-jwt"}
TOKEN_REQUEST = {"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"}
WARM_UP_SECONDS = 1


class Peer(NamedTuple):
    """A running server, and how its tokens are requested and verified."""

    url: str
    pid: int
    api_key: str
    keys: list[Any]


def measure(
    key: ec.EllipticCurvePrivateKey, folder: Path, environ: Mapping[str, str], round_count: int, seconds: int
) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Ratios and figures of the available servers, with measurements of `seconds`."""
    with _running(key, folder, environ) as peers:
        measurements = {}
        for number, (name, peer) in enumerate(peers.items()):
            _verify(name, peer)
            script = wrk.script(folder, f"single{number}", TOKEN_REQUEST, _headers(peer))
            measurements[name] = partial(measure_server, Contender(script, peer.url, peer.pid))
        for run in measurements.values():
            run(WARM_UP_SECONDS)
        results = rounds.interleave({name: partial(run, seconds) for name, run in measurements.items()}, round_count)
    ratios = rounds.ratios_to_others(results, "HTTP", "by server CPU")
    figures: dict[str, Any] = {}
    for name, measured in results.items():
        figures[f"HTTP, {name}, tokens per second"] = median(one.per_second for one in measured)
        figures[f"HTTP, {name}, CPU microseconds per token"] = median(one.cpu_us for one in measured)
    return ratios, figures


def skipped() -> dict[str, str]:
    """The skipped servers and the reasons."""
    if (reason := unavailable.wrk()) is not None:
        return {"everything over HTTP": reason}
    reason = unavailable.node()
    return {} if reason is None else dict.fromkeys(FASTIFY, reason)


@contextmanager
def _running(key: ec.EllipticCurvePrivateKey, folder: Path, environ: Mapping[str, str]) -> Iterator[dict[str, Peer]]:
    keys = [key.public_key()]
    with ExitStack() as running:
        service = running.enter_context(servers.deployed_service(folder))
        bare = running.enter_context(servers.run_peer("bare", environ))
        naive = running.enter_context(servers.run_peer("naive", environ))
        peers = {
            "tokensvc": Peer(f"{service.url}/v1/tokens", service.pid, service.api_key, _published_keys(service.url)),
            BARE: Peer(f"{bare.url}/v1/tokens", bare.pid, API_KEY, keys),
            NAIVE: Peer(f"{naive.url}/v1/tokens", naive.pid, API_KEY, keys),
        }
        if unavailable.node() is None:
            for name, library in FASTIFY.items():
                url, pid = running.enter_context(_fastify(library, environ))
                peers[name] = Peer(f"{url}/v1/tokens", pid, API_KEY, keys)
        yield peers


@contextmanager
def _fastify(library: str, environ: Mapping[str, str]) -> Iterator[servers.Endpoint]:
    port = servers.free_port()
    command = ["node", str(unavailable.NODE_FOLDER / "server.mjs"), library, str(port)]
    with servers.run_process(command, {**os.environ, **environ}, None) as pid:
        servers.wait_for_response(f"http://127.0.0.1:{port}/")
        yield servers.Endpoint(f"http://127.0.0.1:{port}", pid)


def _published_keys(url: str) -> list[Any]:
    with urllib.request.urlopen(f"{url}/.well-known/jwks.json", timeout=10) as response:
        return [jwt.PyJWK(one).key for one in json.load(response)["keys"]]


def _headers(peer: Peer) -> dict[str, str]:
    return {"authorization": f"Bearer {peer.api_key}", "content-type": "application/json"}


def _verify(name: str, peer: Peer) -> None:
    request = urllib.request.Request(peer.url, json.dumps(TOKEN_REQUEST).encode(), _headers(peer))
    with urllib.request.urlopen(request, timeout=10) as response:
        token = json.load(response)["token"]
    try:
        if name == BARE:
            verify_signature(token, peer.keys)
        else:
            verify_token(token, peer.keys, TOKEN_REQUEST["channelArn"], TOKEN_REQUEST["viewerId"])
    except InvalidToken as error:
        raise SystemExit(f"{name} creates invalid tokens: {error}") from None
