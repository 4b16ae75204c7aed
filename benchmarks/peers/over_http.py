"""A token over HTTP: our service as shipped beside what people write, each one process on one core.

Rules of the file
- The same request for all: a channel and a viewer, and the caller's key in `Authorization`. wrk asks from another core.
- Ours checks the caller, its policy, the ask, the channel and the denials, counts, and writes an access line. The peers
  check the caller, take the body's word, and log nothing; "bare" checks nothing at all.
- A token of each is judged before it is measured.
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

from benchmarks import rounds as turns
from benchmarks import servers, wrk
from benchmarks.peers import unavailable
from benchmarks.peers.key import API_KEY
from benchmarks.peers.verification import Wrong, judge, judge_signature
from benchmarks.rounds import Spread
from benchmarks.server_measurement import Contender, turn

BARE = "bare app that only signs"
NAIVE = "Starlette + PyJWT with PEM"
FASTIFY = {"fastify + jose": "jose", "fastify + jsonwebtoken": "jsonwebtoken", "fastify + fast-jwt": "fast-jwt"}
ASK = {"channelArn": str(servers.CHANNEL), "viewerId": "viewer-0001"}
WARM_UP_SECONDS = 1


class Peer(NamedTuple):
    """A running server, and how its tokens are asked for and judged."""

    url: str
    pid: int
    api_key: str
    keys: list[Any]


def measure(
    key: ec.EllipticCurvePrivateKey, folder: Path, environ: Mapping[str, str], rounds: int, seconds: int
) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Ratios and figures of those who are here, each turn so long."""
    with _running(key, folder, environ) as peers:
        contest = {}
        for number, (name, peer) in enumerate(peers.items()):
            _judge(name, peer)
            script = wrk.script(folder, f"single{number}", ASK, _headers(peer))
            contest[name] = partial(turn, Contender(script, peer.url, peer.pid))
        for take in contest.values():
            take(WARM_UP_SECONDS)
        taken = turns.by_turns({name: partial(take, seconds) for name, take in contest.items()}, rounds)
    ratios = turns.ours_beside(taken, "HTTP", "by server CPU")
    figures: dict[str, Any] = {}
    for name, taking in taken.items():
        figures[f"HTTP, {name}, tokens per second"] = median(one.per_second for one in taking)
        figures[f"HTTP, {name}, CPU microseconds a token"] = median(one.cpu_us for one in taking)
    return ratios, figures


def left_out() -> dict[str, str]:
    """Who is not here, and why."""
    if (why := unavailable.wrk()) is not None:
        return {"everything over HTTP": why}
    why = unavailable.node()
    return {} if why is None else dict.fromkeys(FASTIFY, why)


@contextmanager
def _running(key: ec.EllipticCurvePrivateKey, folder: Path, environ: Mapping[str, str]) -> Iterator[dict[str, Peer]]:
    keys = [key.public_key()]
    with ExitStack() as running:
        ours = running.enter_context(servers.ours(folder))
        bare = running.enter_context(servers.peer("bare", environ))
        naive = running.enter_context(servers.peer("naive", environ))
        peers = {
            "ours": Peer(f"{ours.url}/v1/tokens", ours.pid, ours.api_key, _published(ours.url)),
            BARE: Peer(f"{bare.url}/v1/tokens", bare.pid, API_KEY, keys),
            NAIVE: Peer(f"{naive.url}/v1/tokens", naive.pid, API_KEY, keys),
        }
        if unavailable.node() is None:
            for name, library in FASTIFY.items():
                url, pid = running.enter_context(_fastify(library, environ))
                peers[name] = Peer(f"{url}/v1/tokens", pid, API_KEY, keys)
        yield peers


@contextmanager
def _fastify(library: str, environ: Mapping[str, str]) -> Iterator[servers.Peer]:
    port = servers.free_port()
    command = ["node", str(unavailable.NODE_FOLDER / "server.mjs"), library, str(port)]
    with servers.running(command, {**os.environ, **environ}, None) as pid:
        servers.await_answer(f"http://127.0.0.1:{port}/")
        yield servers.Peer(f"http://127.0.0.1:{port}", pid)


def _published(url: str) -> list[Any]:
    with urllib.request.urlopen(f"{url}/.well-known/jwks.json", timeout=10) as answer:
        return [jwt.PyJWK(one).key for one in json.load(answer)["keys"]]


def _headers(peer: Peer) -> dict[str, str]:
    return {"authorization": f"Bearer {peer.api_key}", "content-type": "application/json"}


def _judge(name: str, peer: Peer) -> None:
    request = urllib.request.Request(peer.url, json.dumps(ASK).encode(), _headers(peer))
    with urllib.request.urlopen(request, timeout=10) as answer:
        token = json.load(answer)["token"]
    try:
        if name == BARE:
            judge_signature(token, peer.keys)
        else:
            judge(token, peer.keys, ASK["channelArn"], ASK["viewerId"])
    except Wrong as wrong:
        raise SystemExit(f"{name} makes tokens that are wrong: {wrong}") from None
