"""A whole run with real processes, sockets and server: its files and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.load.conftest import SigningService
from tests.support.tokens import CHANNEL

pytest.importorskip("hdrh", reason="hdrhistogram comes with the benchmarks: make bench-packages")
pytest.importorskip("matplotlib", reason="matplotlib comes with the benchmarks: make bench-packages")

from benchmarks.load import __main__ as load
from benchmarks.load import merge

pytestmark = pytest.mark.long

PLAN = 'title = "t"\nconnections = 4\n[[stage]]\nseconds = 1\nrate = 40\n[[request]]\nkind = "token"\n'


@pytest.fixture
def arguments(tmp_path: Path, signing_service: SigningService) -> list[str]:
    """The arguments of a run."""
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "key").write_text("tsk_very_secret\n")
    (tmp_path / "key").chmod(0o600)
    service_options = ["--url", signing_service.url, "--api-key-file", str(tmp_path / "key"), "--channel", str(CHANNEL)]
    return [str(tmp_path / "plan.toml"), *service_options, "--out", str(tmp_path / "out"), "--processes", "2", "--json"]


def test_a_run_writes_its_result_its_records_and_its_charts(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = load.main(arguments)
    result = json.loads(capsys.readouterr().out)
    assert not result["failed"]
    assert code == bool(result["invalid"]), "on a busy machine a generator may be late"
    assert 20 <= result["figures"]["requests"] <= 60
    assert result["figures"]["sampled_tokens_verified"] == result["figures"]["requests"]
    assert len(result["generators"]) == 2
    files = {path.suffix: path for path in (tmp_path / "out").iterdir()}
    assert sorted(files) == [".hgrm", ".json", ".png", ".records", ".svg"]
    assert files[".png"].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in files[".svg"].read_text()
    assert not [path for path in files.values() if b"very_secret" in path.read_bytes()]

    merged = tmp_path / "merged"
    assert merge.main([str(files[".records"]), str(files[".records"]), "--json", "--out", str(merged)]) == code
    assert json.loads(capsys.readouterr().out)["figures"]["requests"] == 2 * result["figures"]["requests"]


def test_wrong_usage_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace("rate", "rates"))
    assert load.main([str(tmp_path / "plan.toml")]) == 2
    assert "plan.toml:5: stage.0.rates" in capsys.readouterr().err
    with pytest.raises(SystemExit) as raised:
        load.main(["steady", "--url", "http://127.0.0.1:9"])
    assert raised.value.code == 2


def test_invalid_records_are_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.records").write_text("{}\n")
    assert merge.main([str(tmp_path / "a.records"), "--out", str(tmp_path)]) == 1
    assert "a.records:1: " in capsys.readouterr().err
