"""Durations in options: one form and one way to name them, in every command."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs.generator.cli import commands
from tests.cli.terminal import Terminal
from tokensvc.cli.durations import format_limit, parse_duration
from tokensvc.cli.help import parameters_of

COMMANDS = commands()
OPTIONS = {
    (path, parameter.name.split()[0])
    for path, command in COMMANDS.items()
    for parameter in parameters_of(command)
    if parameter.name.endswith(" DURATION")
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86_400),
        ("1h30m", 5400),
        ("1d2h3m4s", 93_784),
        ("120", 120),
        ("0", 0),
        ("0s", 0),
        ("007", 7),
        ("0.25", 0.25),
        ("999999999999d", 999_999_999_999 * 86_400),
    ],
)
def test_a_duration_has_units_or_is_a_number_of_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 5m",
        "5 m",
        "5M",
        "5min",
        "1.5h",
        "30m1h",
        "5m5m",
        "m",
        "5m30",
        "\u0665m",
        "\uff15m",
        "1e3",
        "+5",
        "nan",
        "inf",
        "9" * 5000,
        "5m\n",
        "1w",
        "1y",
        "0x10",
        "1_000",
        ".5",
        "5.",
    ],
)
def test_an_ambiguous_duration_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 90s, 5m, 2h, 1d or 1h30m, or a number of seconds"):
        parse_duration(text)


def test_a_negative_duration_is_rejected_as_such() -> None:
    for text in ("-1", "-5m"):
        with pytest.raises(ValueError, match="must not be negative"):
            parse_duration(text)


@given(st.integers(0, 10**9))
def test_a_limit_is_shown_as_a_duration_of_that_length(seconds: int) -> None:
    assert parse_duration(format_limit(seconds)) == seconds


def test_every_duration_of_every_command_is_an_option_without_a_unit_in_its_name() -> None:
    assert {option for _, option in OPTIONS} == {
        "--ttl",
        "--max-ttl",
        "--longest-ttl",
        "--deny-for",
        "--overlap",
        "--leeway",
        "--every",
        "--propagation-delay",
        "--timeout",
    }
    for path, command in COMMANDS.items():
        for parameter in parameters_of(command):
            assert "second" not in parameter.name.lower(), (path, parameter.name)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("callers", "update", "web", "--max-ttl", "8d"), "'--max-ttl': must be at most 7d"),
        (("callers", "update", "web", "--max-ttl", "0s"), "'--max-ttl': must be at least 1s"),
        (("callers", "update", "web", "--max-ttl", "0.5"), "'--max-ttl': must be whole seconds"),
        (("callers", "rotate-secret", "web", "--overlap", "366d"), "'--overlap': must be at most 365d"),
        (("callers", "rotate-secret", "web", "--overlap=-1h"), "'--overlap': must not be negative"),
        (("audit", "follow", "--every", "0"), "'--every': must be at least 0.01s"),
        (("denials", "add", "--all-channels", "--viewer", "v", "--deny-for", "1M"), "'--deny-for': must be a duration"),
    ],
)
def test_a_duration_out_of_its_limits_is_rejected_by_the_option(
    bare: Terminal, arguments: tuple[str, ...], rule: str
) -> None:
    assert rule in bare(*arguments, code=2).err


@pytest.mark.slow
def test_a_duration_with_a_unit_is_that_of_its_seconds(terminal: Terminal) -> None:
    terminal("callers", "add", "web", "--all-channels", "--max-ttl", "1h30m")
    assert terminal("callers", "show", "web", "--json").json["maxTtlSeconds"] == 5400
    terminal("callers", "update", "web", "--max-ttl", "90")
    assert terminal("callers", "show", "web", "--json").json["maxTtlSeconds"] == 90
