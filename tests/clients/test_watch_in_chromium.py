"""The watch page of the demo in Chromium: its tokens, revocations and rotations are the service's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local_ivs.watch.watch_tab import CUT_OFF_SECONDS, Page, plays_for
from tests.support.browser_tabs import Browser
from tests.support.chromium import CHROMIUM, UNAVAILABLE
from tests.support.demo import Demo
from tests.support.http_client import Client
from tests.support.processes import wait_until

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason=UNAVAILABLE), pytest.mark.long, pytest.mark.e2e]


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    tab = browser.new_tab()
    opened = Page(tab, demo.info["url"])
    opened.choose(demo.info["channelArn"])
    yield opened
    opened.evaluate("0")
    assert (tab.console, tab.errors, tab.violations) == ([], [], [])
    tab.close()


def test_the_first_page_of_the_demo_leads_to_the_watch_page(demo: Demo) -> None:
    with Client(demo.info["url"]) as client:
        assert b'<a href="/watch">' in client.get("/").body
        assert client.get("/watch").status == 200


def test_a_token_of_the_service_plays_until_the_service_revokes_its_viewer(page: Page, demo: Demo) -> None:
    page.play()
    assert page.text("token-source") == "The service issues the tokens, as for any backend with an API key."
    plays_for(page, 4)
    page.evaluate("document.querySelector('#revoke-form').requestSubmit()")
    [revoked] = page.wait_for_log("revoked")
    assert "the next token is issued after" in revoked
    [cut_off] = page.wait_for_log("cut off", within_seconds=CUT_OFF_SECONDS + 5)
    assert cut_off.startswith("403 ")
    with Client(demo.info["url"], demo.info["apiKey"]) as client:
        asked = {"channelArn": demo.info["channelArn"], "viewerId": "ada"}
        wait_until(lambda: client.request_token(**asked).status == 403, "the service denies the viewer")
    page.click("request-and-play")
    [denied] = page.wait_for_log("no token")
    assert denied.startswith("this viewer is denied tokens for this channel until")
    page.set("viewer", "grace")
    page.play()


def test_after_a_rotation_by_the_service_the_next_token_plays(page: Page) -> None:
    page.set("viewer", "grace")
    page.play()
    before = page.text("key-pairs")
    page.click("rotate")
    page.wait_for_log("rotated", within_seconds=30)
    page.wait_for("the key pairs have changed", f"document.querySelector('#key-pairs').textContent !== {before!r}")
    plays_for(page, 2)
    page.play()


def test_a_limit_of_the_service_is_shown_beside_the_field(page: Page) -> None:
    page.set("ttl", "3600")
    page.click("request")
    page.wait_for("the error is shown", "document.querySelector('#ttl').getAttribute('aria-invalid') === 'true'")
    assert page.text("ttl-error").startswith("ttlSeconds must be at most 600")


def test_the_api_key_is_nowhere_in_the_page(page: Page, demo: Demo) -> None:
    page.set("viewer", "grace")
    page.play()
    assert demo.info["apiKey"] not in page.evaluate("document.documentElement.outerHTML")
    with Client(demo.info["url"]) as client:
        assert demo.info["apiKey"].encode() not in client.get("/watch/api/overview").body
