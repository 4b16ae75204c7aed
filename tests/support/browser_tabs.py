"""Debian's Chromium without a window, driven by the Chrome DevTools Protocol: tabs, their scripts, their network.

Invariants
- The browser reaches only this machine, and its profile is in a folder of the test.
- A tab reads its events while it waits for a result: `console` has what the page's scripts wrote to the console,
  `violations` what the browser itself wrote there, such as violations of a page's policy, except failed requests.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3
from websockets.sync.client import ClientConnection, connect

from tests.support.chromium import CHROMIUM, UNAVAILABLE
from tests.support.processes import wait_until

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-port=0",
)


class Tab:
    """A tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.console: list[Any] = []
        self.errors: list[str] = []
        self.violations: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a method of the protocol."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=30))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            if message.get("method") == "Runtime.consoleAPICalled":
                self.console.append(message["params"]["args"])
            if message.get("method") == "Runtime.exceptionThrown":
                self.errors.append(_described(message["params"]["exceptionDetails"]))
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["source"] != "network":
                self.violations.append(message["params"]["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or what its promise resolves to."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        wait_until(lambda: self.evaluate("document.readyState") == "complete", f"{url} is loaded")

    def before_each_page(self, script: str) -> None:
        """Run a script in each page before its own."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def go_offline(self, *, offline: bool = True) -> None:
        self.call(
            "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )

    def resize(self, width: int, height: int, *, color_scheme: str = "light") -> None:
        """Show the page in a window of this size, in pixels, to a user who prefers this colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": color_scheme}])

    def screenshot(self, file: Path) -> None:
        """Write the whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self.call("Page.close")
        self._connection.close()


def _described(exception: Mapping[str, Any]) -> str:
    return str(exception.get("exception", {}).get("description") or exception["text"])


class Browser:
    """A running browser."""

    def __init__(self, port: str, stack: contextlib.ExitStack) -> None:
        self._port = port
        self._stack = stack

    def new_tab(self) -> Tab:
        opened = urllib3.request("PUT", f"http://127.0.0.1:{self._port}/json/new?about:blank", retries=False)
        connection = connect(json.loads(opened.data)["webSocketDebuggerUrl"], max_size=None, proxy=None)
        return Tab(self._stack.enter_context(connection))


@contextlib.contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """A browser while the block runs."""
    assert CHROMIUM is not None, UNAVAILABLE
    profile = folder / "chromium"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen([CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}"], stdout=log, stderr=log)
    try:
        port_file = profile / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and "\n" in port_file.read_text(), "Chromium listens", 60)
        with contextlib.ExitStack() as stack:
            yield Browser(port_file.read_text().split("\n")[0], stack)
    finally:
        process.terminate()
        process.wait(20)
