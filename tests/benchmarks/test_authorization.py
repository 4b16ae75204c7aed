"""Every part that is measured does what a worker does for a token."""

from __future__ import annotations

from pathlib import Path

from benchmarks.authorization import AUDITED_AT_ONCE, parts
from benchmarks.sign import CHANNEL, VIEWER
from tokensvc.callers.policy import Caller
from tokensvc.tokens.authorization import AuthorizedRequest


def test_every_part_can_be_repeated(tmp_path: Path) -> None:
    with parts(tmp_path) as measured:
        for part in measured.values():
            first, second = part.call(), part.call()
            assert type(first) is type(second)


def test_an_api_key_identifies_its_caller(tmp_path: Path) -> None:
    with parts(tmp_path) as measured:
        caller = measured["API key"].call()
        assert isinstance(caller, Caller)
        assert caller.name == "bench"


def test_a_cached_bearer_token_identifies_its_viewer(tmp_path: Path) -> None:
    with parts(tmp_path) as measured:
        caller = measured["cached bearer token"].call()
        assert isinstance(caller, Caller)
        assert caller.login is not None
        assert (caller.name, caller.login.subject) == ("app", VIEWER)


def test_each_policy_has_the_effect_that_is_measured(tmp_path: Path) -> None:
    with parts(tmp_path) as measured:
        authorized = {label: part.call() for label, part in measured.items() if label.startswith("policy")}
    requests = {label: one.request for label, one in authorized.items() if isinstance(one, AuthorizedRequest)}
    assert requests.keys() == authorized.keys()
    assert {request.channel_arn for request in requests.values()} == {CHANNEL}
    assert requests["policy without claim rules"].maximum_resolution is None
    assert requests["policy that forces a claim"].maximum_resolution == "HD"
    assert requests["policy that requires claims"].single_use
    assert requests["policy for the viewer of a bearer token"].subject == VIEWER


def test_the_cost_of_writing_is_divided_by_the_records_written(tmp_path: Path) -> None:
    with parts(tmp_path) as measured:
        assert measured["audit record of a token, written with others"].tokens == AUDITED_AT_ONCE
        assert {part.tokens for part in measured.values()} == {1, AUDITED_AT_ONCE}
