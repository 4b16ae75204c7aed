"""What playback costs at the local edge: `python -m benchmarks.edge [--json]`.

Invariants
- A first start is a GET of the multivariant playlist with a token that was not seen before, from the request to the
  response, in process: read the channel, verify the token, apply the rules, start a session. It is compared with the
  bare verification of such a token's signature, r||s, by `cryptography`, which the edge uses.
- A request of a running session is one for a variant playlist or a segment. It verifies nothing.
- In process, all are measured by CPU time in the same interleaved rounds, on one core. The store is in memory.
- Memory is that of a process of its own with 10,000 sessions, each of which has loaded its variant playlist.
- Garbage is collected as in a serving process.
- A start of `tokensvc ivs serve` counts from the creation of the process to its first response.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from statistics import median
from typing import NamedTuple

import orjson
import psutil

from benchmarks import rounds, servers
from benchmarks.report import report
from benchmarks.rounds import Spread
from benchmarks.sign import cpu_us
from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.clock import SystemClock
from tokensvc.http.garbage_collection import freeze_gc
from tokensvc.jose import es384, keypair
from tokensvc.jose.signing.aws_lc import AwsLcKey
from tokensvc.local_ivs import api_model
from tokensvc.local_ivs.edge.delivery import Delivery, MediaRequest, parse_request
from tokensvc.local_ivs.edge.playback import PlaybackHandler, PlaybackRequest
from tokensvc.local_ivs.edge.sessions import Sessions
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.media.ready_made import ReadyMadeLibrary
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.simulator import Simulator
from tokensvc.local_ivs.storage import SqliteResourceStore

ROUNDS = 11
CALLS = 200
SESSIONS = 10_000
START_ROUNDS = 5
RETRY_SECONDS = 0.005
TIMEOUT_SECONDS = 60.0
BASE_URL = "http://127.0.0.1:4599"
STREAM_SECONDS = 60
"""How long the stream has run when it is measured, so that its playlist is full."""

VERIFY, START = "raw verification", "first start"
PLAYLIST, SEGMENT = "variant playlist", "segment"
FIRST_START = f"{START} / {VERIFY}, rate"
MEMORY = f"megabytes of a process with {SESSIONS} sessions"
READY = "ivs serve ready / python -c pass"
AT_LEAST = {FIRST_START: 0.7}
AT_MOST = {f"{PLAYLIST} / {START}": 0.25, f"{SEGMENT} / {START}": 0.25, MEMORY: 200.0, READY: 60.0}


class Edge(NamedTuple):
    """A private channel that is live, and what serves it."""

    resources: SqliteResourceStore
    handler: PlaybackHandler
    delivery: Delivery
    channel: Arn
    public_key: keypair.PublicKey
    now: float
    tokens: Iterator[str]
    """Each with another viewer."""


def main() -> None:
    if sys.argv[1:] == [_HOLD_SESSIONS]:
        hold_sessions()
    else:
        measure()


def measure() -> None:
    with live_edge() as edge, servers.on_server_core():
        results = rounds.interleave(
            {name: partial(cpu_us, call, CALLS) for name, call in contenders(edge).items()}, ROUNDS
        )
    starts = rounds.interleave({"pass": _python_pass, "serve": _ivs_serve}, START_ROUNDS)
    ratios: dict[str, float | Spread] = {
        FIRST_START: rounds.ratio(results[VERIFY], results[START]),
        f"{PLAYLIST} / {START}": rounds.ratio(results[PLAYLIST], results[START]),
        f"{SEGMENT} / {START}": rounds.ratio(results[SEGMENT], results[START]),
        MEMORY: _megabytes_with_sessions(),
        READY: rounds.ratio(starts["serve"], starts["pass"]),
    }
    figures = {f"{name}, CPU microseconds": median(values) for name, values in results.items()}
    figures |= {f"{name}, milliseconds": median(values) * 1000 for name, values in starts.items()}
    report("playback at the local edge", ratios, figures, AT_LEAST | AT_MOST, target_label="limit")


@contextmanager
def live_edge() -> Iterator[Edge]:
    """An edge with the ready-made loop, on a store in memory."""
    resources, clock, key = SqliteResourceStore(":memory:"), SystemClock(), keypair.generate()
    ivs = LocalIvs(api_model.load(), resources, clock, random_string, b"secret")
    material = keypair.public_pem(key.public_key())
    ivs.call(servers.ACCOUNT_REGION, "ImportPlaybackKeyPair", {"publicKeyMaterial": material}, BASE_URL)
    created = ivs.call(servers.ACCOUNT_REGION, "CreateChannel", {"authorized": True}, BASE_URL)
    channel = parse_arn(created["channel"]["arn"])
    Simulator(resources, clock, random_string).start(str(channel))
    library, sessions = ReadyMadeLibrary(), Sessions(resources, random_string)
    handler = PlaybackHandler(resources, sessions, library, random_string)
    freeze_gc()
    now = clock.now() + STREAM_SECONDS
    tokens = _tokens(channel, AwsLcKey(key), int(now) + 300)
    yield Edge(resources, handler, Delivery(resources, sessions, library), channel, key.public_key(), now, tokens)
    resources.close()


def contenders(edge: Edge) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    signatures = cycle([_parts(next(edge.tokens)) for _ in range(CALLS)])
    fresh = iter([next(edge.tokens) for _ in range(CALLS * ROUNDS)])
    playlist, segment = media_requests(edge)
    return {
        VERIFY: lambda: _require(es384.verify(edge.public_key, *next(signatures))),
        START: lambda: start(edge, next(fresh)),
        PLAYLIST: lambda: _require(edge.delivery.handle(playlist, edge.now).status == 200),
        SEGMENT: lambda: _require(edge.delivery.handle(segment, edge.now).status == 200),
    }


def start(edge: Edge, token: str) -> str:
    """Start playback; the multivariant playlist."""
    path = edge.channel.playback_path
    response = edge.handler.handle(PlaybackRequest(edge.channel, path, f"token={token}", "", BASE_URL), edge.now)
    _require(response.status == 200)
    return response.body.decode()


def media_requests(edge: Edge) -> tuple[MediaRequest, MediaRequest]:
    """The requests of a new session for its variant playlist and for the newest segment in that."""
    playlist = _media_request(_last_url(start(edge, next(edge.tokens))))
    return playlist, _media_request(_last_url(edge.delivery.handle(playlist, edge.now).body.decode()))


def hold_sessions() -> None:
    """Start sessions, load each one's variant playlist and report the memory of this process."""
    with live_edge() as edge:
        for _ in range(SESSIONS):
            playlist = _media_request(_last_url(start(edge, next(edge.tokens))))
            _require(edge.delivery.handle(playlist, edge.now).status == 200)
        print(psutil.Process().memory_info().rss / 1_000_000)


def _tokens(channel: Arn, key: AwsLcKey, exp: int) -> Iterator[str]:
    for number in range(1_000_000):
        claims = {"aws:channel-arn": str(channel), "aws:viewer-id": f"viewer-{number}", "exp": exp}
        signed = es384.signing_input(orjson.dumps(claims))
        yield es384.jws_compact(signed, key.sign(es384.digest(signed)))


def _parts(token: str) -> tuple[bytes, bytes]:
    """The signed bytes and the signature, r||s."""
    signed, _, signature = token.encode().rpartition(b".")
    return signed, es384.base64url_decode(signature)


def _last_url(playlist: str) -> str:
    return playlist.splitlines()[-1]


def _media_request(url: str) -> MediaRequest:
    request = parse_request(url.removeprefix(BASE_URL), "", "", BASE_URL)
    assert request is not None, url
    return request


def _require(success: bool) -> None:
    if not success:
        raise SystemExit("a request was not answered as expected")


_HOLD_SESSIONS = "--hold-sessions"


def _megabytes_with_sessions() -> float:
    command = [sys.executable, "-m", "benchmarks.edge", _HOLD_SESSIONS]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _python_pass() -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True, preexec_fn=servers.init_server_process)
    return time.monotonic() - started


def _ivs_serve() -> float:
    port = servers.free_port()
    command = [sys.executable, "-m", "tokensvc", "ivs", "serve", "--memory", "--port", str(port)]
    started = time.monotonic()
    with servers.run_process(command, dict(os.environ), subprocess.DEVNULL):
        while time.monotonic() - started < TIMEOUT_SECONDS:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            except urllib.error.HTTPError:
                return time.monotonic() - started
            except OSError:
                time.sleep(RETRY_SECONDS)
    raise SystemExit(f"ivs serve did not respond within {TIMEOUT_SECONDS:.0f} seconds")


if __name__ == "__main__":
    main()
