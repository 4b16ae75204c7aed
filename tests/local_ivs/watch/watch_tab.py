"""The watch page in a tab of Chromium, used as a person uses it."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.support.browser_tabs import Tab
from tests.support.processes import wait_until
from tokensvc.local_ivs.media.loop import SEGMENT_SECONDS

LOG = "[...document.querySelectorAll('#log li')].map((line) => [line.dataset.kind, line.lastElementChild.textContent])"
CUT_OFF_SECONDS = 2 * SEGMENT_SECONDS + 1
"""A revoked viewer is cut off within two target durations. The page reports it at the first playlist or segment that it
is denied, so what its player has buffered makes no difference; a second is for the page's own clock, which runs between
two requests and two looks of the test at its log."""
FRAME_RATE = 30
VIDEO = """(() => { const video = document.querySelector('#video');
  return [video.currentTime, video.getVideoPlaybackQuality().totalVideoFrames]; })()"""


class Page:
    """The page in a tab, used as a person uses it."""

    def __init__(self, tab: Tab, url: str) -> None:
        self._tab = tab
        self.violations = tab.violations
        tab.open(f"{url}/watch")

    def choose(self, arn: str) -> None:
        """Choose a channel."""
        listed = f"[...document.querySelectorAll('#channel option')].some((option) => option.value === '{arn}')"
        self.wait_for("the channel is in the list", listed)
        self.set("channel", arn)
        self.wait_for("the channel is chosen", "!document.querySelector('#request-and-play').disabled")

    def evaluate(self, expression: str) -> Any:
        return self._tab.evaluate(expression)

    def wait_for(self, description: str, expression: str, within_seconds: float = 20) -> None:
        wait_until(lambda: self.evaluate(expression), description, within_seconds)

    def click(self, name: str) -> None:
        self.evaluate(f"document.querySelector('#{name}').click()")

    def set(self, name: str, value: str | bool) -> None:
        member = "checked" if isinstance(value, bool) else "value"
        self.evaluate(
            f"(() => {{ const it = document.querySelector('#{name}'); it.{member} = {json.dumps(value)};"
            " it.dispatchEvent(new Event('change', { bubbles: true })); })()"
        )

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self._tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=9)

    def text(self, name: str) -> str:
        return str(self.evaluate(f"document.querySelector('#{name}').textContent"))

    def log(self, kind: str) -> list[str]:
        """The lines of one kind of what the player saw."""
        return [text for found, text in self.evaluate(LOG) if found == kind]

    def wait_for_log(self, kind: str, within_seconds: float = 20, lines: int = 1) -> list[str]:
        wait_until(lambda: len(self.log(kind)) >= lines, f"{lines} lines of {kind}", within_seconds)
        return self.log(kind)

    def play(self) -> None:
        """Request a token and play until the picture moves."""
        before = len(self.log("plays"))
        self.click("request-and-play")
        self.wait_for_log("plays", lines=before + 1)

    def levels(self) -> list[str]:
        """The names of the renditions that the player found in the playlist, the best one first."""
        found: list[str] = self.evaluate(
            "[...document.querySelectorAll('#level option')].slice(1).map((option) => option.textContent)"
        )
        return found

    def choose_level(self, name: str) -> None:
        """Play this rendition only."""
        option = f"[...document.querySelectorAll('#level option')].find((it) => it.textContent === '{name}').value"
        self.set("level", str(self.evaluate(option)))

    def rules(self) -> dict[str, str]:
        """Rule -> result, as shown."""
        found: dict[str, str] = self.evaluate(
            "Object.fromEntries([...document.querySelectorAll('.rules li')]"
            ".map((rule) => [rule.dataset.rule, rule.dataset.result]))"
        )
        return found

    def decision(self) -> list[str]:
        """What the page shows as the edge's decision about the last start: the outcome, and its title."""
        shown: list[str] = self.evaluate(
            "(() => { const it = document.querySelector('#decision');"
            " return [it.dataset.outcome, it.firstElementChild.textContent]; })()"
        )
        return shown

    def refusing_rules(self) -> list[str]:
        """The rules that are marked as those by which the edge refused the last start."""
        found: list[str] = self.evaluate(
            "[...document.querySelectorAll('.rules [data-refusal]')].map((rule) => rule.dataset.rule)"
        )
        return found


def plays_for(page: Page, seconds: float) -> None:
    """The picture runs for that long without a stall or a failure, and at its own speed.

    Of a minute it may lose 2 seconds, and of a short time half a second, which is what a busy machine needs to respond.
    Chromium decodes in software here, on cores that it shares with other tests and with the server, and leaves out
    pictures that would come too late, so a fifth of them may be missing; a player that decodes only key frames, or
    stands still in between, has far fewer. A machine that is busy all the time may need another attempt.
    """
    assert any(_plays_smoothly(page, seconds) for _ in range(3)), "not once in three attempts"
    for kind in ("failed", "cut off", "refused"):
        assert page.log(kind) == []


def _plays_smoothly(page: Page, seconds: float) -> bool:
    stalls = len(page.log("stalled"))
    (position, frames), began_at, elapsed = page.evaluate(VIDEO), time.monotonic(), 0.0
    while elapsed < seconds:
        time.sleep(0.5)
        elapsed = time.monotonic() - began_at
        later_position, later_frames = page.evaluate(VIDEO)
    advanced, shown = later_position - position, later_frames - frames
    is_at_speed = advanced >= elapsed - max(0.5, elapsed / 30) and shown >= 0.8 * FRAME_RATE * elapsed
    return bool(is_at_speed and len(page.log("stalled")) == stalls)
