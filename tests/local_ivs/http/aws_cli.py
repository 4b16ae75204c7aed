"""AWS's own command line, unmodified, in one process, since starting it for each command takes most of a second.

As a program, this module reads one JSON list of arguments per line, runs them as `aws` would, and writes one JSON list
per line: exit code, standard output, standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple


class CompletedCommand(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out) if self.out.strip() else None


class AwsCli:
    """The command line with one endpoint."""

    def __init__(self, process: subprocess.Popen[str], endpoint_url: str) -> None:
        self._process = process
        self._endpoint_url = endpoint_url

    def __call__(self, command: str, *arguments: str) -> CompletedCommand:
        """`aws ivs <command> <arguments>`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ["ivs", command, *arguments, "--endpoint-url", self._endpoint_url, "--region", "us-west-2"]
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        return CompletedCommand(*json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def aws_cli(endpoint_url: str) -> Iterator[AwsCli]:
    """Run the process for the duration of the block."""
    environ = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "NO_PROXY": "*", "AWS_PAGER": ""}
    environ |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_MAX_ATTEMPTS": "1"}
    with subprocess.Popen(
        [sys.executable, "-P", __file__], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield AwsCli(process, endpoint_url)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    from awscli.clidriver import create_clidriver  # type: ignore[import-untyped]

    driver, responses = create_clidriver(), sys.stdout
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = driver.main(json.loads(line))
            except SystemExit as exit_:
                code = exit_.code
        print(json.dumps([code, out.getvalue(), err.getvalue()]), file=responses, flush=True)


if __name__ == "__main__":
    _serve()
