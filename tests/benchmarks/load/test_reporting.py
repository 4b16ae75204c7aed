"""Every run is reported with the right exit code, whatever happens to the target, the disk, the packages or the run.

Tested with the real command.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import benchmarks
from tests.benchmarks.load.conftest import NEVER, Responses, SigningService, run_options
from tests.support.deployment import free_port
from tests.support.processes import Process, environment, run, started

pytest.importorskip("hdrh", reason="hdrhistogram comes with the benchmarks: make bench-packages")
pytest.importorskip("matplotlib", reason="matplotlib comes with the benchmarks: make bench-packages")

from benchmarks.load import __main__ as load

pytestmark = [pytest.mark.e2e, pytest.mark.long]

ROOT = Path(benchmarks.__file__).parents[1]
COMMAND = [sys.executable, "-m", "benchmarks.load"]
LENIENT = ["--max-scheduling-delay", "60000"]
"""The machine that runs the tests may be busy."""
UNAUTHENTICATED = '{"code":"unauthenticated"}'
LONG = 600


def plan(folder: Path, *, seconds: int = 1, more: str = "") -> str:
    """The path of a plan with 40 requests a second on four connections."""
    path = folder / "plan.toml"
    path.write_text(
        f'title = "a plan"\nconnections = 4\n{more}\n'
        f'[[stage]]\nseconds = {seconds}\nrate = 40\n[[request]]\nkind = "token"\n'
    )
    return str(path)


def environ(folder: Path) -> dict[str, str]:
    return environment(folder / "home", {"PYTHONPATH": str(ROOT)})


@contextmanager
def running(folder: Path, arguments: list[str]) -> Iterator[Process]:
    """The command, in a process group of its own."""
    with started(["setsid", *COMMAND, *arguments, *LENIENT], folder, environ(folder), "load") as process:
        yield process


def is_sending(process: Process) -> bool:
    return " 2/600 s" in process.err


def suffixes(folder: Path) -> set[str]:
    return {path.suffix for path in (folder / "out").iterdir()}


def test_a_wrong_api_key_is_reported_by_its_code(
    responses: Responses, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = responses.start(401, UNAUTHENTICATED)
    assert load.main([plan(tmp_path, seconds=2), *run_options(tmp_path, url), *LENIENT]) == 1
    captured = capsys.readouterr()
    text = captured.out
    assert "FAILED RUN: no request succeeded; most frequent: 401 unauthenticated" in text
    assert text.index("responses by code") < text.index("completed / sent")
    assert "401 unauthenticated: " in captured.err, "also during the run"
    assert suffixes(tmp_path) == {".records", ".json", ".hgrm", ".svg", ".png"}
    assert "not written" not in captured.err


def test_an_unreachable_target_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert load.main([plan(tmp_path), *run_options(tmp_path, url), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["failed"] == [f"{url}/.well-known/jwks.json cannot be reached: Connection refused"]
    assert (result["successes"], result["errors"], result["figures"]["requests"]) == ([], [], 0)


def test_a_url_of_another_service_is_reported(
    responses: Responses, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = responses.start(401, UNAUTHENTICATED, keys='["not a key set"]')
    assert load.main([plan(tmp_path), *run_options(tmp_path, url), *LENIENT]) == 1
    assert f"{url}/.well-known/jwks.json is not a key set; is --url the URL of the service?" in capsys.readouterr().out


def test_successes_without_tokens_fail_the_run_but_no_generator(
    responses: Responses, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = responses.start(201, "<html>welcome</html>")
    assert load.main([plan(tmp_path), *run_options(tmp_path, url), *LENIENT, "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["successes"][0]["status"] == 201
    assert "a token for viewer-" in result["failed"][0]


@pytest.mark.long
def test_a_target_that_stops_during_the_run_is_reported(tmp_path: Path, responses: Responses) -> None:
    url = responses.start(401, UNAUTHENTICATED)
    more = "timeout_seconds = 0.5"
    with running(tmp_path, [plan(tmp_path, seconds=10, more=more), *run_options(tmp_path, url)]) as process:
        process.wait_until(lambda: " 2/10 s" in process.err, "two seconds are over")
        responses.stop()
        assert process.wait_for_exit(60) == 1
    assert "timeout, never sent" in process.out
    assert "401 unauthenticated" in process.out
    assert "Traceback" not in process.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_ended_by_a_signal_in_the_warm_up_is_reported(
    number: signal.Signals, responses: Responses, tmp_path: Path
) -> None:
    url = responses.start(401, UNAUTHENTICATED)
    with running(
        tmp_path, [plan(tmp_path, seconds=LONG, more="warmup_seconds = 500"), *run_options(tmp_path, url)]
    ) as process:
        process.wait_until(lambda: is_sending(process), "it is sending")
        os.killpg(process.pid, number)
        assert process.wait_for_exit(60) == 1, process.err
    assert "interrupted: the figures cover what was sent until then" in process.out
    assert "no request was due after the warm-up" in process.out
    assert "errors in the warm-up" in process.out
    assert "401 unauthenticated" in process.out
    assert "not written" not in process.err
    assert "Traceback" not in process.err
    assert suffixes(tmp_path) == {".records", ".json", ".hgrm", ".svg", ".png"}


@pytest.mark.long
def test_a_signal_to_the_process_group_stops_the_sending_and_loses_no_figures(
    signing_service: SigningService, tmp_path: Path
) -> None:
    """Service managers and `timeout` send it like this: the generators and the action receive it as well."""
    action = '[[action]]\nat_seconds = 0.5\ncommand = "sleep 6"\n'
    path = Path(plan(tmp_path, seconds=LONG))
    path.write_text(path.read_text() + action)
    with running(
        tmp_path, [str(path), *run_options(tmp_path, signing_service.url), "--json", "--processes", "2"]
    ) as process:
        process.wait_until(lambda: is_sending(process), "it is sending")
        os.killpg(process.pid, signal.SIGTERM)
        code = process.wait_for_exit(60)
    result = json.loads(process.out)
    assert result["interrupted"]
    assert len(result["generators"]) == 2
    assert result["figures"]["requests"] == result["successes"][0]["count"] >= 40
    assert [action["exit_code"] for action in result["actions"]] == [0], "an action in progress must not be ended"
    assert code == 1, "the action ended after the load"


def test_a_second_signal_stops_waiting_for_requests_in_flight(responses: Responses, tmp_path: Path) -> None:
    url = responses.start(201, "{}", after_seconds=NEVER)
    more = "timeout_seconds = 600"
    with running(tmp_path, [plan(tmp_path, seconds=LONG, more=more), *run_options(tmp_path, url), "--json"]) as process:
        process.wait_until(lambda: is_sending(process), "it is sending")
        process.send(signal.SIGINT)
        process.wait_until(lambda: "stopping" in process.err, "it stops")
        process.send(signal.SIGINT)
        assert process.wait_for_exit(60) == 1, process.err
    result = json.loads(process.out)
    assert result["figures"]["abandoned_requests"] == result["figures"]["requests"] > 0
    assert result["errors"] == []
    assert "Traceback" not in process.err


def test_a_signal_ends_the_wait_for_the_start_time(signing_service: SigningService, tmp_path: Path) -> None:
    start = ["--start-at", "2126-11-21T10:00:00Z"]
    with running(tmp_path, [plan(tmp_path), *run_options(tmp_path, signing_service.url), *start]) as process:
        process.wait_until(lambda: len(psutil.Process(process.pid).children()) > 1, "the generators have started")
        process.wait_until(
            lambda: bool(signing_service.connections) or _is_connected(process), "the generators are connected"
        )
        process.send(signal.SIGINT)
        assert process.wait_for_exit(60) in {1, load.INTERRUPTED}, process.err
    assert "Traceback" not in process.err


def _is_connected(process: Process) -> bool:
    """Whether every connection is open, so that the run only waits for its start time."""
    children = psutil.Process(process.pid).children()
    return sum(len(child.net_connections("tcp")) for child in children) >= 4


@pytest.mark.long
def test_a_generator_that_dies_loses_only_its_own_part(signing_service: SigningService, tmp_path: Path) -> None:
    arguments = [plan(tmp_path, seconds=4), *run_options(tmp_path, signing_service.url), "--json", "--processes", "2"]
    with running(tmp_path, arguments) as process:
        process.wait_until(lambda: " 1/4 s" in process.err, "it is sending")
        generator = process.children()[0]
        os.kill(generator, signal.SIGKILL)
        assert process.wait_for_exit(60) == 1, process.err
    result = json.loads(process.out)
    assert result["failed"] == ["a generator process died; its output is above"]
    assert len(result["generators"]) == 1
    assert result["figures"]["requests"] > 0
    assert " 3/4 s" in process.err, "progress of the other generator is still shown"


def test_a_full_disk_loses_only_the_files(signing_service: SigningService, tmp_path: Path) -> None:
    """A limit of the file size simulates it; the output goes to a pipe, which has no limit."""
    arguments = [*COMMAND, plan(tmp_path), *run_options(tmp_path, signing_service.url), *LENIENT]
    output = run(["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *arguments], tmp_path, environ(tmp_path), code=1)
    assert "responses by code" in output.out
    assert ".records: File too large" in output.err
    assert not {".records", ".json", ".png"} & suffixes(tmp_path), "no partial file is left behind"


@pytest.mark.parametrize(("package", "missing"), [("matplotlib", {".svg", ".png"}), ("hdrh", {".hgrm"})])
def test_a_missing_package_loses_only_its_own_files(
    package: str, missing: set[str], signing_service: SigningService, tmp_path: Path
) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / f"{package}.py").write_text(f'raise ModuleNotFoundError("No module named {package}")\n')
    paths = environ(tmp_path) | {"PYTHONPATH": f"{shadow}{os.pathsep}{ROOT}"}
    output = run([*COMMAND, plan(tmp_path), *run_options(tmp_path, signing_service.url), *LENIENT], tmp_path, paths)
    assert "responses by code" in output.out
    assert f"No module named {package}" in output.err
    assert suffixes(tmp_path) == {".records", ".json", ".hgrm", ".svg", ".png"} - missing


def test_a_closed_standard_output_loses_no_file(signing_service: SigningService, tmp_path: Path) -> None:
    arguments = [*COMMAND, plan(tmp_path), *run_options(tmp_path, signing_service.url), *LENIENT]
    output = run(["bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "bash", *arguments], tmp_path, environ(tmp_path))
    assert "Traceback" not in output.err
    assert len(suffixes(tmp_path)) == 5


def test_two_runs_in_the_same_second_overwrite_nothing(signing_service: SigningService, tmp_path: Path) -> None:
    from benchmarks.load import records, result_store
    from tests.benchmarks.load.sample_records import run_line

    report = result_store.report_of([run_line(plan="a.b")])
    first, second = (result_store.store(tmp_path, report) for _ in range(2))
    assert first.is_complete
    assert second.is_complete
    assert not set(first.files) & set(second.files)
    assert records.read(second.files[0]) == list(report.lines)
