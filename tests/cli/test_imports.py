"""Commands load only the libraries that they need, since loading takes most of a short command's time.

`python -m benchmarks.start` measures the time; here the modules are counted, which no load of the machine changes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from tests.cli.terminal import Terminal
from tokensvc.cli.lazy_group import COMMANDS, load_command

pytestmark = pytest.mark.slow

AWS = {"boto3", "botocore", "s3transfer", "urllib3"}
SERVER = {"starlette", "uvicorn", "uvloop", "anyio", "prometheus_client", "structlog", "tokensvc.container.service"}
CLIENT = {"httpx", "redis", "jwt", "opentelemetry"}
STORE = {"sqlalchemy", "sqlite3"}
RICH = {"rich", "pygments"}
NEVER = AWS | SERVER | CLIENT | RICH | {"alembic", "psycopg", "sqlalchemy.dialects.postgresql"}
CRYPTO = {"cryptography", "awscrt"}
TOKEN = "e30.e30.e30"
PROGRAM = """
import json, os, sys
from tokensvc.cli import main
code = 0
try:
    main()
except SystemExit as exit:
    code = exit.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


class Budget(NamedTuple):
    """What a command may load."""

    line: str
    forbidden: set[str]
    own_modules_max: int
    """How many of tokensvc's modules."""
    code: int = 0


NO_STORE = NEVER | STORE
COMMANDS_WITHOUT_STORE = [
    Budget("--version", NO_STORE | CRYPTO | {"pydantic"}, 22),
    Budget("--help", NO_STORE | CRYPTO | {"pydantic"}, 22),
    Budget("callers add --help", NO_STORE, 60),
]
COMMANDS_WITH_STORE = [
    Budget("settings", NEVER - {"structlog"}, 90),
    Budget("callers list", NEVER | {"cryptography"}, 75),
    Budget("keys list", NEVER, 110),
    Budget(f"tokens explain {TOKEN}", NEVER, 115, code=4),
    Budget("revocations list", NEVER, 120),
    Budget("denials list", NEVER, 110),
    Budget("audit list", NEVER, 105),
    Budget("db upgrade", NEVER, 80),
]


def loaded(budget: Budget, environ: dict[str, str], folder: Path) -> set[str]:
    command = [sys.executable, "-c", PROGRAM, *budget.line.split()]
    done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert (code or 0) == budget.code, done.stderr
    return set(modules)


def check(budget: Budget, modules: set[str]) -> None:
    assert sorted(modules & budget.forbidden) == []
    own = {name for name in modules if name.startswith("tokensvc.")}
    assert len(own) <= budget.own_modules_max


@pytest.mark.parametrize("budget", COMMANDS_WITHOUT_STORE, ids=lambda b: b.line)
def test_help_and_version_load_no_store_and_no_server(budget: Budget, bare: Terminal, tmp_path: Path) -> None:
    check(budget, loaded(budget, bare.environ, tmp_path))


@pytest.mark.parametrize("line", ["revocations add", "denials add --deny-for 1m"])
def test_acting_on_a_viewer_where_there_is_a_key_does_not_load_boto3(
    line: str, healthy: Terminal, tmp_path: Path
) -> None:
    arn = healthy("keys", "list", "--json").json["keys"][0]["placements"][0]["arn"]
    channel = f"{arn.rpartition(':')[0]}:channel/abcdefghijkl"
    budget = Budget(f"{line} --viewer ada --channel {channel}", NEVER, 125)
    check(budget, loaded(budget, healthy.environ, tmp_path))


def test_the_help_of_no_command_loads_the_store_or_the_server(tmp_path: Path) -> None:
    """All in one process: what none may load, all together may not."""
    program = (
        "import json, sys\nfrom tokensvc.cli.lazy_group import COMMANDS, load_command\n"
        "for name in COMMANDS:\n    load_command(name)\nprint(json.dumps(sorted(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(set(json.loads(done.stdout)) & NO_STORE) == []


@pytest.mark.parametrize("budget", COMMANDS_WITH_STORE, ids=lambda b: b.line)
def test_commands_on_the_store_load_neither_boto3_nor_the_service(
    budget: Budget, terminal: Terminal, tmp_path: Path
) -> None:
    check(budget, loaded(budget, terminal.environ, tmp_path))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_the_root_command_says_what_each_command_says_of_itself(name: str) -> None:
    command = load_command(name)
    assert COMMANDS[name] == command.get_short_help_str(limit=1000)


def test_completion_of_names_loads_no_command(bare: Terminal, tmp_path: Path) -> None:
    environ = bare.environ | {"_TOKENSVC_COMPLETE": "complete_bash", "COMP_WORDS": "tokensvc d", "COMP_CWORD": "1"}
    command = [
        sys.executable,
        "-c",
        PROGRAM.replace("import json, os, sys", "import json, os, sys\nsys.argv[0] = 'tokensvc'"),
    ]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "doctor" in done.stdout, done.stderr
    modules = set(json.loads(done.stderr.splitlines()[-1])[1])
    assert not modules & (NO_STORE | CRYPTO)
    assert typer.__name__ in modules
