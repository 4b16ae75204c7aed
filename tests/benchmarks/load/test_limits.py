"""The limits of a run: how they are set and checked, and their exit codes."""

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

pytestmark = pytest.mark.long


def parsed(*arguments: str) -> Limits:
    parser = argparse.ArgumentParser()
    limits.add_options(parser)
    return Limits().changed(parser.parse_args(arguments))


def result_of(key: PrivateKey, limits: Limits, *more: Line) -> dict[str, Any]:
    """The result of a run of 20 requests of 2 ms each, with these extra lines."""
    return figures_of(add_up([*whole_run(key, limits=limits), *more]))


def test_the_limit_of_the_scheduling_delay_is_one_millisecond_by_default() -> None:
    assert parsed() == Limits(scheduling_delay_ms=1.0, p99_ms=None, error_rate=None)
    assert parsed("--max-scheduling-delay", "5").scheduling_delay_ms == 5


@pytest.mark.parametrize(("text", "share"), [("0", 0), ("0.01", 0.01), ("1%", 0.01), ("0.1%", 0.001), ("1", 1)])
def test_an_error_rate_is_a_fraction_or_a_percentage(text: str, share: float) -> None:
    assert parsed("--max-error-rate", text).error_rate == pytest.approx(share)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--max-scheduling-delay", "0"),
        ("--max-scheduling-delay", "inf"),
        ("--max-p99", "-1"),
        ("--max-p99", "fast"),
        ("--max-p99", "nan"),
        ("--max-error-rate", "2"),
        ("--max-error-rate", "101%"),
        ("--max-error-rate", "few"),
    ],
)
def test_an_invalid_limit_is_rejected(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parsed(option, text)
    assert raised.value.code == 2
    assert f"argument {option}: must be " in capsys.readouterr().err


def test_a_scheduling_delay_below_its_limit_is_valid(private_key: PrivateKey) -> None:
    late = generator_line(late_micros=4000)
    assert result_of(private_key, Limits(), late)["invalid"]
    assert not result_of(private_key, Limits(scheduling_delay_ms=5), late)["invalid"]


@pytest.mark.parametrize(
    ("limits", "errors", "code"),
    [
        (Limits(p99_ms=2.1, error_rate=0), 0, 0),
        (Limits(p99_ms=1.9), 0, 3),
        (Limits(error_rate=0.19), 4, 3),
        (Limits(error_rate=0.21), 4, 0),
        (Limits(p99_ms=1.9, scheduling_delay_ms=0.01), 0, 1),
    ],
)
def test_a_run_over_a_limit_has_its_own_exit_code_unless_it_is_invalid(
    private_key: PrivateKey, limits: Limits, errors: int, code: int
) -> None:
    failed = second_line(1, sent=0, completed=0, tokens=0, failed=errors, latencies={})
    assert exit_code(result_of(private_key, limits, failed)) == code


def test_an_unmeasured_p99_exceeds_its_limit() -> None:
    result = figures_of(add_up([run_line(limits=Limits(p99_ms=5)), second_line(1, completed=0, latencies={})]))
    assert result["latency_ms"]["p99"] is None
    assert result["exceeded"] == ["no latency was measured; the limit of p99 is 5 ms (--max-p99)"]


def test_the_summary_shows_each_limit_with_the_measured_value(private_key: PrivateKey) -> None:
    text = text_of(result_of(private_key, Limits(scheduling_delay_ms=5, p99_ms=1.5)))
    assert re.search(r"generator scheduling delay p99, ms +0\.10 +5 +--max-scheduling-delay +met\n", text)
    assert re.search(r"latency p99, ms +2\.00 +1\.5 +--max-p99 +exceeded\n", text)
    assert re.search(r"error rate, % +0\.0000 +none +--max-error-rate\n", text)
    assert "*** OVER THE LIMIT: p99 is 2.00 ms; the limit is 1.5 ms (--max-p99) ***" in text


def test_the_strictest_limits_of_all_machines_apply() -> None:
    several = [
        Limits(scheduling_delay_ms=5, p99_ms=20),
        Limits(scheduling_delay_ms=2, error_rate=0.1),
        Limits(p99_ms=10),
    ]
    assert strictest(several) == Limits(scheduling_delay_ms=1, p99_ms=10, error_rate=0.1)


def test_merged_records_are_checked_against_their_own_or_other_limits(
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
    options = [
        *run_options(tmp_path, signing_service.url),
        "--json",
        "--max-scheduling-delay",
        "60000",
        "--max-p99",
        "0.001",
    ]
    assert load.main(["--rate", "40", "--duration", "1", *options]) == 3
    result = json.loads(capsys.readouterr().out)
    assert result["plan"]["stages"] == [{"seconds": 2.0, "from_rate": 40.0, "to_rate": 40.0}]
    assert result["figures"]["seconds"] == 1
    assert result["limits"] == {"scheduling_delay_ms": 60000, "p99_ms": 0.001, "error_rate": None}
    assert result["exceeded"][0].startswith("p99 is ")


def test_the_duration_excludes_the_warm_up() -> None:
    steady = plan.steady(500, 60)
    assert (steady.seconds - steady.warmup_seconds, steady.stage[0].rate) == (60, (500, 500))
    assert [row.kind for row in steady.request] == ["token"]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "give a PLAN, or --rate and --duration"),
        (["--rate", "5"], "give a PLAN, or --rate and --duration"),
        (["steady", "--rate", "5"], "a plan has its own rates and durations"),
        (["--rate", "0", "--duration", "5"], "argument --rate: must be above 0"),
        (["--rate", "nan", "--duration", "5"], "argument --rate: must be above 0"),
        (["--rate", "5", "--duration", "604800"], "--duration: must be at most 604,797 seconds"),
        (["steady", "--url", "localhost:8080"], "argument --url: must be a URL"),
        (["steady", "--url", "http://a:b"], "argument --url: must be a URL"),
    ],
)
def test_wrong_usage_is_rejected_with_the_rule(
    arguments: list[str], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code([*arguments, "--out", str(tmp_path)]) == 2
    assert rule in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda folder: (folder / "key").unlink(), "key: No such file or directory"),
        (lambda folder: (folder / "key").write_text("two\nlines\n"), "key: must contain one line, the API key"),
        (lambda folder: (folder / "key").write_bytes(b"\xff"), "key: is not text"),
        (lambda folder: (folder / "key").chmod(0o644), "key: chmod 600 "),
        (lambda folder: (folder / "out").write_text(""), "out: File exists"),
    ],
    ids=["no key file", "two lines", "not text", "others may read the key file", "out is a file"],
)
def test_unusable_files_are_rejected_before_the_load(
    change: Any, rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = run_options(tmp_path, "http://127.0.0.1:9")
    change(tmp_path)
    assert _code(["steady", *options]) == 2
    assert rule in capsys.readouterr().err


def test_every_key_of_the_result_can_be_queried_without_quotes(private_key: PrivateKey) -> None:
    result = result_of(private_key, Limits())
    assert result["latency_ms"].keys() == {"p50", "p90", "p99", "p999", "max"}
    invalid = [key for key in _keys(result) if not re.fullmatch(r"[a-z][a-z0-9_]*", key)]
    assert not invalid


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


def test_a_failed_request_does_not_count_as_a_success_of_its_kind(private_key: PrivateKey) -> None:
    result = result_of(private_key, Limits(), KindRecord(name="batch", latencies={10_000_000: 3}, succeeded=0))
    assert result["successes"] == [{"status": 201, "count": 20}]
