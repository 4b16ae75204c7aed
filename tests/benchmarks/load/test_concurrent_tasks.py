"""The tasks that run beside the load: actions, server figures, published keys, progress."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import pytest

from benchmarks.load.actions import Actions
from benchmarks.load.generator import Progress
from benchmarks.load.plan import ActionRow
from benchmarks.load.progress import ProgressDisplay
from benchmarks.load.published_keys import PublishedKeys
from benchmarks.load.server_stats import find_server
from benchmarks.load.tally import Second
from benchmarks.load.wire import Target
from tests.support.servers import serving


def run_actions(*rows: ActionRow) -> tuple[list[Any], list[str]]:
    messages: list[str] = []
    actions = Actions(rows, os.environ, messages.append)
    actions.start(time.monotonic() - 1)
    for timer in actions._timers:
        timer.join()
    return actions.results(), messages


def test_a_command_is_run_and_reported() -> None:
    [line], messages = run_actions(ActionRow(at_seconds=1, command="true"))
    assert (line.command, line.at_seconds, line.exit_code) == ("true", 1, 0)
    assert messages[0] == "action: true"


def test_a_failed_command_is_reported_with_its_last_line_of_output() -> None:
    command = f"{sys.executable} -c 'import sys; sys.exit(\"first\\nlast\")'"
    [line], messages = run_actions(ActionRow(at_seconds=0, command=command))
    assert line.exit_code == 1
    assert messages[1].endswith(": last")


def test_a_command_that_does_not_exist_fails() -> None:
    [line], _ = run_actions(ActionRow(at_seconds=0, command="no-such-command"))
    assert line.exit_code == 127


def test_a_command_is_not_run_if_the_load_ends_before_its_second() -> None:
    actions = Actions([ActionRow(at_seconds=3600, command="true")], os.environ, lambda _: None)
    actions.start(time.monotonic())
    assert actions.results() == []


async def _keys(scope: Any, _: Any, send: Any) -> None:
    assert scope["path"] == "/.well-known/jwks.json"
    body = json.dumps({"keys": [{"kid": "k1"}]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.slow
def test_a_local_server_is_found_by_its_port_and_a_remote_one_is_not() -> None:
    with serving(_keys) as url:
        watched = find_server(Target(url, "", ()))
        assert watched is not None
        assert watched.pid == os.getpid()
        reading = watched.reading(3)
        assert (reading.second, reading.server.split()[-1]) == (3, str(os.getpid()))
        assert reading.cpu_seconds > 0
        assert reading.rss_bytes > 2**20
    assert find_server(Target(url, "", ())) is None, "the server has stopped"
    assert find_server(Target("https://tokens.example.com", "", ())) is None


@pytest.mark.slow
def test_published_keys_are_read_before_the_run() -> None:
    with serving(_keys) as url:
        published = PublishedKeys(url)
        published.start()
        assert published.line().keys == [{"kid": "k1"}]
    with pytest.raises(OSError, match="refused"):
        PublishedKeys(url).start()


def test_a_second_is_printed_when_every_generator_has_reported_it(capsys: pytest.CaptureFixture[str]) -> None:
    screen = ProgressDisplay(generators=2, seconds=9)
    screen.show(Progress(0, Second(sent=5, completed=5, latencies={1000: 5}), 1, 0.2))
    assert not capsys.readouterr().err
    screen.show(Progress(0, Second(sent=6, completed=4, failed=2, latencies={3000: 5}), 2, 0.3))
    [line] = capsys.readouterr().err.splitlines()
    assert " ".join(line.split()) == (
        "1/9 s sent 11 completed 9 failed 2 in flight 3 p50 1.01 p99 3.03 max 3.03 ms delay p99 0.30 ms"
    )
