"""Runs commands in this process, without a terminal and with an environment of their own.

Invariants
- `main` itself runs, so exit codes and error messages are those that a shell sees.
- Each deployment has its own AWS account in one local IVS that all tests share.
- Whatever a command prints with `--json` is validated against the JSON schema of its reference.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from tests.support.command_output import validate_output
from tests.support.processes import CommandResult
from tokensvc.cli import main


class Terminal:
    """Runs commands against one deployment."""

    def __init__(self, folder: Path, endpoint: str, access_key: str) -> None:
        self.folder = folder
        self.vault = folder / "keys"
        self.store = folder / "store.db"
        self.passphrase = secrets.token_hex(32)
        self.environ = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "COLUMNS": "200",
            "TERM": "dumb",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_IVS": endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": access_key,
            "TOKENSVC_CONTROL_PLANE": "local",
            "TOKENSVC_DATABASE_URL": f"sqlite:///{self.store}",
            "TOKENSVC_PASSPHRASE": self.passphrase,
            "TOKENSVC_VAULT": f"file:{self.vault}",
            "TOKENSVC_KEY_PROPAGATION_SECONDS": "0",
            "TOKENSVC_KEY_STANDBY": "false",
        }

    def __call__(
        self, *arguments: str, code: int = 0, stdin: str | bytes = "", without: str = "", **settings: str
    ) -> CommandResult:
        """Run a command and require the exit code; `settings` are AWS variables, or settings without their prefix."""
        result = self.run(*arguments, stdin=stdin, without=without, **settings)
        assert result.code == code, f"{arguments} exited with {result.code}:\n{result.out}\n{result.err}"
        if "--json" in arguments and (result.out or code in (1, 4)):
            validate_output(arguments, result)
        return result

    def run(self, *arguments: str, stdin: str | bytes = "", without: str = "", **settings: str) -> CommandResult:
        """Run a command with any exit code."""
        environ = self.environ | {n if n.startswith("AWS_") else f"TOKENSVC_{n}": v for n, v in settings.items()}
        environ = {name: value for name, value in environ.items() if name not in without.split()}
        out, err = io.StringIO(), io.StringIO()
        with (
            _environment(environ, arguments, stdin),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            ended: int | str | None = 0
            try:
                main()
            except SystemExit as end:
                ended = end.code
        return CommandResult(int(ended or 0), out.getvalue(), err.getvalue())

    @contextlib.contextmanager
    def ivs(self, region: str = "us-east-1") -> Iterator[Any]:
        """An unmodified boto3 client of the deployment's account."""
        name = self.environ["AWS_ACCESS_KEY_ID"]
        client = boto3.client(
            "ivs",
            region_name=region,
            endpoint_url=self.environ["AWS_ENDPOINT_URL_IVS"],
            aws_access_key_id=name,
            aws_secret_access_key=name,
        )
        yield client
        client.close()


class Accounts:
    """Hands out unused accounts of a local IVS."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._numbers = itertools.count(1)

    def next(self) -> str:
        return f"account{next(self._numbers)}"


@contextlib.contextmanager
def _environment(environ: dict[str, str], arguments: tuple[str, ...], stdin: str | bytes) -> Iterator[None]:
    before = dict(os.environ), sys.argv, sys.stdin
    os.environ.clear()
    os.environ.update(environ)
    octets = stdin.encode() if isinstance(stdin, str) else stdin
    sys.argv, sys.stdin = ["tokensvc", *arguments], io.TextIOWrapper(io.BytesIO(octets))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        sys.argv, sys.stdin = before[1:]
