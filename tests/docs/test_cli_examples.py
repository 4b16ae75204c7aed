"""Every example of `tokensvc … --help`, which are those of docs/reference/cli.md, works.

They run beside a demo, in a shell with its variables. What the examples of a command name is created first: files,
keys, revocations. Ids are replaced by those of the demo, as a reader does it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generator.cli import commands
from tests.docs.environments import PageEnvironment, beside_demo
from tests.docs.page_shell import BASH
from tests.support.deployment import free_port
from tests.support.processes import STARTS_WITHIN_SECONDS, run, started
from tokensvc.cli.help import DENIAL_ID, KEY_ID, REVOCATION_ID, examples_of

COMMANDS = commands()
SERVERS = {"tokensvc demo", "tokensvc serve", "tokensvc worker", "tokensvc ivs serve", "tokensvc audit follow"}
READY = {
    "tokensvc demo": "The demo is running",
    "tokensvc serve": "serving",
    "tokensvc worker": "running background tasks",
    "tokensvc ivs serve": "Endpoint ",
    "tokensvc audit follow": "Following new audit records",
}
WITHOUT_STANDBY = "TOKENSVC_KEY_STANDBY=false tokensvc db upgrade; "
REMOVE_STANDBY = WITHOUT_STANDBY + 'tokensvc keys retire "$(id_of prepared)" --yes; '
REVOKE = 'ID=$(tokensvc revocations add --channel $CHANNEL --viewer v1 --json | sed -nE \'s/.*"id": "(.*)",/\\1/p\'); '
NEW_KEY = "openssl ecparam -name secp384r1 -genkey -noout -out private.pem; chmod 600 private.pem; "
IMPORTED = (
    "openssl ec -in private.pem -pubout -out public.pem; "
    'KEY_PAIR=$(aws ivs import-playback-key-pair --public-key-material "$(cat public.pem)" '
    "--query keyPair.arn --output text); "
)
TOKEN = (
    'ANSWER=$(curl -s $TOKENS/v1/tokens -H "authorization: Bearer $KEY" '
    '-d \'{"channelArn":"\'$CHANNEL\'","viewerId":"v"}\'); '
    'TOKEN=$(echo $ANSWER | sed -E \'s/.*"token":"([^"]*)".*/\\1/\'); '
    'PLAYBACK_URL=$(echo $ANSWER | sed -E \'s/.*"playbackUrl":"([^"]*)".*/\\1/\'); '
)
BEFORE = {
    "tokensvc health": "export TOKENSVC_PORT=${TOKENS##*:}; ",
    "tokensvc keys generate": "",
    "tokensvc keys import": REMOVE_STANDBY
    + NEW_KEY
    + "(umask 077; echo secret-passphrase > passphrase.txt); "
    + "openssl pkcs8 -topk8 -in private.pem -passout file:passphrase.txt -out encrypted.pem; "
    + IMPORTED,
    "tokensvc keys adopt": REMOVE_STANDBY
    + NEW_KEY
    + 'ID=$(tokensvc keys import private.pem --json | sed -nE \'s/^  "id": "(.*)",/\\1/p\'); '
    + 'KEY_PAIR=$(tokensvc keys show $ID --json | sed -nE \'s/.*"arn": "(.*)".*/\\1/p\' | head -n 1); ',
    "tokensvc keys show": "ID=$(id_of active); ",
    "tokensvc keys public": "ID=$(id_of active); ",
    "tokensvc keys activate": "ID=$(id_of prepared); ",
    "tokensvc keys retire": "ID=$(id_of active); ",
    "tokensvc keys delete": WITHOUT_STANDBY + 'ID=$(id_of prepared); tokensvc keys retire "$ID" --yes; ',
    "tokensvc keys compromise": "ID=$(id_of active); ",
    "tokensvc tokens explain": TOKEN + "tokensvc keys public $(id_of active) > public.pem; ",
    "tokensvc revocations add": 'echo \'{"channelArn": "\'$CHANNEL\'", "viewerId": "v2"}\' > revocations.jsonl; ',
    "tokensvc revocations show": REVOKE,
    "tokensvc revocations watch": REVOKE,
    "tokensvc revocations retry": REVOKE,
    "tokensvc revocations cancel": REVOKE,
    "tokensvc denials remove": "ID=$(tokensvc denials add --channel $CHANNEL --viewer v1 --deny-for 60 --json "
    '| sed -nE \'s/.*"id": "(.*)",/\\1/p\'); '
    "tokensvc denials add --channel $CHANNEL --viewer viewer-17 --deny-for 60; ",
    "tokensvc callers apply": """printf '[callers.%s]\\nchannels = ["*"]\\n' demo shop > callers.toml; """,
    **dict.fromkeys(
        [f"tokensvc callers {verb}" for verb in ("rotate-secret", "enable", "disable", "show", "update")],
        "tokensvc callers add web-backend --all-channels || true; ",  # it may exist
    ),
}
"""What a shell does before a command's examples."""
CHANGES_THE_DEMO = {"tokensvc db upgrade"} | {
    path for path in COMMANDS if path.startswith("tokensvc keys ") and path.split()[2] not in ("list", "show", "public")
}
EXPECTED_CODES = {"tokensvc keys reconcile --detailed-exit-code": 3}
NOT_ALONE = {
    'tokensvc keys delete "$KEY_PAIR" --yes': "a key pair that the store does not know: tests/cli/keys deletes one",
}
_FUNCTIONS = """id_of() { tokensvc keys list | awk -v state="$1" '$3 == state { print $1; exit }'; }\n"""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.skipif(BASH is None, reason="bash is not installed"),
    pytest.mark.skipif(
        shutil.which("curl") is None or shutil.which("openssl") is None,
        reason="curl or openssl is not installed: make system-packages",
    ),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageEnvironment]:
    with beside_demo(tmp_path_factory.mktemp("shared")) as environment:
        yield environment


@pytest.fixture
def found(path: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PageEnvironment]:
    """The shared demo, or one of its own for a command after which others would not find what they expect."""
    if path not in CHANGES_THE_DEMO:
        yield request.getfixturevalue("shared")
        return
    with beside_demo(tmp_path) as environment:
        yield environment


def literal(command: str) -> str:
    """The command with ids and ports of the test's own."""
    for example in (KEY_ID, REVOCATION_ID, DENIAL_ID):
        command = command.replace(example, "$ID")
    return re.sub(r"(_PORT=)\d+", lambda match: f"{match[1]}{free_port()}", command)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in SERVERS])
def test_the_examples_of_a_command_work(path: str, found: PageEnvironment) -> None:
    shown = [example.command for example in examples_of(COMMANDS[path]) if example.command not in NOT_ALONE]
    script = f"set -euo pipefail\n. .demo/env\n{_FUNCTIONS}{BEFORE.get(path, '')}\n"
    for command in shown:
        code = EXPECTED_CODES.get(command, 0)
        script += f"echo '+' {path}\ncode=0; {literal(command)} || code=$?\n"
        script += f'[ "$code" = {code} ] || {{ echo "exited with $code" >&2; exit 99; }}\n'
    assert BASH is not None
    run([BASH, "-c", script], found.folder, found.variables, within_seconds=150)


@pytest.mark.parametrize(
    ("path", "command"),
    [(path, example.command) for path in sorted(SERVERS) for example in examples_of(COMMANDS[path])],
)
def test_the_example_of_a_server_starts_it(path: str, command: str, shared: PageEnvironment, tmp_path: Path) -> None:
    assert BASH is not None
    script = f"exec env {literal(command)}"
    if path in ("tokensvc demo", "tokensvc ivs serve"):
        (tmp_path / "channels.toml").write_text("[channels.lobby]\n")
        script = f"cd {tmp_path}; {script} --port 0"
    else:
        script = f". .demo/env; export TOKENSVC_PORT={free_port()}; {script}"
    with started([BASH, "-c", script], shared.folder, shared.variables, "example") as process:
        within_seconds = 120 if "--media picture" in command else STARTS_WITHIN_SECONDS  # encoding takes 20 s of CPU
        process.wait_until(lambda: READY[path] in process.out + process.err, "it is ready", within_seconds)
