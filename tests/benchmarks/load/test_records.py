"""Files of records: read as written, merged over machines, rejected by line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from benchmarks.load import records
from benchmarks.load.records import ActionResult, Errors, InvalidRecords
from benchmarks.load.totals import add_up
from tests.benchmarks.load.sample_records import reading_line, run_line, second_line, whole_run
from tokensvc.jose.keypair import PrivateKey


def test_written_records_are_read_back(tmp_path: Path, private_key: PrivateKey) -> None:
    lines = [
        *whole_run(private_key),
        Errors(counts={"timeout": 2}),
        ActionResult(command="true", at_seconds=1, took_seconds=0.5, exit_code=0),
    ]
    records.write(tmp_path / "a.records", lines)
    assert records.read(tmp_path / "a.records") == lines


def test_a_file_of_records_is_private_and_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.records"
    records.write(path, [run_line()])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        records.write(path, [run_line()])


@pytest.mark.parametrize(
    "text", ["{", '{"type": "other"}', '{"type": "errors", "counts": {"x": "many"}}', '{"type": "errors", "more": 1}']
)
def test_an_invalid_line_is_rejected_with_its_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.records"
    path.write_text(f"{run_line().model_dump_json()}\n{text}\n")
    with pytest.raises(InvalidRecords, match=r"a\.records:2: "):
        records.read(path)


def test_records_of_two_machines_are_merged_into_one_run(private_key: PrivateKey) -> None:
    one, two = whole_run(private_key, share="1/2"), whole_run(private_key, share="2/2")
    totals = add_up([*one, *two])
    assert [second.sent for second in totals.counted.values()] == [20, 20]
    assert totals.latencies == {2000: 40}
    assert len(totals.generators) == len(totals.samples) == 2


def test_concatenated_files_are_merged(tmp_path: Path, private_key: PrivateKey) -> None:
    records.write(tmp_path / "a.records", whole_run(private_key))
    text = (tmp_path / "a.records").read_text()
    (tmp_path / "both.records").write_text(text + text)
    assert add_up(records.read(tmp_path / "both.records")).latencies == {2000: 40}


def test_a_server_read_by_two_generators_counts_once() -> None:
    readings = [reading_line(second, 5 + second) for second in range(3)]
    assert len(add_up([run_line(), *readings, run_line(), *readings]).readings) == 1
    other = [reading_line(second, 9, server="other 7") for second in range(3)]
    assert len(add_up([run_line(), *readings, run_line(), *other]).readings) == 2


def test_seconds_without_requests_are_included() -> None:
    totals = add_up([run_line(seconds=5), second_line(1), second_line(4)])
    assert [second.sent for second in totals.counted.values()] == [10, 0, 0, 10]


def test_records_of_different_plans_cannot_be_merged() -> None:
    with pytest.raises(InvalidRecords, match="different plans"):
        add_up([run_line(), run_line(digest="other")])


@pytest.mark.parametrize("lines", [[], [second_line(1)]], ids=["nothing", "no run"])
def test_records_without_a_run_line_are_rejected(lines: list[records.Line]) -> None:
    with pytest.raises(InvalidRecords, match="run"):
        add_up(lines)
