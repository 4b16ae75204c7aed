"""`tokensvc ivs serve`."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import boto3
import pytest

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
    [("--access-key", "a:b:12"), ("--port", "99999")],
)
def test_invalid_options_are_named(tmp_path: Path, option: str, value: str) -> None:
    command = [TOKENSVC, "ivs", "serve", "--memory", "--port", "0", option, value]
    result = run(command, tmp_path, environment(tmp_path / "home"), code=2)
    assert option in result.err
    assert "Traceback" not in result.err
