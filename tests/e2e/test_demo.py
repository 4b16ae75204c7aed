"""`make demo` does what the README says: four commands that work as printed, and a shell that acts on the demo."""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path
from signal import SIGINT, SIGTERM

import jwt
import pytest

from tests.support.demo import Demo, running_demo
from tests.support.http_client import Client, fetch
from tests.support.processes import TOKENSVC, CommandResult, environment, run, started, wait_until
from tests.support.published_keys import signing_key_ids

INFO_FIELDS = {
    "url",
    "ivsEndpoint",
    "managementUrl",
    "region",
    "accessKeyId",
    "secretAccessKey",
    "apiKey",
    "channelArn",
    "playbackUrl",
}
UNREACHABLE_URL = "http://192.0.2.1:9"
"""An address for documentation (RFC 5737): a call to it would time out."""

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: make system-packages")


@pytest.fixture
def bare_shell(demo: Demo, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell with only the system's programs, python3 and curl."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    if curl := shutil.which("curl"):
        (programs / "curl").symlink_to(curl)
    return environment(tmp_path / "home") | {"PATH": f"{programs}:/usr/bin:/bin"}


def shell(demo: Demo, environ: dict[str, str], script: str) -> CommandResult:
    return run(["sh", "-ec", script], demo.folder, environ)


@needs_curl
def test_the_printed_commands_work_as_printed(demo: Demo, bare_shell: dict[str, str]) -> None:
    printed = re.findall(r"^# \d\. .*\n(.*)$", demo.process.out, re.MULTILINE)
    assert len(printed) == 4
    request, play, tamper, rotate = printed

    assert shell(demo, bare_shell, request).json.keys() >= {"token", "playbackUrl", "expiresAt", "refreshAfter"}
    played = shell(demo, bare_shell, play).out
    assert played.startswith("HTTP/1.1 200 ")
    assert "#EXTM3U" in played
    variant = fetch(played.split()[-1])
    assert (variant.status, variant.headers.get("access-control-allow-origin")) == (200, "*")
    assert "#EXT-X-TARGETDURATION:2" in variant.body.decode()
    denied = shell(demo, bare_shell, tamper).out
    assert denied.startswith("HTTP/1.1 403 ")
    assert json.loads(denied.splitlines()[-1])[0]["error_code"] == "invalid_playback_auth_token"
    old_url = shell(demo, bare_shell, request).json["playbackUrl"]
    assert " is now active in " in shell(demo, bare_shell, rotate).out
    assert fetch(old_url).status == 200, "a token of the previous key is denied"
    assert shell(demo, bare_shell, play).out.startswith("HTTP/1.1 200 ")


def test_a_shell_with_its_env_acts_on_the_demo(demo: Demo, bare_shell: dict[str, str]) -> None:
    listed = shell(demo, bare_shell, ". .demo/env; aws ivs list-channels --output json").json
    assert demo.info["channelArn"] in [channel["arn"] for channel in listed["channels"]]
    keys = shell(demo, bare_shell, ". .demo/env; tokensvc keys list --json").json["keys"]
    assert [placement["state"] for key in keys for placement in key["placements"]].count("active") == 1
    assert shell(demo, bare_shell, ". .demo/env; tokensvc doctor --json").json["ok"] is True


@pytest.mark.parametrize(
    "command",
    [
        """curl -s $TOKENS/v1/tokens -H "authorization: Bearer $KEY" -d '{"channelArn": "'$CHANNEL'"}'""",
        """curl -s "$TOKENS/v1/denials?channelArn=$CHANNEL" -H "authorization: Bearer $KEY" """,
        """curl -s $TOKENS/v1/keys -H "authorization: Bearer $KEY" """,
        "curl -s $MANAGEMENT",
    ],
    ids=["token", "denials", "keys", "management"],
)
def test_its_env_has_the_variables_of_the_documentation(demo: Demo, bare_shell: dict[str, str], command: str) -> None:
    response = shell(demo, bare_shell, f". .demo/env; {command}").json
    assert response.keys() & {"token", "denials", "keys", "now"}, response


def test_the_connection_info_is_complete_and_readable_by_its_owner_only(demo: Demo) -> None:
    assert demo.info.keys() == INFO_FIELDS
    for path in (demo.folder / ".demo").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((demo.folder / ".demo").stat().st_mode) == 0o700
    assert [stat.S_IMODE(p.stat().st_mode) for p in (demo.folder / "keys").iterdir()]
    assert {stat.S_IMODE(p.stat().st_mode) for p in (demo.folder / "keys").iterdir()} == {0o600}


def test_it_says_that_it_is_not_aws(demo: Demo) -> None:
    assert "It is not AWS" in demo.process.err


def test_it_says_on_standard_error_what_it_does_while_it_starts(demo: Demo) -> None:
    steps = ("Starting the demo in ", "Creating or opening the store.", "Starting the service", "Creating or checking")
    lines = [line for line in demo.process.err.splitlines() if line.startswith((*steps, "Ready after "))]
    assert [line.startswith(step) for line, step in zip(lines, (*steps, "Ready after "), strict=True)] == [True] * 5
    assert "\x1b" not in demo.process.err, "this is not a terminal"
    assert not set(lines) & set(demo.process.out.splitlines())


def test_its_page_shows_the_channel_and_nothing_secret(demo: Demo) -> None:
    with urllib.request.urlopen(demo.info["url"] + "/") as response:
        page, headers = response.read().decode(), response.headers
    assert demo.info["channelArn"] in page
    assert "tokensvc keys rotate" in page
    assert demo.info["apiKey"] not in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    for path in re.findall(r'href="([^"]+)"', page):
        with urllib.request.urlopen(demo.info["url"] + path) as response:
            assert response.status == 200


@pytest.mark.long
def test_it_opens_its_page_in_the_browser_once_it_is_ready(tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o700)
    environ = environment(tmp_path / "home", {"BROWSER": f"{browser} %s"})
    with started([TOKENSVC, "demo", "--port", "0", "--open"], tmp_path, environ, "demo") as process:
        process.wait_until(lambda: opened.exists() and opened.read_text().endswith("\n"), "the demo opens its page")
        assert opened.read_text().strip() == json.loads((tmp_path / ".demo" / "demo.json").read_text())["url"]


def test_media_that_cannot_be_played_are_rejected_before_anything_is_created(tmp_path: Path) -> None:
    command = [TOKENSVC, "demo", "--port", "0", "--media", "missing.mp4"]
    result = run(command, tmp_path, environment(tmp_path / "home"), code=2)
    assert result.err.endswith("tokensvc: --media: missing.mp4 cannot be read: No such file or directory\n"), result.err
    assert [path.name for path in (tmp_path / ".demo").iterdir()] == ["lock"]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed: make system-packages")
def test_it_plays_a_file_of_the_user_s(tmp_path: Path) -> None:
    make = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=4", "mine.mp4"]
    run(make, tmp_path, environment(tmp_path / "home"))
    with running_demo(tmp_path, "--media", "mine.mp4") as demo, Client(demo.info["url"], demo.info["apiKey"]) as caller:
        token = caller.request_token(channelArn=demo.info["channelArn"], viewerId="ada").json
        assert "RESOLUTION=320x180" in fetch(token["playbackUrl"]).body.decode()


@pytest.mark.parametrize("blocked", [".demo", "keys", ""])
def test_a_directory_that_cannot_hold_its_state_is_rejected(blocked: str, tmp_path: Path) -> None:
    folder = tmp_path if blocked else Path("/proc")  # in which not even root may create a file
    if blocked:
        (folder / blocked).touch()
    result = run([TOKENSVC, "demo", "--port", "0"], folder, environment(tmp_path / "home"), code=2)
    assert result.err.startswith("tokensvc: the current directory: must be one in which you may create .demo and keys")
    assert "Traceback" not in result.err


def test_a_port_in_use_is_rejected_by_the_option_s_name(demo: Demo, tmp_path: Path) -> None:
    port = demo.info["url"].rpartition(":")[2]
    result = run([TOKENSVC, "demo", "--port", port], tmp_path, environment(tmp_path / "home"), code=2)
    assert "--port" in result.err
    assert "Traceback" not in result.err


def test_it_stops_at_ctrl_c_finds_its_state_again_and_never_calls_aws(tmp_path: Path) -> None:
    """The surrounding shell points at AWS in every way that boto3 supports; all of it must be ignored."""
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    (tmp_path / "home" / ".aws" / "config").write_text(
        f"[default]\nregion = eu-west-1\nendpoint_url = {UNREACHABLE_URL}\naws_session_token = production\n"
    )
    misleading = {
        "AWS_PROFILE": "a-missing-profile",
        "AWS_DEFAULT_PROFILE": "a-missing-profile",
        "AWS_ENDPOINT_URL": UNREACHABLE_URL,
        "AWS_ENDPOINT_URL_IVS": UNREACHABLE_URL,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "production",
        "AWS_SESSION_TOKEN": "production",
        "AWS_CA_BUNDLE": "/nowhere",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "HTTP_PROXY": UNREACHABLE_URL,
        "HTTPS_PROXY": UNREACHABLE_URL,
        "http_proxy": UNREACHABLE_URL,
        "TOKENSVC_CONTROL_PLANE": "aws",
        "TOKENSVC_DATABASE_URL": "postgresql://production/tokensvc",
        "TOKENSVC_PASSPHRAES": "misspelt",
    }
    info_file = tmp_path / ".demo" / "demo.json"
    first = _start_and_stop(tmp_path, misleading, info_file, SIGINT)
    second = _start_and_stop(tmp_path, {}, info_file, SIGTERM)
    assert first["region"] == "us-east-1"
    assert (first["channelArn"], first["signed by"]) == (second["channelArn"], second["signed by"])
    assert first["apiKey"] == second["apiKey"], "the API key of the first start is not valid in the second"


@pytest.mark.long
def test_a_restarted_demo_accepts_the_api_key_of_the_first_start_immediately(tmp_path: Path) -> None:
    first = _start_and_stop(tmp_path, {}, tmp_path / ".demo" / "demo.json", SIGTERM)
    port = first["url"].rpartition(":")[2]
    command = [TOKENSVC, "demo", "--port", port]
    with started(command, tmp_path, environment(tmp_path / "home"), "demo") as process:
        process.wait_until((tmp_path / ".demo" / "demo.json").exists, "the demo writes its connection info")
        with Client(first["url"], first["apiKey"]) as caller:
            assert caller.request_token(channelArn=first["channelArn"], viewerId="ada").status == 201


@pytest.mark.long
def test_the_api_key_file_is_private_and_replaced_if_it_was_not(tmp_path: Path) -> None:
    info_file = tmp_path / ".demo" / "demo.json"
    first = _start_and_stop(tmp_path, {}, info_file, SIGTERM)
    files_with_key = [
        path for path in tmp_path.rglob("*") if path.is_file() and first["apiKey"].encode() in path.read_bytes()
    ]
    key_file = tmp_path / ".demo" / "api-key"
    assert {*files_with_key} <= {key_file, tmp_path / "demo.out"}, (
        "the API key is in other files than the output and its own file"
    )
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key_file.chmod(0o644)
    second = _start_and_stop(tmp_path, {}, info_file, SIGTERM)
    assert second["apiKey"] != first["apiKey"], "a key that others may have read is used again"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key_file.write_text(first["apiKey"])
    third = _start_and_stop(tmp_path, {}, info_file, SIGTERM)
    assert third["apiKey"] not in (first["apiKey"], second["apiKey"]), "a revoked key is used again"
    key_file.unlink()
    assert _start_and_stop(tmp_path, {}, info_file, SIGTERM)["apiKey"] != third["apiKey"]


@pytest.mark.long
def test_a_disabled_caller_stops_the_start_with_an_error(tmp_path: Path) -> None:
    _start_and_stop(tmp_path, {}, tmp_path / ".demo" / "demo.json", SIGTERM)
    environ = environment(tmp_path / "home")
    run(["sh", "-ec", f". .demo/env; {TOKENSVC} callers disable demo --yes"], tmp_path, environ)
    result = run([TOKENSVC, "demo", "--port", "0"], tmp_path, environ, code=4)
    assert "caller demo is disabled" in result.err


@pytest.mark.long
def test_too_many_rotations_are_rejected_only_for_minutes_and_the_error_says_until_when(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (_, process, _):
        until_at = _rotate_until_rejected(tmp_path)
        assert 60 < until_at.timestamp() - time.time() < 180
        assert process.is_running


@pytest.mark.long
def test_a_rejected_rotation_succeeds_after_the_drain(tmp_path: Path) -> None:
    with running_demo(tmp_path):
        until_at = _rotate_until_rejected(tmp_path)
        time.sleep(max(0.0, until_at.timestamp() - time.time()) + 2)
        _rotate(tmp_path, code=0)


def _rotate(folder: Path, code: int | None = None) -> CommandResult:
    return run(["sh", "-ec", f". .demo/env; {TOKENSVC} keys rotate"], folder, environment(folder / "home"), code=code)


def _rotate_until_rejected(folder: Path) -> datetime:
    """Rotate until rejected; return when the next key has drained, according to the error."""
    for _ in range(4):
        if (result := _rotate(folder)).code:
            break
    assert result.code == 4
    (until_at,) = re.findall(r"The next slot frees at ([0-9T:-]+Z) \(in ", result.err)
    return datetime.fromisoformat(until_at)


def test_a_second_demo_in_the_same_folder_is_rejected(demo: Demo) -> None:
    """It would replace the first one's caller and connection info."""
    result = run([TOKENSVC, "demo", "--port", "0"], demo.folder, environment(demo.folder / "home"), code=4)
    assert "already running in this folder" in result.err
    with Client(demo.info["url"], demo.info["apiKey"]) as caller:
        assert caller.request_token(channelArn=demo.info["channelArn"], viewerId="ada").status == 201


@pytest.mark.long
def test_files_deleted_between_two_starts_are_recreated_except_the_passphrase(tmp_path: Path) -> None:
    info_file = tmp_path / ".demo" / "demo.json"
    signed_by = _start_and_stop(tmp_path, {}, info_file, SIGTERM)["signed by"]
    for path in tmp_path.glob("keys/*.pem"):
        path.write_bytes(b"damaged")
    before, signed_by = signed_by, _start_and_stop(tmp_path, {}, info_file, SIGTERM)["signed by"]
    assert signed_by != before, "a damaged key is still in use"
    for pattern in ("keys/*.pem", ".demo/local-ivs.db*", ".demo/tokensvc.db*"):
        for path in tmp_path.glob(pattern):
            path.unlink()
        before, signed_by = signed_by, _start_and_stop(tmp_path, {}, info_file, SIGTERM)["signed by"]
        assert signed_by != before, "the deleted key is still in use"

    (tmp_path / ".demo" / "passphrase").unlink()
    result = run([TOKENSVC, "demo", "--port", "0"], tmp_path, environment(tmp_path / "home"), code=2)
    assert "restore it or `rm -r .demo`" in result.err
    assert not (tmp_path / ".demo" / "passphrase").exists(), "a new passphrase was created"


def _start_and_stop(folder: Path, environ: dict[str, str], info_file: Path, ending: int) -> dict[str, str]:
    """Start a demo, play a token as soon as the connection info exists, and stop the demo. Returns the connection info
    and the id of the signing key."""
    with started([TOKENSVC, "demo", "--port", "0"], folder, environment(folder / "home", environ), "demo") as process:
        process.wait_until(info_file.exists, "the demo writes its connection info")
        info: dict[str, str] = json.loads(info_file.read_text())
        with Client(info["url"], info["apiKey"]) as caller:
            response = caller.request_token(channelArn=info["channelArn"], viewerId="ada")
            assert response.status == 201, f"the connection info exists, but the demo is not ready: {response.body!r}"
            assert fetch(f"{info['playbackUrl']}?token={response.json['token']}").status == 200
            published = jwt.PyJWKSet.from_dict(caller.get("/.well-known/jwks.json").json).keys
        process.send(SIGINT if ending == SIGINT else SIGTERM)
        assert process.wait_for_exit() == 0, process.err
        assert "Traceback" not in process.err
    wait_until(lambda: not info_file.exists(), "the connection info is removed", 0)
    (signed_by,) = signing_key_ids(response.json["token"], published)
    return info | {"signed by": signed_by}
