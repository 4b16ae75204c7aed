"""What is measured at the edge is what its name says."""

from __future__ import annotations

import pytest

import benchmarks.edge as benchmark
from tokensvc.local_ivs.edge.sessions import Sessions
from tokensvc.local_ivs.http import random_string
from tokensvc.local_ivs.session_store import PlaybackSession

pytestmark = pytest.mark.slow


def test_each_first_start_verifies_a_token_and_begins_a_session() -> None:
    with benchmark.live_edge() as edge:
        contenders = benchmark.contenders(edge)
        before = len(_sessions(edge))
        started = [contenders[benchmark.START]() for _ in range(3)]
        assert len(set(started)) == 3
        assert len(_sessions(edge)) == before + 3
        assert len({session.terms.viewer_id for session in _sessions(edge)}) == before + 3, "no token is used twice"


def test_requests_of_a_running_session_verify_nothing_and_begin_none() -> None:
    with benchmark.live_edge() as edge:
        contenders = benchmark.contenders(edge)
        before = len(_sessions(edge))
        for name in (benchmark.PLAYLIST, benchmark.SEGMENT, benchmark.VERIFY):
            for _ in range(3):
                contenders[name]()
        assert len(_sessions(edge)) == before


def test_the_measured_playlist_is_full() -> None:
    with benchmark.live_edge() as edge:
        playlist, _ = benchmark.media_requests(edge)
        assert edge.delivery.handle(playlist, edge.now).body.count(b"#EXTINF") == 6


def _sessions(edge: benchmark.Edge) -> list[PlaybackSession]:
    return Sessions(edge.resources, random_string).active(edge.now)
