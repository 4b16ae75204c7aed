"""Contenders in process create tokens that an independent check accepts, and output of other processes is validated."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers import in_process, over_http, unavailable
from benchmarks.peers.processes import SigningMeasurement, parse
from benchmarks.peers.verification import verify_token
from benchmarks.sign import CHANNEL, RAW, VIEWER, contenders
from tokensvc.jose import keypair

TOKENS = sorted(set(contenders()) - {RAW})


@pytest.mark.parametrize("name", TOKENS)
def test_every_python_contender_creates_the_same_kind_of_token(name: str) -> None:
    key = keypair.generate()
    verify_token(str(contenders(key)[name]()), [key.public_key()], CHANNEL, VIEWER)


def test_a_line_of_output_is_parsed_into_a_measurement() -> None:
    line = '{"calls": 100, "seconds": 0.5, "cpu_seconds": 0.4, "token": "a.b.c"}\n'
    assert parse("Go", line) == SigningMeasurement(200, 4000, "a.b.c")


@pytest.mark.parametrize("line", ["", "panic: no key\n", '{"calls": 100}\n', '{"calls": 0, "seconds": 0}\n'])
def test_unexpected_output_ends_the_run_and_is_reported(line: str) -> None:
    with pytest.raises(SystemExit, match="Go: unexpected output of its process"):
        parse("Go", line)


def test_a_peer_that_is_not_installed_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    go = in_process.go_program(tmp_path)
    assert in_process.skipped(go) == dict.fromkeys(in_process.LIBRARIES, str(unavailable.node())) | {in_process.GO: go}
    assert over_http.skipped() == {"everything over HTTP": unavailable.wrk()}
    assert all(
        "is not installed" in str(reason) for reason in (go, unavailable.node(), unavailable.wrk(), unavailable.moto())
    )


def test_node_without_its_packages_is_skipped_with_the_command_to_install_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "node").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(unavailable, "NODE_FOLDER", tmp_path)
    assert unavailable.INSTALL in str(unavailable.node())
    (tmp_path / "node_modules").mkdir()
    assert unavailable.node() is None


def test_a_go_that_cannot_build_the_program_is_skipped_with_its_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go.mod requires a newer go' >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert in_process.go_program(tmp_path) == "its program cannot be built: go.mod requires a newer go"
