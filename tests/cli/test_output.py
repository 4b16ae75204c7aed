"""Output never controls the terminal, whatever text comes from the store, a file, IVS or a shell's glob pattern."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.cli.terminal import Terminal
from tests.storage.samples import AT, CHANNEL, HERE, MAX_STALENESS_SECONDS
from tests.support.audit import EVENT
from tests.support.processes import CommandResult
from tokensvc import cli
from tokensvc.cli import output
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome
from tokensvc.revocations.store import NewDenial, NewRevocation
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.revocation_tables import denials, revocation_entries, revocations
from tokensvc.storage.schema import callers
from tokensvc.storage.store import Store, open_store
from tokensvc.tokens.denylist import viewer_digest

pytestmark = pytest.mark.slow

ODD = "\x1b[2J\x1b]0;owned\x07 \x9b31m \x7f \u202egnihton\u2066 \u200b\nforged line"
"""An escape sequence, its eight-bit form, DEL, bidirectional controls, an invisible character and a line feed."""


def assert_harmless(result: CommandResult) -> None:
    """Assert that only printable characters and the line ends of the commands themselves are printed."""
    for text in (result.out, result.err):
        assert text.replace("\n", "").isprintable(), ascii(text)
        assert not any(line.startswith("forged line") for line in text.splitlines()), text


@pytest.fixture
def odd(terminal: Terminal) -> Terminal:
    """A deployment whose store has such text wherever text from outside can be stored."""
    store = open_store(terminal.environ["TOKENSVC_DATABASE_URL"])
    _fill(store)
    store.close()
    return terminal


def _fill(store: Store) -> None:
    store.denials.add(
        "shop", [NewDenial(CHANNEL, viewer_digest(CHANNEL, "ada"), int(time.time()) + 60, ODD)], event=EVENT
    )
    store.revocations.accept(
        "shop",
        [NewRevocation("r1", (CHANNEL,), ("ada",), reason=ODD)],
        Priority.INTERACTIVE,
        MAX_STALENESS_SECONDS,
        events=[EVENT],
    )
    [entry] = store.revocation_queue.claim(HERE, Priority.INTERACTIVE, 9, 60)
    store.revocation_queue.record_outcomes([DeliveryOutcome(entry.id, entry.version, RevocationState.FAILED, ODD, ODD)])
    with write_transaction(store.engine) as connection:
        connection.execute(sa.update(revocation_entries).values(viewer_id=ODD))
        connection.execute(sa.update(revocations).values(caller=ODD))
        connection.execute(sa.update(denials).values(caller=ODD, reason=ODD))
        policy = {"channels": [ODD], "scopes": [ODD], "max_ttl_seconds": None, "allow_anonymous_viewers": False}
        row = {"name": ODD, "policy": policy | {"namespace": ODD}, "disabled_at": None, "created_at": AT}
        connection.execute(sa.insert(callers).values(row))


COMMANDS = [
    ("revocations", "list"),
    ("revocations", "show", "r1"),
    ("revocations", "watch", "--once"),
    ("denials", "list"),
    ("callers", "list"),
    ("keys", "list"),
    ("doctor",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_stored_text_cannot_control_the_terminal(odd: Terminal, command: tuple[str, ...], as_json: bool) -> None:
    result = odd(*command, *(["--json"] if as_json else []), code=1 if command == ("doctor",) else 0)
    assert_harmless(result)


def test_json_contains_the_text_as_stored(odd: Terminal) -> None:
    [denial] = odd("denials", "list", "--json").json["denials"]
    assert (denial["reason"], denial["caller"]) == (ODD, ODD)
    [target] = odd("revocations", "show", "r1", "--json").json["targets"]
    assert (target["viewerId"], target["code"], target["message"]) == (ODD, ODD, ODD)


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "import", "{}"),
        ("keys", "show", "{}"),
        ("keys", "{}"),
        ("{}",),
        ("revocations", "show", "{}"),
        ("revocations", "show", "r1", "--{}"),
        ("revocations", "list", "--state", "{}"),
        ("revocations", "cancel", "{}"),
        ("denials", "remove", "{}"),
        ("denials", "remove", "{}", "--yes"),
        ("denials", "add", "--channel", "{}", "--viewer", "{}", "--reason", "{}", "--deny-for", "{}"),
        ("revocations", "add", "--file", "{}"),
        ("callers", "disable", "{}"),
        ("callers", "disable", "{}", "--yes"),
        ("callers", "add", "{}", "--channels", "{}", "--scope", "{}", "--namespace", "{}"),
        ("tokens", "explain", "{}", "--channel", "{}", "--public-key", "{}"),
        ("tokens", "explain", "{}", "--origin", "{}"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_arguments_cannot_control_the_terminal(terminal: Terminal, command: tuple[str, ...], as_json: bool) -> None:
    """A shell's glob pattern expands to file names, which may contain any bytes."""
    for text in (ODD, "\udcff\x1b[2J", "a\x9b"):
        arguments = [word.format(text) for word in command] + (["--json"] if as_json else [])
        result = terminal.run(*arguments)
        assert result.code in (1, 2, 4)
        assert_harmless(result)


def test_control_characters_are_rejected_in_options_and_files(terminal: Terminal) -> None:
    least = ("--channel", CHANNEL, "--deny-for", "60")
    for option in ("--viewer", "--reason"):
        given = {"--viewer": "ada", "--reason": ""} | {option: "a\x1b[2Jb"}
        result = terminal("denials", "add", *least, *(word for pair in given.items() for word in pair), code=2)
        assert f"{option}: must not contain control characters" in result.err
    line = json.dumps({"channelArn": CHANNEL, "viewerId": "a\0", "reason": "\x1b"})
    result = terminal("revocations", "add", "--file", "-", stdin=line, code=1)
    assert "line 1: viewerId: must not contain control characters; reason: must not" in result.err


def test_tables_stay_aligned() -> None:
    assert output.format_table(("A", "B"), [("x", "\x1b"), ("\u202e", "y\nz")]) == [
        "A       B",
        "x       \\x1b",
        "\\u202e  y\\nz",
    ]


def test_only_the_output_module_prints() -> None:
    """Commands print through `output.py`, which escapes. Text that is entirely our own may be printed directly."""
    own = {"demo_service.py": "the commands to try"}
    folder = Path(str(cli.__file__)).parent
    printing = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "click.echo")
    }
    assert printing - own.keys() <= {"output.py"}
