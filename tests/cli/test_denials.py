"""`tokensvc denials …`."""

from __future__ import annotations

import time

import pytest

from tests.cli.terminal import Terminal
from tests.storage.samples import CHANNEL, channel
from tokensvc.timestamps import rfc3339, unix_seconds

OTHER = channel("b").arn
ADA = ("--viewer", "ada")


@pytest.mark.slow
def test_add_denies_a_viewer_on_given_or_all_channels(terminal: Terminal) -> None:
    channels = ("--channel", CHANNEL, "--channel", OTHER)
    result = terminal("denials", "add", *channels, *ADA, "--deny-for", "60", "--reason", "x", "--json").json["denials"]
    assert [one["channelArn"] for one in result] == [CHANNEL, OTHER]
    assert {(one["caller"], one["reason"]) for one in result} == {("the command line", "x")}
    assert unix_seconds(result[0]["until"]) - time.time() == pytest.approx(60, abs=5)
    until = rfc3339(int(time.time()) + 3600)
    [everywhere] = terminal("denials", "add", "--all-channels", *ADA, "--until", until, "--json").json["denials"]
    assert (everywhere["channelArn"], everywhere["until"]) == ("*", until)
    assert terminal("denials", "list", "--json").json["denials"][0] == everywhere


@pytest.mark.slow
def test_list_filters_by_channel_and_viewer(terminal: Terminal) -> None:
    ids = {}
    for viewer in ("ada", "eve"):
        added = terminal("denials", "add", "--channel", CHANNEL, "--viewer", viewer, "--deny-for", "60", "--json")
        [ids[viewer]] = [one["id"] for one in added.json["denials"]]
    terminal("denials", "add", "--all-channels", "--subject", "ada", "--deny-for", "60")
    rows = terminal("denials", "list", "--channel", CHANNEL, *ADA).out.splitlines()[1:]
    assert [row.split()[:2] for row in rows] == [[ids["ada"], CHANNEL]]
    of_all = terminal("denials", "list", "--all-channels", "--subject", "ada", "--json").json["denials"]
    assert [one["channelArn"] for one in of_all] == ["*"]
    assert terminal("denials", "list", "--all-channels", "--subject", "eve", "--json").json["denials"] == []
    assert len(terminal("denials", "list", "--max", "2", "--json").json["denials"]) == 2
    assert "--channel: is required to search for a viewer" in terminal("denials", "list", *ADA, code=2).err


@pytest.mark.slow
def test_a_truncated_list_says_how_to_continue(terminal: Terminal) -> None:
    for number in range(52):
        terminal("denials", "add", "--channel", CHANNEL, "--viewer", f"v{number}", "--deny-for", "60")
    cut = terminal("denials", "list")
    assert len(cut.out.splitlines()) == 1 + 50
    token = terminal("denials", "list", "--json").json["nextToken"]
    assert f"More entries follow: continue with --next-token {token}" in cut.err
    rest = terminal("denials", "list", "--next-token", token)
    assert (len(rest.out.splitlines()), rest.err) == (1 + 2, "")
    assert not set(rest.out.splitlines()[1:]) & set(cut.out.splitlines())
    assert terminal("denials", "list", "--json", "--max-results", "52").json["nextToken"] is None, "exactly all of them"
    assert "--next-token: " in terminal("denials", "list", "--next-token", "x", code=2).err


def test_all_invalid_options_are_named_together(terminal: Terminal) -> None:
    result = terminal("denials", "add", code=2).err
    for option in (
        "--all-channels or --channel is required",
        "--viewer or --subject is required",
        "--until or --deny-for is required",
    ):
        assert option in result
    both = ("--channel", CHANNEL, "--all-channels", *ADA, "--deny-for", "0")
    result = terminal("denials", "add", *both, "--json", code=2).error["message"]
    assert "--deny-for: must be at least 1" in result
    assert "--channel: must be left out when --all-channels is given" in result


@pytest.mark.slow
def test_remove_accepts_denial_ids_or_a_viewer(terminal: Terminal) -> None:
    least = ("--channel", CHANNEL, *ADA)
    [added] = terminal("denials", "add", *least, "--deny-for", "60", "--json").json["denials"]
    name = added["id"]
    assert "--yes" in terminal("denials", "remove", name, code=2).err
    assert terminal("denials", "remove", name, "--yes").out == f"Denial {name} removed.\n"
    assert terminal("denials", "remove", name, "--yes", "--json", code=1).error["code"] == "denial_not_found"
    [added] = terminal("denials", "add", *least, "--deny-for", "60", "--json").json["denials"]
    assert terminal("denials", "remove", *least, "--yes", "--json").json == {"removed": [added["id"]]}
    assert terminal("denials", "remove", *least).out == "No denial in force.\n"
    assert terminal("denials", "list", "--json").json == {"denials": [], "nextToken": None}


@pytest.mark.parametrize(
    "options",
    [(), ("--channel", CHANNEL), ("abc", "--channel", CHANNEL, *ADA), ("--channel", CHANNEL, "--all-channels", *ADA)],
    ids=["nothing", "no viewer", "both", "two wheres"],
)
def test_remove_requires_ids_or_a_viewer(terminal: Terminal, options: tuple[str, ...]) -> None:
    assert terminal("denials", "remove", *options, "--yes", code=2).out == ""
