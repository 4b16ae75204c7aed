"""In Chromium: a page of an origin in the policy gets a token with its viewer's login, one of another gets none."""

from __future__ import annotations

import contextlib
import html
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.chromium import CHROMIUM, UNAVAILABLE, document_of
from tests.support.deployment import Deployment
from tests.support.oidc_issuer import AUDIENCE, in_an_hour, running_issuer

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason=UNAVAILABLE), pytest.mark.long]

PAGE = """<!doctype html><meta charset="utf-8"><pre id="result">unfinished</pre><script>
const request = %s;
fetch(request.url, {method: "POST", headers: {authorization: `Bearer ${request.login}`,
  "content-type": "application/json"}, body: JSON.stringify(request.body)})
  .then(async response => ({status: response.status, id: response.headers.get("x-request-id"),
    body: await response.json()}))
  .catch(error => ({error: error.name}))
  .then(result => { document.getElementById("result").textContent = JSON.stringify(result); });
</script>"""


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        pass


@contextlib.contextmanager
def _site(folder: Path) -> Iterator[str]:
    """An origin that serves the folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _result_of(site: str, page: str, folder: Path) -> Any:
    document = document_of(f"{site}/{page}", folder)
    found = re.search(r'<pre id="result">(.*?)</pre>', document, re.DOTALL)
    assert found is not None, document
    return json.loads(html.unescape(found[1]))


def test_only_pages_of_origins_in_the_policy_get_tokens_with_the_login_of_their_viewer(
    deployment: Deployment, channel: Any, tmp_path: Path
) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    with running_issuer() as issuer, _site(pages) as allowed, _site(pages) as foreign:
        file = tmp_path / "callers.toml"
        file.write_text(
            f'[callers.page]\nchannels = ["{channel["arn"]}"]\ncors_origins = ["{allowed}"]\n'
            f'bearer = {{ issuer = "{issuer.url}", audience = "{AUDIENCE}" }}\n'
        )
        deployment.run("callers", "apply", str(file))
        with deployment.serve() as service:
            login = issuer.token(exp=in_an_hour())
            request = {
                "url": f"{service.url}/v1/tokens",
                "login": login,
                "body": {"channelArn": channel["arn"]},
            }
            (pages / "valid.html").write_text(PAGE % json.dumps(request))
            expired = request | {"login": issuer.token(exp=1)}
            (pages / "expired.html").write_text(PAGE % json.dumps(expired))
            for_another = request | {"body": {"channelArn": channel["arn"], "subject": "viewer-2"}}
            (pages / "another.html").write_text(PAGE % json.dumps(for_another))

            issued = _result_of(allowed, "valid.html", tmp_path / "allowed")
            assert (issued["status"], bool(issued["id"])) == (201, True)
            claims = jwt.decode(issued["body"]["token"], options={"verify_signature": False})
            with service.client(login) as client:
                own = client.token(channelArn=channel["arn"])["token"]
            viewer = jwt.decode(own, options={"verify_signature": False})["aws:viewer-id"]
            assert claims["aws:viewer-id"] == viewer
            denied = _result_of(allowed, "expired.html", tmp_path / "expired")
            assert (denied["status"], denied["body"]["code"]) == (401, "unauthenticated")
            refused = _result_of(allowed, "another.html", tmp_path / "another")
            assert (refused["status"], refused["body"]["errors"][0]["field"]) == (422, "subject")
            assert _result_of(foreign, "valid.html", tmp_path / "foreign") == {"error": "TypeError"}
