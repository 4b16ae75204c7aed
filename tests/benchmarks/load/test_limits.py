"""Limits: what a run is held to, how they are set, what they are worth as exit codes."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import __main__ as load
from benchmarks.load import limits, merge, plan, records
from benchmarks.load.figures import exit_code, figures_of
from benchmarks.load.limits import Limits, strictest
from benchmarks.load.records import KindRecord, Line
from benchmarks.load.text_report import text_of
from benchmarks.load.totals import add_up
from tests.benchmarks.load.conftest import SigningService, run_options
from tests.benchmarks.load.sample_records import generator_line, run_line, second_line, whole_run
from tokensvc.jose.keypair import PrivateKey

pytestmark = pytest.mark.slow


def parsed(*arguments: str) -> Limits:
    parser = argparse.ArgumentParser()
    limits.add_options(parser)
    return Limits().changed(parser.parse_args(arguments))


def result_of(key: PrivateKey, limits: Limits, *more: Line) -> dict[str, Any]:
    """A run of 20 requests of 2 ms each, and these lines."""
    return figures_of(add_up([*whole_run(key, limits=limits), *more]))


def test_the_lateness_limit_is_one_millisecond_unless_it_is_set() -> None:
    assert parsed() == Limits(lateness_ms=1.0, p99_ms=None, error_rate=None)
    assert parsed("--max-lateness", "5").lateness_ms == 5


@pytest.mark.parametrize(("text", "share"), [("0", 0), ("0.01", 0.01), ("1%", 0.01), ("0.1%", 0.001), ("1", 1)])
def test_an_error_rate_is_a_share_or_a_percentage(text: str, share: float) -> None:
    assert parsed("--max-error-rate", text).error_rate == pytest.approx(share)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--max-lateness", "0"),
        ("--max-lateness", "inf"),
        ("--max-p99", "-1"),
        ("--max-p99", "fast"),
        ("--max-p99", "nan"),
        ("--max-error-rate", "2"),
        ("--max-error-rate", "101%"),
        ("--max-error-rate", "few"),
    ],
)
def test_a_limit_of_another_form_is_refused(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parsed(option, text)
    assert raised.value.code == 2
    assert f"argument {option}: must be " in capsys.readouterr().err


def test_a_generator_within_the_limit_that_was_set_is_on_time(private_key: PrivateKey) -> None:
    late = generator_line(late_micros=4000)
    assert result_of(private_key, Limits(), late)["invalid"]
    assert not result_of(private_key, Limits(lateness_ms=5), late)["invalid"]


@pytest.mark.parametrize(
    ("limits", "errors", "code"),
    [
        (Limits(p99_ms=2.1, error_rate=0), 0, 0),
        (Limits(p99_ms=1.9), 0, 3),
        (Limits(error_rate=0.19), 4, 3),
        (Limits(error_rate=0.21), 4, 0),
        (Limits(p99_ms=1.9, lateness_ms=0.01), 0, 1),
    ],
)
def test_a_run_beyond_a_limit_has_its_own_exit_code_and_a_worthless_one_comes_first(
    private_key: PrivateKey, limits: Limits, errors: int, code: int
) -> None:
    failed = second_line(1, sent=0, completed=0, tokens=0, failed=errors, latencies={})
    assert exit_code(result_of(private_key, limits, failed)) == code


def test_an_unmeasured_p99_exceeds_its_limit() -> None:
    result = figures_of(add_up([run_line(limits=Limits(p99_ms=5)), second_line(1, completed=0, latencies={})]))
    assert result["latency_ms"]["p99"] is None
    assert result["exceeded"] == ["no latency was measured; the limit of p99 is 5 ms (--max-p99)"]


def test_the_summary_names_each_limit_beside_what_was_measured(private_key: PrivateKey) -> None:
    text = text_of(result_of(private_key, Limits(lateness_ms=5, p99_ms=1.5)))
    assert re.search(r"generator scheduling delay p99, ms +0\.10 +5 +--max-lateness +met\n", text)
    assert re.search(r"latency p99, ms +2\.00 +1\.5 +--max-p99 +exceeded\n", text)
    assert re.search(r"error rate, % +0\.0000 +none +--max-error-rate\n", text)
    assert "*** OVER THE LIMIT: p99 is 2.00 ms; the limit is 1.5 ms (--max-p99) ***" in text


def test_machines_are_held_to_the_strictest_of_their_limits() -> None:
    several = [Limits(lateness_ms=5, p99_ms=20), Limits(lateness_ms=2, error_rate=0.1), Limits(p99_ms=10)]
    assert strictest(several) == Limits(lateness_ms=1, p99_ms=10, error_rate=0.1)


def test_merged_records_are_held_to_their_own_limits_or_to_others(
    tmp_path: Path, private_key: PrivateKey, capsys: pytest.CaptureFixture[str]
) -> None:
    records.write(tmp_path / "a.records", whole_run(private_key, limits=Limits(p99_ms=1)))
    arguments = [str(tmp_path / "a.records"), "--out", str(tmp_path)]
    assert merge.main(arguments) == 3
    assert merge.main([*arguments, "--max-p99", "50"]) == 0
    assert "latency p99" in capsys.readouterr().out


def test_a_rate_and_a_duration_need_no_plan(
    signing_service: SigningService, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "WARMUP_SECONDS", 1)
    options = [*run_options(tmp_path, signing_service.url), "--json", "--max-lateness", "60000", "--max-p99", "0.001"]
    assert load.main(["--rate", "40", "--duration", "1", *options]) == 3
    result = json.loads(capsys.readouterr().out)
    assert result["plan"]["stages"] == [{"seconds": 2.0, "from_rate": 40.0, "to_rate": 40.0}]
    assert result["figures"]["seconds"] == 1
    assert result["limits"] == {"lateness_ms": 60000, "p99_ms": 0.001, "error_rate": None}
    assert result["exceeded"][0].startswith("p99 is ")


def test_a_rate_that_was_asked_for_is_counted_for_the_whole_duration() -> None:
    made = plan.steady(500, 60)
    assert (made.seconds - made.warmup_seconds, made.stage[0].rate) == (60, (500, 500))
    assert [row.kind for row in made.request] == ["token"]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "give a PLAN, or --rate and --duration"),
        (["--rate", "5"], "give a PLAN, or --rate and --duration"),
        (["steady", "--rate", "5"], "a plan has its own rates and durations"),
        (["--rate", "0", "--duration", "5"], "argument --rate: must be above 0"),
        (["--rate", "nan", "--duration", "5"], "argument --rate: must be above 0"),
        (["--rate", "5", "--duration", "604800"], "--duration: must be 604,797 seconds at most"),
        (["steady", "--url", "localhost:8080"], "argument --url: must be a URL"),
        (["steady", "--url", "http://a:b"], "argument --url: must be a URL"),
    ],
)
def test_wrong_use_is_refused_with_its_rule(
    arguments: list[str], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code([*arguments, "--out", str(tmp_path)]) == 2
    assert rule in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda folder: (folder / "key").unlink(), "key: No such file or directory"),
        (lambda folder: (folder / "key").write_text("two\nlines\n"), "key: must hold one line, the API key"),
        (lambda folder: (folder / "key").write_bytes(b"\xff"), "key: not text"),
        (lambda folder: (folder / "key").chmod(0o644), "key: chmod 600 "),
        (lambda folder: (folder / "out").write_text(""), "out: File exists"),
    ],
    ids=["no key file", "two lines", "not text", "others may read the key file", "out is a file"],
)
def test_what_cannot_be_used_is_refused_before_the_load(
    change: Any, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = run_options(tmp_path, "http://127.0.0.1:9")
    change(tmp_path)
    assert _code(["steady", *options]) == 2
    assert rule in capsys.readouterr().err


def test_every_key_of_the_result_can_be_queried_without_quotes(private_key: PrivateKey) -> None:
    result = result_of(private_key, Limits())
    assert result["latency_ms"].keys() == {"p50", "p90", "p99", "p999", "max"}
    odd = [key for key in _keys(result) if not re.fullmatch(r"[a-z][a-z0-9_]*", key)]
    assert not odd


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _keys(part)


def _code(arguments: list[str]) -> object:
    try:
        return load.main(arguments)
    except SystemExit as raised:
        return raised.code


def test_a_request_that_failed_in_a_kind_is_no_success_of_it(private_key: PrivateKey) -> None:
    result = result_of(private_key, Limits(), KindRecord(name="batch", latencies={10_000_000: 3}, succeeded=0))
    assert result["successes"] == [{"status": 201, "count": 20}]
