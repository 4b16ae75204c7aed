"""`tokensvc ivs serve`."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import httpx
import jwt
import pytest

from tests.local_ivs.environment import pem, private_key
from tests.support.mmdb import write_database
from tests.support.processes import TOKENSVC, environment, run, started

pytestmark = pytest.mark.e2e


def _client(info: dict[str, str], key: str, secret: str) -> Any:
    return boto3.client(
        "ivs",
        region_name=info["region"],
        endpoint_url=info["ivsEndpoint"],
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def test_serve_writes_the_info_file_keeps_its_database_and_states_that_it_is_not_aws(tmp_path: Path) -> None:
    info_file, environ = tmp_path / "info.json", environment(tmp_path / "home")
    options = ["--port", "0", "--info-file", str(info_file), "--access-key", "me:mine:123456789012"]
    arns = []
    for public in ([], ["--public-url", "https://play.example.com"]):
        with started([TOKENSVC, "ivs", "serve", *options, *public], tmp_path, environ, "ivs") as process:
            process.wait_until(info_file.exists, "it wrote its connection info")
            info = json.loads(info_file.read_text())
            assert stat.S_IMODE(info_file.stat().st_mode) == 0o600
            assert info.keys() == {"ivsEndpoint", "managementUrl", "region", "accessKeyId", "secretAccessKey"}
            assert "It is not AWS" in process.err
            ivs = _client(info, "me", "mine")
            arns += [c["arn"] for c in ivs.list_channels()["channels"]] or [
                ivs.create_channel(authorized=True)["channel"]["arn"]
            ]
            playback_url = ivs.get_channel(arn=arns[0])["channel"]["playbackUrl"]
            assert playback_url.startswith(public[1] if public else info["ivsEndpoint"])
            ivs.close()
            default = _client(info, info["accessKeyId"], info["secretAccessKey"])
            assert default.list_channels()["channels"] == [], "another account"
            default.close()
        assert not info_file.exists(), "removed at exit"
        assert process.wait_for_exit() == 0, process.err
    assert arns[0] == arns[1], "a second start continues with the same state"
    assert ":123456789012:" in arns[0]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--access-key", "a:b:12"),
        ("--port", "99999"),
        ("--max-views", "0"),
        ("--propagation-delay", "601"),
        ("--propagation-delay", "-1"),
        ("--propagation-delay", "nan"),
        ("--country-database", "missing.mmdb"),
        ("--country-header", "x country"),
        ("--media", "missing.mp4"),
    ],
)
def test_invalid_options_are_named(tmp_path: Path, option: str, value: str) -> None:
    command = [TOKENSVC, "ivs", "serve", "--memory", "--port", "0", option, value]
    result = run(command, tmp_path, environment(tmp_path / "home"), code=2)
    assert option in result.err
    assert "Traceback" not in result.err


def test_a_database_of_countries_and_a_header_with_the_country_exclude_each_other(tmp_path: Path) -> None:
    command = [TOKENSVC, "ivs", "serve", "--memory", "--port", "0", "--country-header", "x-country"]
    command += ["--country-database", str(write_database(tmp_path / "countries.mmdb", {}))]
    result = run(command, tmp_path, environment(tmp_path / "home"), code=2)
    assert "--country-header: cannot be combined with --country-database" in result.err


class _Running(NamedTuple):
    """A running `ivs serve` with one channel that is live."""

    info: dict[str, str]
    ivs: Any
    channel: Any

    def get(self, query: str = "", **headers: str) -> Any:
        return httpx.get(self.channel["playbackUrl"] + query, headers=headers)

    def manage(self, path: str, **body: Any) -> None:
        httpx.post(self.info["managementUrl"] + path, json=body).raise_for_status()


@contextmanager
def _running(folder: Path, *options: str, **channel: Any) -> Iterator[_Running]:
    info_file = folder / "info.json"
    command = [TOKENSVC, "ivs", "serve", "--memory", "--port", "0", "--info-file", str(info_file), *options]
    with started(command, folder, environment(folder / "home"), "ivs") as process:
        process.wait_until(info_file.exists, "it wrote its connection info")
        info = json.loads(info_file.read_text())
        ivs = _client(info, info["accessKeyId"], info["secretAccessKey"])
        if "countries" in channel:
            policy = ivs.create_playback_restriction_policy(allowedCountries=channel.pop("countries"))
            channel["playbackRestrictionPolicyArn"] = policy["playbackRestrictionPolicy"]["arn"]
        running = _Running(info, ivs, ivs.create_channel(**channel)["channel"])
        running.manage("/streams/start", channelArn=running.channel["arn"])
        yield running
        ivs.close()


def test_a_header_names_the_viewers_country_and_views_have_a_quota(tmp_path: Path) -> None:
    options = ("--country-header", "X-Country", "--max-views", "2")
    with _running(tmp_path, *options, countries=["JP"]) as running:
        statuses = [running.get(**{"x-country": country}).status_code for country in ("DE", "JP", "", "JP")]
    assert statuses == [403, 200, 200, 429]


def test_a_database_names_the_viewers_country(tmp_path: Path) -> None:
    database = write_database(tmp_path / "countries.mmdb", {"127.0.0.0/8": {"country": {"iso_code": "DE"}}})
    with _running(tmp_path, "--country-database", str(database), countries=["JP"]) as running:
        assert running.get().headers["tokensvc-rule"] == "country"


def test_keys_and_revocations_reach_the_edge_after_the_propagation_delay(tmp_path: Path) -> None:
    with _running(tmp_path, "--propagation-delay", "120", authorized=True) as running:
        running.ivs.import_playback_key_pair(publicKeyMaterial=pem(1))
        arn, exp = running.channel["arn"], int(time.time()) + 600
        claims = {"aws:channel-arn": arn, "aws:viewer-id": "v", "exp": exp}
        query = f"?token={jwt.encode(claims, private_key(1), algorithm='ES384')}"
        statuses = [running.get(query).status_code]
        running.manage("/clock", advanceSeconds=120)
        statuses.append(running.get(query).status_code)
        running.ivs.start_viewer_session_revocation(channelArn=arn, viewerId="v")
        statuses.append(running.get(query).status_code)
        running.manage("/clock", advanceSeconds=120)
        statuses.append(running.get(query).status_code)
    assert statuses == [403, 200, 200, 403]


def test_serve_has_the_resources_of_the_seed_file_as_it_is_at_each_start(tmp_path: Path) -> None:
    info_file, environ = tmp_path / "info.json", environment(tmp_path / "home")
    command = [TOKENSVC, "ivs", "serve", "--port", "0", "--info-file", str(info_file), "--seed", "channels.toml"]
    for authorized in (True, True, False):
        text = f"[channels.main]\nauthorized = {str(authorized).lower()}\nlive = true\n"
        (tmp_path / "channels.toml").write_text(text)
        with started(command, tmp_path, environ, "ivs") as process:
            process.wait_until(info_file.exists, "it wrote its connection info")
            info = json.loads(info_file.read_text())
            ivs = _client(info, info["accessKeyId"], info["secretAccessKey"])
            assert [(c["name"], c["authorized"]) for c in ivs.list_channels()["channels"]] == [("main", authorized)]
            assert len(ivs.list_streams()["streams"]) == 1
            ivs.close()


def test_a_bad_seed_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "channels.toml").write_text("[channels.main]\nauthorised = true\n")
    command = [TOKENSVC, "ivs", "serve", "--memory", "--port", "0", "--seed", "channels.toml"]
    result = run(command, tmp_path, environment(tmp_path / "home"), code=2)
    assert "channels.toml:2: channels.main.authorised: is not a known field" in result.err
    assert "Traceback" not in result.err


def test_the_watch_page_is_beside_the_api_and_signs_with_a_key_pair_of_its_own(tmp_path: Path) -> None:
    info_file, environ = tmp_path / "info.json", environment(tmp_path / "home")
    command = [TOKENSVC, "ivs", "serve", "--port", "0", "--memory", "--info-file", str(info_file)]
    with started(command, tmp_path, environ, "ivs") as process:
        process.wait_until(info_file.exists, "it wrote its connection info")
        url = json.loads(info_file.read_text())["ivsEndpoint"]
        assert f"Watch page: {url}/watch" in process.err
        with httpx.Client(base_url=url, headers={"origin": url}) as page:
            assert "hls.light.min.js" in page.get("/watch").text
            arn = page.post("/watch/api/channels", json={"name": "stage"}).json()["arn"]
            issued = page.post("/watch/api/tokens", json={"channelArn": arn, "viewerId": "ada"}).json()
            assert jwt.decode(issued["token"], options={"verify_signature": False})["aws:viewer-id"] == "ada"
            [channel] = page.get("/watch/api/overview").json()["channels"]
            assert page.get(channel["playbackPath"], params={"token": issued["token"]}).status_code == 200
            assert page.get(channel["playbackPath"]).status_code == 403
