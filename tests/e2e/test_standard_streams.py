"""Commands whose standard input or output is closed, or cannot be written."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.support.deployment import Deployment
from tests.support.processes import TOKENSVC, CommandResult, run


def redirected(deployment: Deployment, redirections: str, *arguments: str, code: int) -> CommandResult:
    """Run a command with a shell's redirections."""
    shell = ["sh", "-c", f'exec "$0" "$@" {redirections}', TOKENSVC, *arguments]
    return run(shell, deployment.folder, deployment.environ, code=code)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("callers", "disable", "first"), 2, "Not a terminal: pass --yes to confirm."),
        (("callers", "apply", "-", "--dry-run"), 0, "Nothing to change."),
        (("tokens", "explain", "-"), 4, "the token is empty"),
        (("revocations", "add", "--file", "-"), 0, "0 accepted, 0 rejected."),
        (
            ("tokens", "issue", "--channel", "x", "--url", "http://127.0.0.1:9", "--api-key-file", "-"),
            2,
            "--api-key-file: must have one API key and nothing else",
        ),
    ],
    ids=["confirmation", "policy file", "token", "revocations", "API key"],
)
def test_a_closed_standard_input_is_empty(
    deployment: Deployment, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = redirected(deployment, "<&-", *arguments, code=code)
    assert said in result.out + result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("redirections", [">&-", "<&- >&- 2>&-"])
def test_a_closed_standard_output_does_not_stop_a_command(deployment: Deployment, redirections: str) -> None:
    result = redirected(deployment, redirections, "callers", "list", code=0)
    assert (result.out, result.err) == ("", "")


@pytest.mark.parametrize(
    "arguments", [("keys", "list"), ("keys", "list", "--json"), ("settings", "--example"), ("--version",)]
)
def test_a_full_disk_is_one_line_that_says_what_to_do(deployment: Deployment, arguments: tuple[str, ...]) -> None:
    result = redirected(deployment, ">/dev/full", *arguments, code=1)
    [line] = result.err.splitlines()
    assert "standard output cannot be written: No space left on device; what the command did remains done;" in line
    if "--json" in arguments:
        assert result.error["code"] == "output_unwritable"


def test_a_pipe_that_nobody_reads_any_more_is_no_error_to_report(deployment: Deployment) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [TOKENSVC, "keys", "list"],
            cwd=deployment.folder,
            env=deployment.environ,
            stdout=write_end,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")
