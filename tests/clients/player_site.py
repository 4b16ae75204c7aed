"""A site with the page of docs/examples, whose backend requests tokens as a test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.clients.example_backends import static_folder
from tests.support.demo import Demo
from tests.support.http_client import Client


class PlayerSite:
    """The site."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self.url = ""
        self.ttl_seconds = 120
        self.status = 201
        """Another one is what the backend responds with instead of a token."""
        self.requested_at: list[float] = []
        self.urls: list[str] = []

    def new_token(self) -> Any:
        """A token of the demo, for the page."""
        info = self._demo.info
        with Client(info["url"], info["apiKey"]) as client:
            token = client.token(channelArn=info["channelArn"], subject="ada", ttlSeconds=self.ttl_seconds)
        self.urls.append(token["playbackUrl"])
        return {name: token[name] for name in ("playbackUrl", "expiresAt", "refreshAfter")}

    def advance_edge_clock(self, seconds: int) -> None:
        """Let time pass for the playback edge alone: it then treats tokens as that much older."""
        with Client(self._demo.info["managementUrl"]) as management:
            advanced = management.request("POST", "/clock", json.dumps({"advanceSeconds": seconds}))
            assert advanced.status == 200, advanced


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {".js": "text/javascript", ".mjs": "text/javascript", ".html": "text/html"}  # noqa: RUF012

    def __init__(self, *arguments: Any, site: PlayerSite, **named: Any) -> None:
        self._site = site
        super().__init__(*arguments, **named)

    def do_POST(self) -> None:
        site = self._site
        site.requested_at.append(time.monotonic())
        body = json.dumps(site.new_token() if site.status == 201 else {}).encode()
        self.send_response(200 if site.status == 201 else site.status)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        pass


@contextmanager
def player_site(demo: Demo, folder: Path) -> Iterator[PlayerSite]:
    """The site, while the block runs."""
    site = PlayerSite(demo)
    handler = partial(_Handler, site=site, directory=str(static_folder(folder)))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
