"""The watch page in Chromium: what its player sees of the edge's decisions.

Playback is judged by the video element's time, the decoded frames and fatal errors alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_ivs.watch.watch_site import HD, LadderLibrary, WatchSite, watch_site
from tests.local_ivs.watch.watch_tab import CUT_OFF_SECONDS, VIDEO, Page, plays_for
from tests.support.browser_tabs import Browser
from tests.support.chromium import CHROMIUM, UNAVAILABLE
from tokensvc.local_ivs.edge.countries import RequestHeaders
from tokensvc.local_ivs.media import library
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS
from tokensvc.local_ivs.media.progress import no_progress

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason=UNAVAILABLE),
    pytest.mark.e2e,
]
PICTURE_SIZE = "(({ videoWidth, videoHeight }) => [videoWidth, videoHeight])(document.querySelector('#video'))"
REQUESTED = "performance.getEntriesByType('resource').map((entry) => entry.name)"


@contextlib.contextmanager
def opened(browser: Browser, site: WatchSite) -> Iterator[Page]:
    """The page in a tab of its own, which reports no error of a script and no violation of a policy."""
    tab = browser.new_tab()
    page = Page(tab, site.url)
    yield page
    page.evaluate("0")
    assert (tab.console, tab.errors, tab.violations) == ([], [], [])
    tab.close()


@pytest.fixture
def page(browser: Browser, site: WatchSite) -> Iterator[Page]:
    with opened(browser, site) as page:
        page.choose(site.create_channel("stage"))
        yield page


@pytest.mark.slow
def test_a_token_plays_and_the_verdict_says_so_rule_by_rule(page: Page) -> None:
    page.play()
    plays_for(page, 3)
    assert page.rules()["signature"] == page.rules()["revoked"] == "pass"
    assert "fail" not in page.rules().values()
    assert page.decision() == ["allow", "200 Allowed"]
    assert page.refusing_rules() == []
    page.wait_for("the session is shown", "document.querySelector('#session').textContent.includes('active')")
    page.wait_for("the viewer is counted", "document.querySelector('#air').textContent === 'On air · 1 watching'")
    reads = {
        url.partition("?")[2].partition("=")[0] for url in page.evaluate(REQUESTED) if "/watch/api/overview" in url
    }
    assert reads <= {"", "channelArn"}, "the id of the session is in no URL of the page's API"


@pytest.mark.long
def test_playback_goes_on_for_a_minute(page: Page) -> None:
    page.play()
    plays_for(page, 60)


@pytest.mark.slow
def test_without_a_token_the_player_is_refused_and_sees_why(page: Page) -> None:
    page.click("play-bare")
    [refused] = page.wait_for_log("refused")
    assert (
        refused
        == "403 token contains an invalid number of segments (invalid_playback_auth_token), by the rule segments"
    )
    assert page.rules()["segments"] == "fail"
    assert page.decision() == ["deny", "403 Refused by the rule segments"]
    assert page.refusing_rules() == ["segments"]
    assert page.text("overlay-title") == "Refused"


class EverybodyInGermany:
    """The source of countries of a local IVS whose viewers are all in Germany."""

    def country_of(self, address: str, headers: RequestHeaders) -> str | None:
        return "DE"


@pytest.mark.slow
@pytest.mark.long
def test_a_cap_below_every_rendition_is_shown_as_refused_although_the_token_passes(browser: Browser) -> None:
    with watch_site(media=LadderLibrary(HD)) as site, opened(browser, site) as page:
        page.choose(site.create_channel("sharp"))
        page.set("resolution", "SD")
        page.click("request-and-play")
        [refused] = page.wait_for_log("refused")
        assert refused.startswith("403 no rendition is within the token's maximum resolution")
        assert refused.endswith(", by the rule resolution")
        assert page.decision() == ["deny", "403 Refused by the rule resolution"]
        assert page.refusing_rules() == ["resolution"]
        assert "By itself, the token may start playback." in page.text("verdict")


@pytest.mark.long
@pytest.mark.parametrize(
    ("rule", "policy"),
    [
        ("country", {"allowedCountries": ["JP"]}),
        ("strict-origin", {"allowedOrigins": ["https://app.example.com"], "enableStrictOriginEnforcement": True}),
    ],
)
def test_a_public_channel_that_its_policy_restricts_is_shown_as_refused(
    rule: str, policy: dict[str, object], browser: Browser
) -> None:
    with watch_site(countries=EverybodyInGermany()) as site, opened(browser, site) as page:
        arn = site.create_channel("restricted", authorized=False)
        site.restrict(arn, **policy)
        page.choose(arn)
        page.click("play-bare")
        [refused] = page.wait_for_log("refused")
        assert refused.endswith(f", by the rule {rule}")
        assert page.decision() == ["deny", f"403 Refused by the rule {rule}"]
        assert page.refusing_rules() == [rule]
        assert "No token needed" in page.text("verdict")


@pytest.mark.slow
@pytest.mark.long
def test_a_start_beyond_the_quota_of_concurrent_views_is_shown_as_refused(browser: Browser) -> None:
    with watch_site(max_views=1) as site, opened(browser, site) as page:
        arn = site.create_channel("crowded")
        assert site.playlist(arn, site.token(arn)["token"]).status == 200
        page.choose(arn)
        page.set("single-use", True)
        page.click("request-and-play")
        [refused] = page.wait_for_log("refused")
        assert refused.startswith("429 ")
        assert page.decision() == ["deny", "429 Refused by the rule concurrent-views"]
        assert page.refusing_rules() == ["concurrent-views"]
        assert page.rules()["single-use"] == "pass"


@pytest.mark.slow
def test_a_start_requests_the_multivariant_playlist_once(page: Page) -> None:
    """A second request would spend a single use twice, and count as another view."""
    page.set("single-use", True)
    page.play()
    requested = page.evaluate(REQUESTED)
    assert len([url for url in requested if "token=" in url]) == 1


@pytest.mark.slow
@pytest.mark.long
def test_a_tampered_token_is_refused_by_its_signature(page: Page) -> None:
    page.click("request")
    page.wait_for("there is a token", "document.querySelector('#token').value.length > 100")
    page.set("token", page.evaluate("document.querySelector('#token').value.slice(0, -8) + 'AAAAAAAA'"))
    page.click("play")
    [refused] = page.wait_for_log("refused")
    assert refused.endswith("by the rule signature")


@pytest.mark.long
def test_a_revoked_viewer_is_cut_off_and_may_come_back_with_a_new_token(page: Page) -> None:
    page.play()
    assert page.evaluate("document.querySelector('#revoke-viewer').value") == "ada"
    page.evaluate("document.querySelector('#revoke-form').requestSubmit()")
    page.wait_for_log("revoked")
    [cut_off] = page.wait_for_log("cut off", within_seconds=CUT_OFF_SECONDS)
    assert cut_off.startswith("403 ")
    assert page.text("overlay-title") == "Cut off"
    page.click("play")
    page.wait_for_log("refused")
    assert page.rules()["revoked"] == "fail"
    page.play()


@pytest.mark.long
def test_a_single_use_token_starts_once(page: Page) -> None:
    page.set("single-use", True)
    page.play()
    assert page.rules()["single-use"] == "pass"
    plays_for(page, 2 * SEGMENT_SECONDS)
    page.click("play")
    [refused] = page.wait_for_log("refused")
    assert refused.startswith("403 token has already been used (playback_auth_error)")
    assert page.rules()["single-use"] == "fail"


@pytest.mark.long
@pytest.mark.parametrize(
    ("limit", "offered"),
    [("", ["1080p30", "720p30", "480p30"]), ("HD", ["720p30", "480p30"]), ("SD", ["480p30"])],
)
def test_a_capped_token_requests_no_rendition_above_its_cap(limit: str, offered: list[str], page: Page) -> None:
    page.set("resolution", limit)
    page.play()
    plays_for(page, 3 * SEGMENT_SECONDS)
    assert page.levels() == offered
    requested = requested_renditions(page)
    assert requested
    assert requested <= set(offered)


def requested_renditions(page: Page) -> set[str]:
    """The renditions of which the player has requested a playlist or a segment."""
    return {
        url.split(".")[-2] if url.endswith(".m3u8") else url.split(".")[-3]
        for url in page.evaluate(REQUESTED)
        if "/v1/" in url and "/api/" not in url
    }


@pytest.fixture(scope="module")
def picture_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchSite]:
    """A site that plays the test picture of `--media picture`, in its real three renditions.

    No channel gets a picture with its own name: making one would take the cores from the browser, which decodes on
    them.
    """
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(library, "MAX_NAMED_PICTURES", 0)
        picture = library.open_media(library.TEST_PICTURE, tmp_path_factory.mktemp("media"), no_progress)
        with watch_site(media=picture) as site:
            yield site


SIZES = {"1080p30": [1920, 1080], "720p30": [1280, 720], "480p30": [852, 480]}


@pytest.mark.long
def test_each_rendition_of_the_test_picture_is_decoded_in_its_own_size(
    browser: Browser, picture_site: WatchSite
) -> None:
    with opened(browser, picture_site) as page:
        page.choose(picture_site.create_channel("picture"))
        page.play()
        assert page.levels() == list(SIZES)
        for name in ("480p30", "1080p30", "720p30"):
            page.choose_level(name)
            page.wait_for(f"{name} is shown", f"{PICTURE_SIZE}.join() === '{SIZES[name][0]},{SIZES[name][1]}'")
            plays_on_for(page, 2 * SEGMENT_SECONDS)
            assert page.evaluate(PICTURE_SIZE) == SIZES[name]
        for kind in ("failed", "cut off", "refused"):
            assert page.log(kind) == []


@pytest.mark.long
def test_a_token_capped_at_hd_never_requests_the_test_picture_in_full_hd(
    browser: Browser, picture_site: WatchSite
) -> None:
    with opened(browser, picture_site) as page:
        page.choose(picture_site.create_channel("picture"))
        page.set("resolution", "HD")
        page.play()
        assert page.levels() == ["720p30", "480p30"]
        plays_on_for(page, 3 * SEGMENT_SECONDS)
        page.choose_level("480p30")
        page.wait_for("SD is shown", f"{PICTURE_SIZE}.join() === '852,480'")
        page.choose_level("720p30")
        page.wait_for("HD is shown", f"{PICTURE_SIZE}.join() === '1280,720'")
        plays_on_for(page, 2 * SEGMENT_SECONDS)
        assert "720p30" in requested_renditions(page)
        assert requested_renditions(page) <= {"720p30", "480p30"}


def plays_on_for(page: Page, seconds: float) -> None:
    """The picture runs on for that long, in time of the stream. How fast is left open: a switch of rendition empties
    the buffer, and 1080 lines are a lot for software on a busy machine."""
    position = page.evaluate(VIDEO)[0]
    page.wait_for("the picture runs on", f"document.querySelector('#video').currentTime > {position + seconds}")


@pytest.mark.long
def test_strict_enforcement_refuses_a_page_on_another_origin(page: Page, site: WatchSite) -> None:
    page.set("origins", "https://app.example.com")
    page.set("strict", True)
    page.click("request-and-play")
    [refused] = page.wait_for_log("refused")
    assert refused == "403 origin is not allowed (invalid_playback_auth_token), by the rule strict-origin"
    page.set("origins", site.url)
    page.play()
    # Variant playlists and segments are checked, too: the picture goes on beyond what the start loaded.
    plays_on_for(page, 3 * SEGMENT_SECONDS)
    assert page.log("cut off") == []
    page.set("cross-origin", False)
    page.click("play")
    assert page.wait_for_log("refused", lines=2)[1].startswith("403 origin required")


@pytest.mark.long
def test_an_origin_that_is_not_allowed_cannot_read_the_playlist_without_strict_enforcement(page: Page) -> None:
    page.set("origins", "https://app.example.com")
    page.click("request-and-play")
    [refused] = page.wait_for_log("refused")
    assert "CORS" in refused
    assert page.decision() == ["unreadable", "No response that the page may read"]
    assert "has been blocked by CORS policy" in page.violations.pop(0)


@pytest.mark.long
def test_timed_metadata_arrives_in_order(page: Page) -> None:
    page.play()
    texts = [f"Question {number}" for number in (1, 2, 3)]
    for number, text in enumerate(texts, 1):
        page.set("metadata", text)
        page.evaluate("document.querySelector('#metadata-form').requestSubmit()")
        page.wait_for_log("put", lines=number)
        page.wait_for("it can be sent again", "!document.querySelector('#metadata-form [aria-busy]')")
        time.sleep(0.7)
    assert page.wait_for_log("metadata", lines=3) == texts


@pytest.mark.long
def test_an_ad_break_is_announced_and_playback_goes_on_through_it(page: Page, site: WatchSite) -> None:
    arn = site.act("channels", {"name": "with-ads", "ads": True}).json["arn"]
    page.choose(arn)
    page.play()
    page.set("ad-seconds", "6")
    page.evaluate("document.querySelector('#ad-form').requestSubmit()")
    [announced] = page.wait_for_log("ad break")
    assert announced.endswith("UTC, 6 s")
    plays_for(page, 14)


@pytest.mark.long
def test_a_stream_that_is_taken_off_air_ends_and_comes_back(page: Page) -> None:
    page.play()
    page.click("toggle-air")
    page.wait_for("playback ends", "document.querySelector('#screen').dataset.state === 'off-air'")
    page.wait_for("the page shows the end", "document.querySelector('#air').dataset.live === 'false'")
    page.wait_for("it can be toggled again", "!document.querySelector('#toggle-air').hasAttribute('aria-busy')")
    page.click("toggle-air")
    page.wait_for("the channel is on air", "document.querySelector('#air').dataset.live === 'true'")
    page.play()


@pytest.mark.long
def test_after_a_rotation_playback_goes_on_and_the_next_token_plays(page: Page) -> None:
    page.play()
    page.click("rotate")
    page.wait_for_log("rotated")
    plays_for(page, 2 * SEGMENT_SECONDS)
    page.play()


@pytest.mark.slow
@pytest.mark.long
def test_the_first_channel_is_created_on_the_page_and_plays(browser: Browser) -> None:
    tab = browser.new_tab()
    with watch_site() as site:
        page = Page(tab, site.url)
        page.wait_for(
            "it says so", "document.querySelector('#overlay-title').textContent === 'There is no channel yet'"
        )
        page.click("create-first")
        page.set("create-name", "no spaces, please")
        page.evaluate("document.querySelector('#create-form').requestSubmit()")
        page.wait_for("the name is refused", "document.querySelector('#create-name').matches('[aria-invalid=true]')")
        page.set("create-name", "first")
        page.evaluate("document.querySelector('#create-form').requestSubmit()")
        page.wait_for("the channel is chosen", "document.querySelector('#air').dataset.live === 'true'")
        page.play()
        assert (tab.console, tab.errors, tab.violations) == ([], [], [])
        page.click("stop")
    tab.close()


@pytest.mark.slow
@pytest.mark.long
def test_errors_are_beside_their_fields_and_the_first_one_has_the_focus(page: Page) -> None:
    page.set("viewer", "")
    page.set("ttl", "soon")
    page.set("ads-params", "\n".join(f"name{number}={'x' * 60}" for number in range(20)))
    page.click("request")
    page.wait_for("an error is shown", "document.querySelector('#viewer').getAttribute('aria-invalid') === 'true'")
    for name, rule in (
        ("viewer", "viewerId must have"),
        ("ttl", "ttlSeconds must be an integer"),
        ("ads-params", "ads.playerParams"),
    ):
        described = page.evaluate(f"document.querySelector('#{name}').getAttribute('aria-describedby')")
        assert page.text(described).startswith(rule)
    assert page.evaluate("document.activeElement.id") == "viewer"
    page.set("viewer", "ada")
    page.set("ttl", "")
    page.set("ads-params", "")
    page.play()
    assert page.evaluate("document.querySelectorAll('[aria-invalid=true]').length") == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_fits_its_window(width: int, scheme: str, browser: Browser, site: WatchSite, tmp_path: Path) -> None:
    tab = browser.new_tab()
    tab.resize(width, 900, color_scheme=scheme)
    Page(tab, site.url).choose(site.create_channel("a-channel-with-a-name-that-is-rather-long-for-a-telephone"))
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    outside = tab.evaluate(
        "[...document.querySelectorAll('main *')]"
        ".filter((it) => it.checkVisibility() && !it.closest('.visually-hidden')"
        " && it.getBoundingClientRect().right > document.documentElement.clientWidth + 1)"
        ".map((it) => it.outerHTML.slice(0, 80))"
    )
    assert outside == []
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    tab.close()


@pytest.mark.slow
def test_everything_can_be_reached_and_seen_with_the_keyboard(page: Page) -> None:
    """Each press of Tab moves the focus to another control, which is then visible and outlined."""
    reached = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(45):
        page.press("Tab")
        focused = page.evaluate(
            "(() => { const it = document.activeElement;"
            " return [it.id, getComputedStyle(it).outlineStyle, it.matches(':focus-visible')]; })()"
        )
        if focused[0]:
            assert focused[1:] != ["none", True], focused
            reached.append(focused[0])
    assert {
        "channel",
        "toggle-air",
        "request-and-play",
        "play-bare",
        "cross-origin",
        "log",
        "viewer",
        "single-use",
        "request",
        "token",
        "revoke-viewer",
        "metadata",
        "rotate",
    } <= set(reached)
