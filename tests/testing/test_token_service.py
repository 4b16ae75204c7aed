"""A token service of its own for each test."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
import structlog

from tests.support.processes import wait_until
from tokensvc.client import PermissionDeniedError, RevocationRequest, TokenRequest, TokensClient
from tokensvc.testing import LocalIVS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ivs() -> Iterator[LocalIVS]:
    with LocalIVS() as ivs:
        yield ivs


@pytest.fixture(autouse=True)
def _structlog_without_configuration() -> Iterator[None]:
    """As in an app that does not use it."""
    configured = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    yield
    if configured is not None:
        structlog.configure(**configured)


def test_its_first_token_opens_the_channel(ivs: LocalIVS) -> None:
    for _ in range(2):
        with ivs.new_account() as account, account.token_service() as service:
            channel = account.create_channel()
            assert len(account.client().list_playback_key_pairs()["keyPairs"]) == 1
            with TokensClient(service.url, service.api_key) as tokens:
                token = tokens.issue_token(TokenRequest(channel_arn=channel.arn, viewer_id="ada"))
            assert token.playback_url is not None
            assert ivs.edge.open(token.playback_url).status == 200


@pytest.mark.long
def test_an_account_has_room_for_one_service_after_the_other(ivs: LocalIVS) -> None:
    with ivs.new_account() as account:
        account.create_key_pair()
        for _ in range(4):
            with account.token_service():
                assert len(account.client().list_playback_key_pairs()["keyPairs"]) == 2
        with account.token_service():
            for pair in account.client().list_playback_key_pairs()["keyPairs"]:
                account.client().delete_playback_key_pair(arn=pair["arn"])
            own = account.create_key_pair()
        assert [pair["arn"] for pair in account.client().list_playback_key_pairs()["keyPairs"]] == [own.arn]


@pytest.mark.long
def test_a_revocation_reaches_the_local_ivs_and_the_next_test_knows_nothing_of_it(ivs: LocalIVS) -> None:
    with ivs.new_account() as account:
        channel = account.create_channel()
        request = TokenRequest(channel_arn=channel.arn, viewer_id="ada")
        with account.token_service() as service, TokensClient(service.url, service.api_key) as tokens:
            url = str(tokens.issue_token(request).playback_url)
            tokens.revoke_viewer(RevocationRequest(channel_arn=channel.arn, viewer_id="ada"))
            wait_until(lambda: ivs.edge.open(url).rule == "revoked", "the revocation is dispatched")
            wait_until(lambda: _is_denied(tokens, request), "no new tokens are issued")
        with account.token_service() as service, TokensClient(service.url, service.api_key) as tokens:
            tokens.issue_token(request)


def _is_denied(tokens: TokensClient, request: TokenRequest) -> bool:
    try:
        tokens.issue_token(request)
    except PermissionDeniedError:
        return True
    return False


def test_it_lives_in_the_time_of_the_local_ivs(ivs: LocalIVS) -> None:
    """A token expires for the edge, and the next one that the service issues is valid: immediately, and also when the
    time goes back for the next test."""
    with ivs.new_account() as account, account.token_service() as service:
        channel = account.create_channel()
        request = TokenRequest(channel_arn=channel.arn, viewer_id="ada")
        with TokensClient(service.url, service.api_key) as tokens:
            before = str(tokens.issue_token(request).playback_url)
            for seconds in (3600, 30 * 86_400):
                ivs.clock.advance(seconds)
                assert ivs.edge.open(before).rule == "expiry"
                after = tokens.issue_token(request)
                assert ivs.clock.now() < after.expires_at.timestamp() < ivs.clock.now() + 3600
                assert ivs.edge.open(str(after.playback_url)).status == 200
            tokens.revoke_viewer(RevocationRequest(channel_arn=channel.arn, viewer_id="ada"))
            wait_until(lambda: ivs.edge.open(str(after.playback_url)).rule == "revoked", "it is dispatched")
            ivs.clock.reset()
            again = tokens.issue_token(TokenRequest(channel_arn=channel.arn, viewer_id="bob"))
            assert ivs.edge.open(str(again.playback_url)).status == 200


def test_it_needs_an_entered_account(ivs: LocalIVS) -> None:
    other = ivs.new_account()
    with pytest.raises(RuntimeError, match="enter the account first"), other.token_service():
        pass
    with ivs.new_account(), pytest.raises(RuntimeError, match="enter the account first"), other.token_service():
        pass


def service_threads() -> set[threading.Thread]:
    """All threads but those that the local IVS, which goes on, keeps for its calls."""
    kept = {t for t in threading.enumerate() if t.name == "AnyIO worker thread" and not t.loop.is_closed()}  # type: ignore[attr-defined]
    return set(threading.enumerate()) - kept


def test_it_leaves_the_process_as_it_was(ivs: LocalIVS, capfd: pytest.CaptureFixture[str]) -> None:
    threshold, threads = gc.get_threshold(), set(threading.enumerate())
    with ivs.new_account() as account, account.token_service() as service:
        assert service.api_key not in repr(service)
        folder = ivs.service_files.folder
        assert len(list(folder.glob("*.db"))) == 2
    assert (gc.get_threshold(), gc.get_freeze_count()) == (threshold, 0)
    wait_until(lambda: service_threads() <= threads, "the service's threads end")
    assert not structlog.is_configured()
    assert [file.name for file in folder.iterdir()] == ["empty.db"]
    assert capfd.readouterr() == ("", "")


def test_structlog_stays_as_an_app_has_configured_it(ivs: LocalIVS) -> None:
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    before = structlog.get_config()
    with ivs.new_account() as account, account.token_service():
        assert structlog.get_config() == before
    assert structlog.get_config() == before
