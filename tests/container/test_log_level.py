"""The level is read again on request, applied, and confirmed in the log while the line is still written."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tokensvc.container.log_level import LogLevelReloader

OWN = logging.getLogger("tokensvc")


@pytest.fixture(autouse=True)
def _own_levels() -> Iterator[None]:
    levels = OWN.level, logging.getLogger().level
    yield
    OWN.setLevel(levels[0])
    logging.getLogger().setLevel(levels[1])


@pytest.mark.parametrize(("previous", "level"), [("info", "debug"), ("info", "error"), ("debug", "debug")])
def test_the_level_of_the_file_is_applied(tmp_path: Path, previous: str, level: str) -> None:
    (tmp_path / "level").write_text(level)
    read = list[str]()
    reloader = LogLevelReloader(previous, {"TOKENSVC_LOG_LEVEL_FILE": str(tmp_path / "level")}, read.append)
    with capture_logs() as lines:
        reloader.reload()
    assert OWN.level == logging.getLevelNamesMapping()[level.upper()]
    assert (reloader.level, read) == (level, [level])
    [line] = lines
    assert (line["event"], line["previous"]) == ("log level read", previous)


def test_a_level_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    OWN.setLevel(logging.INFO)
    read = list[str]()
    reloader = LogLevelReloader("info", {"TOKENSVC_LOG_LEVEL_FILE": str(tmp_path / "missing")}, read.append)
    with capture_logs() as lines:
        reloader.reload()
    assert (OWN.level, reloader.level, read) == (logging.INFO, "info", [])
    [line] = lines
    assert line["event"] == "log level not changed"
    assert "TOKENSVC_LOG_LEVEL_FILE" in line["error"]


@pytest.mark.parametrize("variables", [{}, {"TOKENSVC_LOG_LEVEL": "debug"}])
def test_a_settings_file_that_is_a_pipe_is_not_read_again(tmp_path: Path, variables: dict[str, str]) -> None:
    os.mkfifo(tmp_path / "tokensvc.toml")  # reading it would wait for a writer
    OWN.setLevel(logging.INFO)
    reloader = LogLevelReloader("info", {"TOKENSVC_CONFIG": str(tmp_path / "tokensvc.toml"), **variables})
    with capture_logs() as lines:
        reloader.reload()
    [line] = lines
    assert reloader.level == variables.get("TOKENSVC_LOG_LEVEL", "info")
    if not variables:
        assert line["event"] == "log level not changed"
        assert "TOKENSVC_CONFIG: is not a regular file" in line["error"]


def test_a_request_is_handled_on_another_thread_and_many_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "level").write_text("warning")
    read = list[str]()
    reloader = LogLevelReloader("info", {"TOKENSVC_LOG_LEVEL_FILE": str(tmp_path / "level")}, read.append)
    for _ in range(100):
        reloader.request()
    while len(read) < 100:
        pass
    assert set(read) == {"warning"}
