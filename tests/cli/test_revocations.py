"""`tokensvc revocations …`."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.cli.terminal import Terminal
from tests.storage.samples import CHANNEL, EVERYONE, channel, make_due
from tokensvc.aws.arn import parse_arn
from tokensvc.cli.context import to_option_error
from tokensvc.errors import FieldError, StoreUnavailable
from tokensvc.revocations.model import Priority, RevocationState
from tokensvc.revocations.queue import DeliveryOutcome
from tokensvc.revocations.service import RevocationService
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.revocation_tables import revocation_entries
from tokensvc.storage.store import Store, open_store
from tokensvc.timestamps import unix_seconds
from tokensvc.tokens.viewer_ids import viewer_id

pytestmark = pytest.mark.slow

OTHER = channel("b").arn
HERE = parse_arn(CHANNEL, "channel").account_region


@pytest.fixture
def opened(terminal: Terminal) -> Iterator[Store]:
    """The terminal's store, opened as by a worker."""
    store = open_store(terminal.environ["TOKENSVC_DATABASE_URL"])
    yield store
    store.close()


def add(terminal: Terminal, viewer: str = "ada", *more: str) -> str:
    """Add a revocation; returns its id."""
    return str(terminal("revocations", "add", "--channel", CHANNEL, "--viewer", viewer, *more, "--json").json["id"])


def record_outcomes(store: Store, state: RevocationState, code: str = "") -> None:
    """Record this outcome for every queued entry, as a dispatcher would."""
    make_due(store)
    for priority in Priority:
        claimed = store.revocation_queue.claim(HERE, priority, 1000, 60)
        store.revocation_queue.record_outcomes(
            [DeliveryOutcome(e.id, e.version, state, code, "its words") for e in claimed]
        )


def age(store: Store, seconds: float) -> None:
    """Make all entries appear to have been queued that many seconds earlier."""
    with write_transaction(store.engine) as connection:
        c = revocation_entries.c
        connection.execute(sa.update(revocation_entries).values(queued_at=c.queued_at - seconds))


def test_add_reports_when_the_viewer_may_return(terminal: Terminal, opened: Store) -> None:
    result = terminal("revocations", "add", "--channel", CHANNEL, "--channel", OTHER, "--viewer", "ada", "--json").json
    assert result["state"] == "queued"
    assert unix_seconds(result["readmitAfter"]) - time.time() == pytest.approx(910, abs=5)
    stored = opened.revocations.get(result["id"], EVERYONE)
    assert (stored.caller, [target.channel_arn for target in stored.targets]) == ("the command line", [CHANNEL, OTHER])
    words = terminal("revocations", "add", "--channel", CHANNEL, "--viewer", "eve").out
    assert "may return after 20" in words


def test_add_accepts_every_request_field(terminal: Terminal, opened: Store) -> None:
    before = int(time.time()) - 3600
    options = ("--issued-before", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(before)), "--deny-for", "60")
    id_ = add(terminal, "ada", *options, "--reason", "shares its token")
    stored = opened.revocations.get(id_, EVERYONE)
    assert (stored.reason, stored.targets[0].version) == ("shares its token", before - 1)
    [denial] = opened.denials.in_force(EVERYONE, limit=9)
    assert denial.until.timestamp() - time.time() == pytest.approx(60, abs=5)


def test_add_by_subject_uses_the_given_namespace(terminal: Terminal, opened: Store) -> None:
    options = ("--channel", CHANNEL, "--subject", "ada@example.com", "--json")
    ids = [terminal("revocations", "add", *options, *more).json["id"] for more in ((), ("--namespace", "apps"))]
    viewers = [opened.revocations.get(id_, EVERYONE).targets[0].viewer_id for id_ in ids]
    assert len({*viewers}) == 2
    assert {len(viewer) for viewer in viewers} == {len(viewer_id(b"k" * 32, "apps", "ada"))}
    listed = terminal("revocations", "list", "--subject", "ada@example.com", "--namespace", "apps", "--json").json
    assert [one["id"] for one in listed["revocations"]] == [ids[1]]


def test_a_viewer_id_needs_no_passphrase(terminal: Terminal) -> None:
    least = ("revocations", "add", "--channel", CHANNEL)
    terminal(*least, "--viewer", "ada", without="TOKENSVC_PASSPHRASE")
    assert "TOKENSVC_PASSPHRASE" in terminal(*least, "--subject", "ada", without="TOKENSVC_PASSPHRASE", code=2).err


def test_all_invalid_options_are_named_together(terminal: Terminal) -> None:
    result = terminal("revocations", "add", code=2).err
    assert "--channel: is required;" in result
    assert "--viewer or --subject is required" in result
    bad = ("--channel", "x", "--viewer", "v" * 41, "--issued-before", "yesterday", "--deny-for", "99999d")
    result = terminal("revocations", "add", *bad, "--json", code=2).error["message"]
    for option in ("--channel: ", "--viewer: ", "--issued-before: ", "--deny-for: "):
        assert option in result
    assert "v" * 41 not in result
    both = terminal("revocations", "add", "--channel", CHANNEL, "--viewer", "a", "--subject", "b", code=2)
    assert "--subject: must be left out when --viewer is given" in both.err


def test_a_file_or_standard_input_supplies_many_revocations(terminal: Terminal, tmp_path: Path, opened: Store) -> None:
    lines = [json.dumps({"viewerId": f"v{number}"}) for number in range(250)]
    lines[3:3] = ["", json.dumps({"channelArn": OTHER, "viewerId": "elsewhere"})]
    (tmp_path / "many").write_text("\n".join(lines))
    options = ("--channel", CHANNEL, "--reason", "a leak", "--json")
    result = terminal("revocations", "add", "--file", str(tmp_path / "many"), *options).json["revocations"]
    assert len(result) == 251
    assert [(one["line"], one["state"]) for one in result[2:5]] == [(3, "queued"), (5, "queued"), (6, "queued")]
    found = {r.targets[0].viewer_id: r for r in opened.revocations.list(EVERYONE, limit=300)}
    assert len(found) == 251
    assert (found["elsewhere"].targets[0].channel_arn, found["elsewhere"].reason) == (OTHER, "a leak")
    assert {r.targets[0].channel_arn for r in found.values()} == {CHANNEL, OTHER}
    again = terminal("revocations", "add", "--file", "-", "--channel", CHANNEL, stdin='{"viewerId": "v0"}\n')
    assert again.out == "1 accepted, 0 rejected. To follow delivery: tokensvc revocations watch\n"


def test_a_file_that_cannot_be_read_is_wrong_usage(terminal: Terminal, tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "nothing", "No such file or directory"), (tmp_path, "Is a directory")):
        result = terminal("revocations", "add", "--file", str(path), "--channel", CHANNEL, code=2)
        assert result.err == f"tokensvc: --file: cannot be read: {reason}\n", "the option as it is written"


def test_a_named_pipe_is_read(terminal: Terminal, tmp_path: Path, opened: Store) -> None:
    """As for `--file <(…)` and `--file /dev/stdin`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=('{"viewerId": "ada"}\n',), daemon=True).start()
    result = terminal("revocations", "add", "--file", str(pipe), "--channel", CHANNEL)
    assert result.out.startswith("1 accepted, 0 rejected.")
    assert len(opened.revocations.list(EVERYONE, limit=9)) == 1


@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_line_that_is_not_utf_8_revokes_no_other_viewer(
    terminal: Terminal, tmp_path: Path, opened: Store, source: str
) -> None:
    text = b'{"viewerId": "ada"}\n{"viewerId": "caf\xe9"}\n{"viewerId": "caf\xc3\xa9"}\n'
    (tmp_path / "many").write_bytes(text)
    given: tuple[str, bytes] = (str(tmp_path / "many"), b"") if source == "file" else ("-", text)
    result = terminal("revocations", "add", "--file", given[0], "--channel", CHANNEL, "--json", stdin=given[1], code=1)
    results = result.json["revocations"]
    assert [(one["line"], one.get("state", "rejected")) for one in results] == [
        (1, "queued"),
        (2, "rejected"),
        (3, "queued"),
    ]
    assert results[1]["error"]["code"] == "malformed_request"
    assert "line 2: the line is not JSON: str is not valid UTF-8" in result.err
    assert {r.targets[0].viewer_id for r in opened.revocations.list(EVERYONE, limit=9)} == {"ada", "café"}


def fail_after(batches: int, failure: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the store fail after this many batches."""
    calls, add_many = itertools.count(), RevocationService.add_many

    def failing(*arguments: Any) -> Any:
        if next(calls) == batches:
            raise failure
        return add_many(*arguments)

    monkeypatch.setattr(RevocationService, "add_many", failing)


def test_after_a_failure_the_results_of_the_batches_before_are_printed(
    terminal: Terminal, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join(json.dumps({"viewerId": f"v{number}"}) for number in range(250))
    options = ("revocations", "add", "--file", "-", "--channel", CHANNEL)
    fail_after(2, StoreUnavailable("the store is gone"), monkeypatch)
    result = terminal(*options, "--json", stdin=lines, code=1)
    assert result.error == {"code": "store_unavailable", "message": "the store is gone"}
    assert "Stopped after line 200: the lines that follow have no result.\n" in result.err
    printed = {one["id"] for one in result.json["revocations"]}
    assert printed == {r.id for r in opened.revocations.list(EVERYONE, limit=300)}
    assert [one["line"] for one in result.json["revocations"]] == [*range(1, 201)]


def test_results_are_printed_after_an_interruption_and_nothing_if_there_are_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join(json.dumps({"viewerId": f"v{number}"}) for number in range(150))
    options = ("revocations", "add", "--file", "-", "--channel", CHANNEL)
    with monkeypatch.context() as patched:
        fail_after(1, KeyboardInterrupt(), patched)
        interrupted = terminal.run(*options, stdin=lines)
        assert interrupted.out.startswith("100 accepted, 0 rejected.")
    fail_after(0, StoreUnavailable("the store is gone"), monkeypatch)
    failed = terminal(*options, stdin=lines, code=1)
    assert (failed.out, failed.err) == ("", "tokensvc: the store is gone\n")


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("channelArns[3]", "--channel"),
        ("viewerId", "--viewer"),
        ("reason", "--reason"),
        ("--file", "--file"),
        ("ID", "ID"),
        ("maxResults", "--max-results"),
        ("TOKENSVC_REGIONS", "TOKENSVC_REGIONS"),
    ],
)
def test_errors_name_the_option_instead_of_the_field(field: str, option: str) -> None:
    assert to_option_error(FieldError(field, "is required")) == FieldError(option, "is required")


def test_a_line_that_is_not_an_object_is_rejected_with_the_reason(terminal: Terminal, opened: Store) -> None:
    lines = ["[1]", "{", '{"viewerId": "a", "viewerId": "b"}', '{"viewerId": "v"}', "nothing"]
    result = terminal(
        "revocations", "add", "--file", "-", "--channel", CHANNEL, "--json", stdin="\n".join(lines), code=1
    )
    assert [(line["line"], "error" in line) for line in result.json["revocations"]] == [
        (1, True),
        (2, True),
        (3, True),
        (4, False),
        (5, True),
    ]
    assert "line 1: the line must be a JSON object\n" in result.err
    assert "line 2: the line is not JSON: " in result.err
    assert "line 3: viewerId: must be given once\n" in result.err
    assert "line 5: the line is not JSON: " in result.err
    assert len(opened.revocations.list(("*",), limit=9)) == 1


def test_a_rejected_line_is_reported_and_does_not_affect_others(terminal: Terminal, opened: Store) -> None:
    lines = ["nonsense", '{"viewerId": "ada"}', '["list"]', '{"viewerId": "secret-name", "wish": 1}', "{}"]
    result = terminal(
        "revocations", "add", "--file", "-", "--channel", CHANNEL, "--json", stdin="\n".join(lines), code=1
    )
    results = result.json["revocations"]
    assert [one.get("state", one.get("error", {}).get("code")) for one in results] == [
        "malformed_request",
        "queued",
        "malformed_request",
        "invalid_request",
        "invalid_request",
    ]
    assert "line 4: wish: is not a known field" in result.err
    assert "secret-name" not in result.err
    assert len(opened.revocations.list(EVERYONE, limit=9)) == 1


def test_a_truncated_list_says_how_to_continue(terminal: Terminal) -> None:
    lines = "\n".join(json.dumps({"viewerId": f"v{number}"}) for number in range(152))
    terminal("revocations", "add", "--file", "-", "--channel", CHANNEL, stdin=lines)
    cut = terminal("revocations", "list")
    assert len(cut.out.splitlines()) == 1 + 50
    seen: list[str] = []
    token: str | None = None
    while True:
        options = ("--next-token", token) if token else ()
        page = terminal("revocations", "list", "--json", "--max-results", "60", *options)
        seen += [one["id"] for one in page.json["revocations"]]
        if token is None:
            assert "More entries follow: continue with --next-token " in page.err
        if (token := page.json["nextToken"]) is None:
            break
    assert len(seen) == len({*seen}) == 152
    assert page.err == ""
    assert terminal("revocations", "list", "--max-results", "152").err == "", "exactly all of them"
    assert "--next-token: " in terminal("revocations", "list", "--next-token", "x", code=2).err


def test_list_and_show_report_the_state_of_each_revocation(terminal: Terminal, opened: Store) -> None:
    first = add(terminal)
    record_outcomes(opened, RevocationState.FAILED, "AccessDeniedException")
    second = add(terminal, "eve")
    rows = [line.split()[:2] for line in terminal("revocations", "list").out.splitlines()[1:]]
    assert rows == [[second, "queued"], [first, "failed"]]
    failed = terminal("revocations", "list", "--state", "failed", "--channel", CHANNEL, "--viewer", "ada", "--json")
    assert [one["id"] for one in failed.json["revocations"]] == [first]
    assert len(terminal("revocations", "list", "--max", "1", "--json").json["revocations"]) == 1
    shown = terminal("revocations", "show", first, "--json").json
    assert shown == failed.json["revocations"][0]
    words = terminal("revocations", "show", first).out
    assert f"{first}: failed, requested by the command line" in words
    assert words.splitlines()[-1].split()[-1] == "AccessDeniedException"


def test_an_unknown_revocation_is_an_error(terminal: Terminal) -> None:
    for verb in (("show",), ("watch",), ("retry",), ("cancel", "--yes")):
        result = terminal("revocations", *verb, "r0", "--json", code=1)
        assert result.error["code"] == "revocation_not_found"


def test_watch_shows_the_queue_and_the_estimated_end(terminal: Terminal, opened: Store) -> None:
    lines = "\n".join(json.dumps({"viewerId": f"v{number}"}) for number in range(400))
    terminal("revocations", "add", "--file", "-", "--channel", CHANNEL, stdin=lines)
    [place] = terminal("revocations", "watch", "--once", "--json").json["queues"]
    assert (place["region"], place["queued"], place["secondsLeft"]) == ("us-east-1", 400, 10.0)
    assert unix_seconds(place["endsAt"]) - time.time() == pytest.approx(10, abs=3)
    half_rate = terminal("revocations", "watch", "--once", "--json", REVOCATION_RATE_FRACTION="0.4").json["queues"]
    assert half_rate[0]["secondsLeft"] == 20.0
    assert terminal("revocations", "watch", "--once").out.splitlines()[1].split()[1:3] == ["us-east-1", "400"]
    record_outcomes(opened, RevocationState.SENT)
    assert terminal("revocations", "watch").out == "Queue empty: all revocations delivered.\n"


def test_watch_gives_no_estimate_while_calls_to_ivs_fail(terminal: Terminal, opened: Store) -> None:
    """Each call to IVS times out, and the entries are queued again."""
    add(terminal)
    assert terminal("revocations", "watch", "--once").out.splitlines()[1].split()[5:7] == ["1", "s"], "never 0 s"
    record_outcomes(opened, RevocationState.QUEUED, "ReadTimeoutError")
    result = terminal("revocations", "watch", "--once").out.splitlines()
    assert result[0].split() == ["ACCOUNT", "REGION", "QUEUED", "OLDEST", "REMAINING", "EMPTY", "AT", "PROBLEM"]
    assert result[1].split()[5:] == ["unknown", "unknown", "IVS:", "ReadTimeoutError"]
    [place] = terminal("revocations", "watch", "--once", "--json").json["queues"]
    assert (place["secondsLeft"], place["endsAt"], place["problem"]) == (None, None, "IVS: ReadTimeoutError")
    record_outcomes(opened, RevocationState.SENT)
    add(terminal, "eve")
    [place] = terminal("revocations", "watch", "--once", "--json").json["queues"]
    assert (place["secondsLeft"], place["problem"]) == (0.0, None)


def test_watch_gives_no_estimate_while_no_worker_dispatches(terminal: Terminal, opened: Store) -> None:
    add(terminal)
    age(opened, 60)
    [place] = terminal("revocations", "watch", "--once", "--json").json["queues"]
    assert place["secondsLeft"] is None
    assert place["problem"] == "no worker is dispatching: run tokensvc serve or tokensvc worker"
    opened.leases.acquire(f"dispatch:{HERE.account}:{HERE.region}", "w:1", 60)
    [place] = terminal("revocations", "watch", "--once", "--json").json["queues"]
    assert (place["secondsLeft"], place["problem"]) == (0.0, None)


@pytest.mark.parametrize(("state", "code"), [(RevocationState.SENT, 0), (RevocationState.FAILED, 1)])
def test_watch_continues_until_the_revocation_is_done(
    terminal: Terminal, opened: Store, monkeypatch: pytest.MonkeyPatch, state: RevocationState, code: int
) -> None:
    id_ = add(terminal)
    monkeypatch.setattr("tokensvc.cli.revocations.time.sleep", lambda _seconds: record_outcomes(opened, state))
    result = terminal("revocations", "watch", id_, "--every", "0.01", "--json", code=code)
    assert "0 of 1 done; 1 queued in us-east-1, empty at about 20" in result.err
    assert result.json["state"] == state.value
    add(terminal, "eve")
    shown = terminal("revocations", "watch", id_, "--once", code=code).out
    assert f"{id_}: {state.value}" in shown


def test_failed_revocations_are_retried_by_id_or_all_at_once(terminal: Terminal, opened: Store) -> None:
    ids = [add(terminal, f"v{number}") for number in range(3)]
    record_outcomes(opened, RevocationState.FAILED, "AccessDeniedException")
    assert terminal("revocations", "retry", ids[0]).out == f"{ids[0]}: 1 of 1 queued again\n"
    rest = terminal("revocations", "retry", "--all", "--json").json["revocations"]
    assert sorted(one["id"] for one in rest) == sorted(ids[1:])
    assert {one["state"] for one in rest} == {"queued"}
    assert terminal("revocations", "retry", "--all").out == "No failed revocations.\n"
    assert "ID or --all is required" in terminal("revocations", "retry", code=2).err
    assert terminal("revocations", "retry", "--all", ids[0], code=2).out == ""


def test_cancel_requires_yes_off_a_terminal(terminal: Terminal, opened: Store) -> None:
    ids = [add(terminal), add(terminal, "eve")]
    assert "--yes" in terminal("revocations", "cancel", *ids, code=2).err
    assert opened.revocation_queue.backlogs()
    result = terminal("revocations", "cancel", *ids, "--yes")
    assert result.out.splitlines() == [f"{id_}: 1 of 1 cancelled" for id_ in ids]
    assert opened.revocation_queue.backlogs() == {}


@pytest.mark.parametrize(("verb", "done"), [(("retry",), "queued again"), (("cancel", "--yes"), "cancelled")])
def test_an_unknown_id_is_named_after_the_results_before_it(
    terminal: Terminal, opened: Store, verb: tuple[str, ...], done: str
) -> None:
    ids = [add(terminal), add(terminal, "eve")]
    if verb == ("retry",):
        record_outcomes(opened, RevocationState.FAILED)
    result = terminal("revocations", *verb, ids[0], "nope", ids[1], code=1)
    assert result.out == f"{ids[0]}: 1 of 1 {done}\n"
    assert result.err == "tokensvc: there is no such revocation: nope\n"
    result = terminal("revocations", *verb, ids[1], "nope", "--json", code=1)
    assert [one["id"] for one in result.json["revocations"]] == [ids[1]]
    assert result.error == {"code": "revocation_not_found", "message": "there is no such revocation: nope"}
    assert terminal("revocations", *verb, "nope", code=1).out == "", "nothing is done"
