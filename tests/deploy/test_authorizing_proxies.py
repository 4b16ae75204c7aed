"""The configurations of deploy/proxies/authorize: real nginx and Caddy, with TLS, in front of a folder of HLS files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.deploy.facts import DEPLOY
from tests.deploy.running_proxies import Proxy, replaced, running_proxy
from tests.docs.code_blocks import code_blocks
from tests.support.deployment import Deployment, LocalIvs, Service, free_port, local_ivs
from tests.support.http_client import Client, Response
from tests.support.processes import wait_until
from tokensvc.timestamps import rfc3339
from tokensvc.tokens.channel_folders import DEFAULT_FOLDERS, ChannelFolders
from tokensvc.web.endpoints.authorize import COOKIE, PATH
from tokensvc.web.protocol import KEEP_ALIVE_SECONDS
from tokensvc.web.request_head import HEAD_MAX_BYTES

FILES = {"nginx": "hls.conf", "caddy": "Caddyfile", "envoy": "envoy.yaml"}
PROXIES = ("nginx", "caddy")
PAGE = "docs/how-to/authorize.md"
NAME = "video.example.com"
CUT_OFF_SECONDS = 12
ORIGIN = "https://app.example.com"


def configuration(name: str) -> str:
    return (DEPLOY / "proxies/authorize" / FILES[name]).read_text("utf-8")


@pytest.mark.parametrize("name", FILES)
def test_the_guide_shows_the_same_configuration(name: str) -> None:
    blocks = code_blocks(DEPLOY.parent / PAGE, PAGE)
    assert [block.text for block in blocks if block.file == FILES[name]] == [configuration(name)]


def test_envoy_sends_to_the_operation_what_it_reads_and_returns_what_it_says() -> None:
    """Envoy itself is not installed here: that its form of request is understood is tested at the endpoint."""
    found: dict[str, Any] = yaml.safe_load(configuration("envoy"))
    [listener] = found["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    ext_authz = manager["http_filters"][0]["typed_config"]
    assert ext_authz["http_service"]["path_prefix"] == PATH
    assert {entry["exact"] for entry in ext_authz["allowed_headers"]["patterns"]} == {"cookie", "origin"}
    on_success = ext_authz["http_service"]["authorization_response"]["allowed_client_headers_on_success"]["patterns"]
    assert {"exact": "set-cookie"} in on_success
    assert not ext_authz["failure_mode_allow"]
    assert manager["max_request_headers_kb"] * 1024 < HEAD_MAX_BYTES
    cluster = found["static_resources"]["clusters"][0]["typed_extension_protocol_options"]
    [options] = cluster.values()
    assert options["common_http_protocol_options"]["idle_timeout"] == "60s"
    assert KEEP_ALIVE_SECONDS > 60


def test_nginx_names_the_cookie_and_the_folders_of_the_service() -> None:
    text = configuration("nginx")
    assert f"$cookie_{COOKIE}" in text
    assert "location ~ ^/live/(?<folder>[A-Za-z0-9._~-]+)/ {" in text
    assert DEFAULT_FOLDERS[0].startswith("/live/{region}.")
    assert "keepalive_timeout 60s;" in text


class _Site(NamedTuple):
    """A service that guards two channels' files."""

    deployment: Deployment
    service: Service
    key: str
    channel: str
    other: str
    files: Path

    def folder(self, channel: str = "") -> str:
        arn = (channel or self.channel).split(":")
        return f"/live/{arn[3]}.{arn[4]}.channel.{arn[5].partition('/')[2]}/"

    def token(self, channel: str = "", **fields: object) -> str:
        with self.service.client(self.key) as client:
            return str(client.token(channelArn=channel or self.channel, **fields)["token"])

    def counted(self, outcome: str) -> float:
        """How many requests had this outcome."""
        with self.service.client() as client:
            lines = client.get("/metrics").body.decode().splitlines()
        found = [
            line for line in lines if line.startswith(f'tokensvc_playback_authorizations_total{{outcome="{outcome}"')
        ]
        return float(found[0].rpartition(" ")[2]) if found else 0.0


class _Player:
    """A player with one connection to a proxy, and a cookie jar for one cookie."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.cookie = ""

    def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie and "cookie" not in sent:
            sent["cookie"] = self.cookie
        response = self._client.request(method, path, headers=sent)
        if "set-cookie" in response.headers:
            self.cookie = response.headers["set-cookie"].partition(";")[0]
        return response


@pytest.fixture(scope="module")
def ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    with local_ivs(tmp_path_factory.mktemp("ivs")) as running:
        yield running


@pytest.fixture(scope="module")
def site(ivs: LocalIvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Site]:
    deployment = Deployment(ivs, tmp_path_factory.mktemp("deployment"))
    key = deployment.set_up("--all-channels", "--scope", "tokens:issue", "--scope", "revocations:write")
    channel, other = (str(deployment.new_channel()["arn"]) for _ in range(2))
    files = tmp_path_factory.mktemp("hls")
    with deployment.serve(AUTHORIZE="on") as service:
        found = _Site(deployment, service, key, channel, other, files)
        for arn in (channel, other):
            folder = files / found.folder(arn).strip("/")
            folder.mkdir(parents=True)
            (folder / "index.m3u8").write_text(f"#EXTM3U\n#EXTINF:2,\n1.ts\n# {arn}\n")
            (folder / "1.ts").write_bytes(b"G" * 188)
        with service.client(key) as client:
            wait_until(lambda: client.request_token(channelArn=channel, viewerId="v").status == 201, "it issues tokens")
        yield found


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, site: _Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    name, folder, port = request.param, tmp_path_factory.mktemp(request.param), free_port()
    text = replaced(replaced(configuration(name), NAME, "localhost"), "/srv/hls", str(site.files))
    text = replaced(text, "127.0.0.1:8080", site.service.url.removeprefix("http://"))
    if name == "nginx":
        text = replaced(replaced(text, "listen 443 ", f"listen {port} "), "/var/lib/nginx/", f"{folder}/")
    else:
        text = f"{{\n\tadmin off\n\thttp_port {free_port()}\n\thttps_port {port}\n}}\n{text}"
    with running_proxy(name, folder, FILES[name], text, port) as running:
        yield running


@pytest.fixture
def player(proxy: Proxy) -> Iterator[_Player]:
    with proxy.client() as client:
        yield _Player(client)


@pytest.mark.slow
def test_a_token_admits_and_the_cookie_gets_the_segments(site: _Site, player: _Player) -> None:
    playlist = player.get(f"{site.folder()}index.m3u8?token={site.token(viewerId='ada')}")
    assert (playlist.status, site.channel in playlist.body.decode()) == (200, True)
    assert f"Path={site.folder()};" in playlist.headers["set-cookie"]
    assert "Secure; HttpOnly; SameSite=None" in playlist.headers["set-cookie"]
    segment = player.get(f"{site.folder()}1.ts")
    assert (segment.status, segment.body) == (200, b"G" * 188)
    assert "set-cookie" not in segment.headers
    assert player.get(f"{site.folder()}1.ts", "HEAD").status == 200


@pytest.mark.slow
def test_a_token_in_the_authorization_header_admits(site: _Site, player: _Player) -> None:
    token = site.token(viewerId="ada", singleUse=True)
    for _ in range(3):
        assert player.get(f"{site.folder()}1.ts", authorization=f"Bearer {token}").status == 200


@pytest.mark.slow
def test_a_refusal_names_its_rule(site: _Site, player: _Player) -> None:
    nothing = player.get(f"{site.folder()}1.ts")
    assert (nothing.status, nothing.headers["tokensvc-rule"]) == (401, "token-required")
    assert nothing.headers["www-authenticate"].startswith("Bearer")
    token = site.token(viewerId="ada")
    for sent, rule in ((f"{token}A", "encoding"), (token[:-4] + "AAAA", "signature"), ("a.b", "segments")):
        refused = player.get(f"{site.folder()}1.ts?token={sent}")
        assert (refused.status, refused.headers["tokensvc-rule"]) == (403, rule)
        assert b"G" * 188 not in refused.body


@pytest.mark.slow
def test_a_single_use_token_starts_once_and_its_session_goes_on(site: _Site, player: _Player) -> None:
    url = f"{site.folder()}index.m3u8?token={site.token(viewerId='ada', singleUse=True)}"
    assert player.get(url).status == 200
    assert [player.get(f"{site.folder()}1.ts").status for _ in range(3)] == [200] * 3
    again = player.get(url, cookie="none")
    assert (again.status, again.headers["tokensvc-rule"]) == (403, "single-use")
    assert player.get(url).status == 403


@pytest.mark.slow
def test_nothing_of_one_channel_opens_another(site: _Site, player: _Player) -> None:
    token, own, other = site.token(viewerId="ada"), site.folder(), site.folder(site.other)
    assert player.get(f"{other}1.ts?token={token}").headers["tokensvc-rule"] == "channel"
    assert player.get(f"{own}index.m3u8?token={token}").status == 200
    assert player.get(f"{own}1.ts").status == 200, "its decision may be cached now"
    name = other.strip("/").rpartition("/")[2]
    for path in (
        f"{other}1.ts",
        f"{own}../{name}/1.ts",
        f"{own}%2e%2e/{name}/1.ts",
        f"{own}..%2f{name}/1.ts",
        f"{own}%2e%2e%2f{name}/1.ts",
        f"{own}..%5c{name}/1.ts",
        f"{own}%252e%252e/{name}/1.ts",
        f"{own}/../{name}/1.ts",
        f"{own}..;/{name}/1.ts",
        f"//{own}../{name}/1.ts",
        f"{own}..//{name}/1.ts",
    ):
        for sent in (path, f"{path}?token={token}"):
            response = player.get(sent)
            assert response.status in (400, 401, 403, 404), sent
            assert response.body != b"G" * 188


@pytest.mark.slow
def test_a_path_with_several_readings_is_refused_while_a_decision_is_cached(site: _Site, player: _Player) -> None:
    """nginx reads each of them as a path of the channel's own folder; an origin behind it may not."""
    own, name = site.folder(), site.folder(site.other).strip("/").rpartition("/")[2]
    assert player.get(f"{own}index.m3u8?token={site.token(viewerId='ada')}").status == 200
    assert player.get(f"{own}1.ts").status == 200
    for path in (
        f"{own}..;/{name}/1.ts",
        f"{own}..%5c{name}/1.ts",
        f"{own}..\\{name}/1.ts",
        f"{own}%252e%252e/{name}/1.ts",
        f"{own}1.ts%3fa",
        f"{own}./1.ts",
        f"/live/{name}/..//{own.split('/')[2]}/1.ts",
        f"/live/{name}//../{own.split('/')[2]}/1.ts",
    ):
        refused = player.get(path)
        assert (refused.status, refused.headers.get("tokensvc-rule")) == (403, "path"), path


@pytest.mark.slow
def test_no_cookie_makes_a_decision_that_is_cached_for_others(site: _Site, player: _Player) -> None:
    """nginx finds a cookie by its name in any case, also after a comma or before a space. What it then takes for the
    session is what tokensvc has to judge: else a viewer could have a decision cached for players without one."""
    assert player.get(f"{site.folder()}index.m3u8?token={site.token(viewerId='ada')}").status == 200
    url, session = f"{site.folder()}1.ts", player.cookie
    for before, guessed in (
        ("TOKENSVC_SESSION=", ""),
        (f"a=b,{COOKIE}=guess1", "guess1"),
        (f"{COOKIE} =guess2", "guess2"),
        (f"Tokensvc_Session=guess3 {ORIGIN}", "guess3"),
    ):
        player.get(url, cookie=f"{before}; {session}")
        for headers in ({"cookie": f"{COOKIE}={guessed}"}, {"cookie": "none"}, {"cookie": "none", "origin": ORIGIN}):
            assert player.get(url, **headers).status == 401, before
    assert player.get(url, cookie=f"a=b; {session}; {COOKIE}=guess").status == 200


@pytest.mark.slow
def test_headers_that_a_player_makes_up_change_nothing(site: _Site, player: _Player) -> None:
    own, other = site.folder(), site.folder(site.other)
    assert player.get(f"{own}index.m3u8?token={site.token(viewerId='ada')}").status == 200
    for name in ("x_original_uri", "x_forwarded_uri", "x_original_method", "x_forwarded_method", "x_playback_session"):
        for value in (f"{own}1.ts", "HEAD"):
            refused = player.get(f"{other}1.ts", **{name: value})
            assert refused.status in (401, 403)
            assert "set-cookie" not in refused.headers
    url = f"{own}1.ts?token={site.token(viewerId='ada', singleUse=True)}"
    statuses = [
        player.get(url, cookie="none", **{n: "HEAD"}).status for n in ("x_original_method", "x_forwarded_method")
    ]
    assert statuses in ([200, 403], [403, 200], [403, 403]), "a HEAD that is made up does not save a single use"


@pytest.mark.slow
def test_what_is_too_large_or_no_request_for_a_file_is_refused(site: _Site, player: _Player) -> None:
    for path in (f"{site.folder()}1.ts?token={'a' * 2500}", f"{site.folder()}1.ts?a={'a' * 20_000}"):
        assert player.get(path).status in (400, 403, 414, 431)
    huge = f"{COOKIE}={'a' * 2000}"
    assert player.get(f"{site.folder()}1.ts?a={'a' * 2000}", cookie=huge, origin="b" * 2000).status == 401
    assert player.get(f"{site.folder()}1.ts", cookie=f"a={'a' * 20_000}").status in (400, 401, 431, 494)
    assert player.get(f"{site.folder()}1.ts", "POST").status in (403, 405)


@pytest.mark.slow
def test_a_page_of_the_tokens_origins_may_read_the_stream_with_the_cookie(site: _Site, player: _Player) -> None:
    token = site.token(viewerId="ada", allowedOrigins=[ORIGIN])
    start = player.get(f"{site.folder()}index.m3u8?token={token}", origin=ORIGIN)
    for response in (start, player.get(f"{site.folder()}1.ts", origin=ORIGIN)):
        assert response.status == 200
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["access-control-allow-credentials"] == "true"
    other = player.get(f"{site.folder()}1.ts", origin="https://b.example")
    assert (other.status, "access-control-allow-origin" in other.headers) == (200, False)
    unknown = player.get(f"{site.folder()}1.ts", cookie="none", origin=ORIGIN)
    assert (unknown.status, unknown.headers["access-control-allow-origin"]) == (401, "*")
    assert "access-control-allow-credentials" not in unknown.headers
    refused = player.get(f"{site.folder()}1.ts?token={token}x", origin=ORIGIN)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (403, ORIGIN)
    assert refused.headers["access-control-allow-credentials"] == "true"


@pytest.mark.slow
def test_the_token_of_a_file_that_is_missing_is_in_no_log(site: _Site, proxy: Proxy, player: _Player) -> None:
    """A stream that is off air has no playlist, and players ask for it with good tokens."""
    token = site.token(viewerId="ada")
    assert player.get(f"{site.folder()}missing.m3u8?token={token}").status == 404
    assert player.get(f"{site.folder()}1.ts").status == 200
    files = [path for path in proxy.certificate.parent.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if token.encode() in path.read_bytes()]


@pytest.mark.slow
def test_strict_origins_hold_for_segments(site: _Site, player: _Player) -> None:
    token = site.token(viewerId="ada", allowedOrigins=[ORIGIN], strictOriginEnforcement=True)
    assert player.get(f"{site.folder()}index.m3u8?token={token}", origin=ORIGIN).status == 200
    assert player.get(f"{site.folder()}1.ts", origin=ORIGIN).status == 200
    for headers in ({}, {"origin": "https://b.example"}):
        refused = player.get(f"{site.folder()}1.ts", **headers)
        assert (refused.status, refused.headers["tokensvc-rule"]) == (403, "strict-origin")


@pytest.mark.slow
def test_nginx_asks_once_for_many_files_and_the_others_each_time(site: _Site, proxy: Proxy, player: _Player) -> None:
    assert player.get(f"{site.folder()}index.m3u8?token={site.token(viewerId='ada')}").status == 200
    before = site.counted("continued")
    assert [player.get(f"{site.folder()}{name}").status for name in ("1.ts", "index.m3u8") * 5] == [200] * 10
    wait_until(lambda: site.counted("continued") > before, "it is counted")
    time.sleep(0.5)  # until the metrics are flushed
    assert site.counted("continued") - before == (1 if proxy.name == "nginx" else 10)


@pytest.mark.long
@pytest.mark.parametrize("only_older_sessions", [False, True])
def test_a_revoked_viewer_is_cut_off_within_twelve_seconds(
    site: _Site, player: _Player, only_older_sessions: bool
) -> None:
    """While the segments are requested all the time, so that a cached decision is as old as it can be. With
    `issuedBefore`, the viewer may start anew immediately, and its older session stays ended."""
    viewer = f"revoked-{free_port()}"
    assert player.get(f"{site.folder()}index.m3u8?token={site.token(viewerId=viewer)}").status == 200
    assert player.get(f"{site.folder()}1.ts").status == 200
    with site.service.client(site.key) as client:
        body = {"viewerId": viewer, "channelArn": site.channel}
        if only_older_sessions:
            time.sleep(1.1)  # a session version is a second
            body["issuedBefore"] = rfc3339(int(time.time()))
        accepted = client.request("POST", "/v1/revocations", json.dumps(body))
        assert accepted.status == 202, accepted.body
    revoked_at = time.monotonic()
    requested_at = revoked_at
    while (response := player.get(f"{site.folder()}1.ts")).status == 200:
        assert requested_at - revoked_at < CUT_OFF_SECONDS + 3, "later than a busy machine explains"
        time.sleep(0.1)
        requested_at = time.monotonic()
    assert (response.status, response.headers["tokensvc-rule"]) == (403, "revoked")
    if only_older_sessions:
        token = site.token(viewerId=viewer)
        assert player.get(f"{site.folder()}index.m3u8?token={token}", cookie="none").status == 200
    else:
        assert player.get(f"{site.folder()}1.ts").status == 403


@pytest.mark.long
@pytest.mark.parametrize("proxy", ["nginx"], indirect=True)
def test_decisions_are_never_older_than_ten_seconds(site: _Site, player: _Player) -> None:
    """Counted at the service, which learns of its count half a second late: in nginx's cache a decision lives for whole
    seconds. Caddy has no cache."""
    assert player.get(f"{site.folder()}index.m3u8?token={site.token(viewerId='ada')}").status == 200
    decided_at, ages, decisions, count = time.monotonic(), [0.0], 0, site.counted("continued")
    ends_at = time.monotonic() + 60
    while decisions < 3:
        assert time.monotonic() < ends_at, "decisions last for more than 20 seconds"
        requested_at = time.monotonic()
        assert player.get(f"{site.folder()}1.ts").status == 200
        if (now := site.counted("continued")) > count:
            decided_at, decisions, count = time.monotonic(), decisions + 1, now
        elif decisions:
            ages.append(requested_at - decided_at)
        time.sleep(0.1)
    assert max(ages) < 10.5


@pytest.mark.slow
def test_the_paths_of_the_tests_are_those_of_the_service(site: _Site) -> None:
    found = ChannelFolders(DEFAULT_FOLDERS).folder_of(f"{site.folder()}1.ts")
    assert found is not None
    assert str(found.channel) == site.channel
