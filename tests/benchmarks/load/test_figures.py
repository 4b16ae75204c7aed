"""The result of a run, and what makes it invalid or failed."""

from __future__ import annotations

import json

import pytest

from benchmarks.load.figures import figures_of, over_time
from benchmarks.load.records import ActionResult, Errors, Line
from benchmarks.load.text_report import text_of
from benchmarks.load.totals import add_up
from tests.benchmarks.load.sample_records import (
    generator_line,
    keys_line,
    run_line,
    sample_line,
    second_line,
    whole_run,
)
from tokensvc.jose import keypair
from tokensvc.jose.keypair import PrivateKey


def test_the_result_of_a_successful_run(private_key: PrivateKey) -> None:
    result = figures_of(add_up(whole_run(private_key)))
    assert not result["invalid"]
    assert not result["failed"]
    assert result["ratios"] == {"completed_to_sent": 1.0, "p99_to_p50": 1.0}
    assert result["figures"]["sent_per_second"] == 10
    assert result["figures"]["sampled_tokens_verified"] == 1
    assert result["latency_ms"]["p99"] == pytest.approx(2, rel=0.001)
    assert json.loads(json.dumps(result)) == result


def test_the_servers_cpu_time_per_token_excludes_the_warm_up(private_key: PrivateKey) -> None:
    server = figures_of(add_up(whole_run(private_key)))["server"]
    assert server["cpu_us_per_token"] == pytest.approx(2000 / 20)
    assert server["memory_max_mib"] == 1


def test_a_server_on_another_machine_is_reported_as_not_measured(private_key: PrivateKey) -> None:
    lines: list[Line] = [line for line in whole_run(private_key) if line.type != "reading"]
    result = figures_of(add_up(lines))
    assert result["server"] is None
    assert "another machine" in text_of(result)


@pytest.mark.parametrize(("late_micros", "is_valid"), [(990, True), (1100, False)])
def test_a_scheduling_delay_above_a_millisecond_makes_the_run_invalid(
    private_key: PrivateKey, late_micros: int, is_valid: bool
) -> None:
    result = figures_of(add_up([*whole_run(private_key), generator_line(late_micros)]))
    assert (not result["invalid"]) == is_valid
    assert ("*** INVALID RUN" in text_of(result)) != is_valid


@pytest.mark.parametrize(
    ("extra_lines", "reason"),
    [
        ([ActionResult(command="rotate", at_seconds=1, took_seconds=1, exit_code=4)], "rotate: exit code 4"),
        (
            [ActionResult(command="rotate", at_seconds=1, took_seconds=9, exit_code=0)],
            "rotate: ended 7.0 s after the load",
        ),
        ([sample_line(keypair.generate())], "Signature verification failed"),
    ],
    ids=["action", "late action", "sample"],
)
def test_a_failed_action_or_an_invalid_token_fails_the_run(
    private_key: PrivateKey, extra_lines: list[Line], reason: str
) -> None:
    result = figures_of(add_up([*whole_run(private_key), *extra_lines]))
    assert reason in result["failed"][0]
    assert "*** FAILED RUN" in text_of(result)


def test_a_run_without_a_success_has_failed() -> None:
    lines: list[Line] = [
        run_line(),
        second_line(1, completed=0, failed=10, tokens=0),
        Errors(counts={"503 draining": 10}),
    ]
    result = figures_of(add_up(lines))
    assert result["failed"] == ["no request succeeded; most frequent: 503 draining"]
    assert result["errors"] == [{"error": "503 draining", "status": 503, "code": "draining", "count": 10}]
    assert "503 draining" in text_of(result)


def test_a_run_without_sampled_tokens_has_failed(private_key: PrivateKey) -> None:
    result = figures_of(add_up([run_line(), keys_line(private_key), second_line(1)]))
    assert result["failed"] == ["no token was sampled, so none was verified"]


def test_an_interrupted_run_is_reported_until_the_interrupt(private_key: PrivateKey) -> None:
    result = figures_of(add_up(whole_run(private_key, seconds=2.0, interrupted=True)))
    assert result["interrupted"]
    assert result["figures"]["requests"] == 10
    assert "interrupted" in text_of(result)


def test_a_run_interrupted_in_its_warm_up_is_still_reported() -> None:
    result = figures_of(add_up([run_line(seconds=0.5, interrupted=True)]))
    assert result["figures"]["requests"] == 0
    assert text_of(result)


def test_each_second_has_its_latencies(private_key: PrivateKey) -> None:
    rows = over_time(add_up([*whole_run(private_key), second_line(2, latencies={500_000: 10})]))
    assert rows["second"] == [1, 2]
    assert rows["sent"] == [10, 20]
    assert rows["p99"][0] == pytest.approx(2, rel=0.02)
    assert rows["p99"][1] == pytest.approx(500, rel=0.02)
