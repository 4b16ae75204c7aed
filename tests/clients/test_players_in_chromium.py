"""In Chromium: hls.js with the page of docs/examples and the JavaScript client, against the demo's playback edge.

The page shows the renditions once hls.js has read the multivariant playlist, for which IVS checks the token.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import look_up_channel
from tests.clients.example_backends import EXAMPLE_NAMES, HLS, running_example
from tests.clients.player_site import PlayerSite, player_site
from tests.support.browser_tabs import Browser, Tab
from tests.support.chromium import CHROMIUM, UNAVAILABLE
from tests.support.demo import Demo, running_demo
from tests.support.processes import wait_until

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason=UNAVAILABLE),
    pytest.mark.skipif(not HLS.exists(), reason="clients/js is not installed: make test-long"),
    pytest.mark.long,
    pytest.mark.e2e,
]
PLAYS = "renditions: 480p"
YEAR_MS = 365 * 86_400_000
WRONG_CLOCK = """(() => {
  const Real = Date, offset = %d;
  globalThis.Date = class extends Real {
    constructor(...values) { values.length ? super(...values) : super(Real.now() + offset); }
    static now() { return Real.now() + offset; }
  };
})()"""
KEEP = """import("/tokensvc-client.js").then(({ PlaybackTokens }) => {
  globalThis.seen = []; globalThis.failures = [];
  globalThis.tokens = new PlaybackTokens({ source: "/api/playback/{channel}" });
  globalThis.stop = tokens.keep("main-stage", {
    onToken: (token) => seen.push(token.playbackUrl), onError: (error) => failures.push(error.code) });
})"""


@pytest.fixture(scope="module")
def aging_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """One whose playback edge is put ahead of the service's clock."""
    with running_demo(tmp_path_factory.mktemp("aging_demo")) as running:
        look_up_channel(running)
        yield running


@pytest.fixture
def site(demo: Demo, tmp_path: Path) -> Iterator[PlayerSite]:
    with player_site(demo, tmp_path) as running:
        yield running


@pytest.fixture
def aging_site(aging_demo: Demo, tmp_path: Path) -> Iterator[PlayerSite]:
    with player_site(aging_demo, tmp_path) as running:
        yield running


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    opened = browser.new_tab()
    yield opened
    assert opened.console == []
    assert opened.errors == []
    opened.close()


def shown(tab: Tab) -> str:
    return str(tab.evaluate("document.querySelector('#status').textContent"))


def wait_for(tab: Tab, text: str) -> None:
    wait_until(lambda: shown(tab) == text, f"the page shows {text!r}", 20)


def restart(tab: Tab) -> None:
    """Start playback anew, as a viewer does."""
    tab.evaluate("document.querySelector('#status').textContent = ''; document.querySelector('#restart').click()")


def test_hls_js_plays_and_a_restart_before_refresh_after_uses_the_same_token(tab: Tab, site: PlayerSite) -> None:
    tab.open(site.url)
    wait_for(tab, PLAYS)
    restart(tab)
    wait_for(tab, PLAYS)
    assert len(site.requested_at) == 1


def test_a_token_that_expired_in_the_player_is_replaced_and_playback_starts(tab: Tab, aging_site: PlayerSite) -> None:
    aging_site.ttl_seconds = 20
    tab.open(aging_site.url)
    wait_for(tab, PLAYS)
    aging_site.advance_edge_clock(25)
    aging_site.ttl_seconds = 120
    restart(tab)
    wait_for(tab, PLAYS)
    assert len(set(aging_site.urls)) == 2
    assert len(aging_site.requested_at) == 2


def test_a_replacement_that_is_rejected_as_well_is_the_end(tab: Tab, aging_site: PlayerSite) -> None:
    aging_site.advance_edge_clock(25)
    aging_site.ttl_seconds = 20
    tab.open(aging_site.url)
    wait_for(tab, "no playback token (rejected): so was its replacement")
    time.sleep(1)
    assert len(aging_site.requested_at) == 2


def test_what_the_backend_refuses_is_shown_and_not_repeated(tab: Tab, site: PlayerSite) -> None:
    site.status = 403
    tab.open(site.url)
    wait_for(tab, "no playback token (forbidden): not for this viewer")
    assert len(site.requested_at) == 1


@pytest.mark.parametrize("offset", [YEAR_MS, -YEAR_MS, 3_600_000])
def test_a_token_is_renewed_at_refresh_after_whatever_the_clients_clock(
    offset: int, tab: Tab, site: PlayerSite
) -> None:
    site.ttl_seconds = 10
    tab.before_each_page(WRONG_CLOCK % offset)
    tab.open(site.url)
    wait_for(tab, PLAYS)
    tab.evaluate(KEEP)
    wait_until(lambda: len(site.requested_at) >= 3, "the token is renewed", 25)
    assert 6 <= site.requested_at[2] - site.requested_at[1] <= 20, "earlier or later than 80 % of its lifetime"
    wait_until(lambda: tab.evaluate("seen") == site.urls[1:], "the page has each token")
    tab.evaluate("tokens.close()")


def test_the_clock_may_be_set_while_a_token_is_kept(tab: Tab, site: PlayerSite) -> None:
    site.ttl_seconds = 10
    tab.open(site.url)
    wait_for(tab, PLAYS)
    tab.evaluate(KEEP)
    wait_until(lambda: tab.evaluate("seen.length") == 1, "the page has a token")
    tab.evaluate(WRONG_CLOCK % -YEAR_MS)
    wait_until(lambda: tab.evaluate("seen.length") == 2, "the token is renewed")
    before = len(site.requested_at)
    tab.evaluate(WRONG_CLOCK % YEAR_MS + "; document.dispatchEvent(new Event('visibilitychange'))")
    wait_until(
        lambda: len(site.requested_at) > before, "the token is renewed immediately", 6
    )  # by itself: after eight seconds
    tab.evaluate("tokens.close()")


def test_a_page_that_was_offline_has_a_token_as_soon_as_it_is_online(tab: Tab, site: PlayerSite) -> None:
    site.ttl_seconds = 10
    tab.open(site.url)
    wait_for(tab, PLAYS)
    tab.evaluate(KEEP)
    wait_until(lambda: tab.evaluate("seen.length") == 1, "the first token")
    tab.go_offline()
    wait_until(lambda: len(tab.evaluate("failures")) >= 2, "renewals fail", 40)
    before = len(site.requested_at)
    tab.go_offline(offline=False)
    wait_until(lambda: len(site.requested_at) > before, "the token is renewed immediately", 10)
    assert set(tab.evaluate("failures")) == {"network"}
    wait_until(lambda: tab.evaluate("seen.length") == 2, "the page has the token")
    tab.evaluate("tokens.close()")


def test_two_tabs_have_a_token_each_and_do_not_disturb_each_other(tab: Tab, browser: Browser, site: PlayerSite) -> None:
    other = browser.new_tab()
    for opened in (tab, other):
        opened.open(site.url)
        wait_for(opened, PLAYS)
    assert len(set(site.urls)) == 2
    other.close()
    restart(tab)
    wait_for(tab, PLAYS)
    assert len(site.requested_at) == 2


def test_a_thousand_calls_of_a_page_send_one_request(tab: Tab, site: PlayerSite) -> None:
    tab.open(site.url)
    wait_for(tab, PLAYS)
    different = tab.evaluate(
        """import("/tokensvc-client.js").then(async ({ PlaybackTokens }) => {
          const tokens = new PlaybackTokens({ source: "/api/playback/{channel}" });
          const all = await Promise.all(Array.from({ length: 1000 }, () => tokens.get("main-stage")));
          tokens.close();
          return new Set(all).size;
        })"""
    )
    assert different == 1
    assert len(site.requested_at) == 2


@pytest.mark.parametrize("name", EXAMPLE_NAMES)
def test_the_page_plays_with_each_example_of_a_backend(name: str, tab: Tab, demo: Demo, tmp_path: Path) -> None:
    info = demo.info
    with running_example(name, tmp_path / name, info["url"], info["apiKey"], info["channelArn"]) as backend:
        tab.open(f"{backend.url}/sign-in/ada")
        wait_for(tab, PLAYS)
        tab.open(f"{backend.url}/sign-in/mallory")
        wait_for(tab, "no playback token (unauthenticated): sign in again")
