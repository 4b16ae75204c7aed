"""The main use case with independent tools: boto3 creates the channel, PyJWT and openssl verify, a player plays it."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.support.deployment import Deployment, Service, local_ivs
from tests.support.http_client import Client, Response, fetch
from tests.support.processes import run, wait_until
from tests.support.published_keys import signing_key_ids

ERROR_CODE = "invalid_playback_auth_token"


def assert_denied(response: Response, message: str, code: str = ERROR_CODE) -> None:
    """IVS's own 403: an array with one object."""
    assert response.status == 403, response.body
    (found,) = response.json
    assert found.keys() == {"url", "error", "error_code", "type"}
    assert (found["error"], found["error_code"], found["type"]) == (message, code, "error")
    assert "token" not in found["url"]


def assert_allowed(response: Response) -> None:
    assert response.status == 200, response.body
    assert response.body.startswith(b"#EXTM3U\n")


@pytest.fixture(scope="module")
def boto(deployment: Deployment) -> Iterator[Any]:
    client = deployment.ivs.client(deployment.access_key)
    yield client
    client.close()


def test_boto3_creates_tags_and_lists_a_private_channel_and_its_tokens_play(
    boto: Any, deployment: Deployment, caller: Client
) -> None:
    channel = boto.create_channel(name="opened", authorized=True, tags={"made": "by-boto3"})["channel"]
    boto.tag_resource(resourceArn=channel["arn"], tags={"season": "2"})
    assert boto.list_tags_for_resource(resourceArn=channel["arn"])["tags"] == {"made": "by-boto3", "season": "2"}
    listed = {c["arn"]: c for page in boto.get_paginator("list_channels").paginate() for c in page["channels"]}
    assert listed[channel["arn"]]["authorized"] is True
    active_key = _signing_key(deployment)
    pairs = {pair["arn"]: pair for pair in boto.list_playback_key_pairs()["keyPairs"]}
    pair = pairs[active_key["placements"][0]["arn"]]
    assert pair["tags"]["tokensvc:key"] == active_key["id"]
    assert boto.get_playback_key_pair(arn=pair["arn"])["keyPair"]["fingerprint"] == active_key["fingerprint"]

    deployment.ivs.start_stream(channel["arn"])
    response = caller.token(channelArn=channel["arn"], viewerId="ada")
    assert response["playbackUrl"] == f"{channel['playbackUrl']}?token={response['token']}"
    assert_allowed(fetch(response["playbackUrl"]))


def test_the_response_states_the_expiry_and_the_viewer(caller: Client, channel: Any) -> None:
    now = int(time.time())
    response = caller.token(channelArn=channel["arn"], viewerId="ada", ttlSeconds=600, strictOriginEnforcement=True)
    after = int(time.time())
    claims = jwt.decode(response["token"], options={"verify_signature": False})
    assert now + 590 <= claims["exp"] <= after + 590, "not ten minutes (the limit of IVS) less the allowance"
    assert claims["aws:viewer-session-version"] == response["viewerSessionVersion"]
    assert (response["viewerId"], response["requiresOriginHeader"]) == ("ada", True)
    expires_at = time.strptime(response["expiresAt"], "%Y-%m-%dT%H:%M:%SZ")
    refresh_after = time.strptime(response["refreshAfter"], "%Y-%m-%dT%H:%M:%SZ")
    assert time.gmtime(claims["exp"])[:6] == expires_at[:6]
    assert time.gmtime(now)[:6] <= refresh_after[:6] < expires_at[:6]


def test_a_missing_or_tampered_token_gets_the_403_of_ivs(caller: Client, channel: Any) -> None:
    url, token = channel["playbackUrl"], caller.token(channelArn=channel["arn"], viewerId="ada")["token"]
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    other = base64.urlsafe_b64encode(json.dumps(claims | {"aws:viewer-id": "eve"}).encode()).rstrip(b"=").decode()
    flipped = ("B" if signature[0] != "B" else "C") + signature[1:]
    assert_denied(fetch(url), "token contains an invalid number of segments")
    assert_denied(fetch(f"{url}?token="), "token contains an invalid number of segments")
    assert_denied(fetch(f"{url}?token={header}.{payload}"), "token contains an invalid number of segments")
    assert_denied(fetch(f"{url}?token={header}.{other}.{signature}"), "signature is invalid")
    assert_denied(fetch(f"{url}?token={header}.{payload}.{flipped}"), "signature is invalid")
    assert_allowed(fetch(f"{url}?token={token}"))


def test_a_token_plays_no_other_channel(caller: Client, deployment: Deployment, channel: Any) -> None:
    other = deployment.new_channel(name="other")
    token = caller.token(channelArn=channel["arn"], viewerId="ada")["token"]
    assert_denied(fetch(f"{other['playbackUrl']}?token={token}"), "token is not for this channel")


def test_a_single_use_token_is_spent_by_the_first_playback(caller: Client, channel: Any) -> None:
    url = caller.token(channelArn=channel["arn"], viewerId="ada", singleUse=True)["playbackUrl"]
    assert_allowed(fetch(url))
    assert_denied(fetch(url), "token has already been used", "playback_auth_error")


def test_strict_origins_apply_to_every_player(caller: Client, channel: Any) -> None:
    response = caller.token(
        channelArn=channel["arn"],
        viewerId="ada",
        allowedOrigins=["https://*.example.com"],
        strictOriginEnforcement=True,
    )
    url = response["playbackUrl"]
    assert_denied(fetch(url), "origin required")
    assert_denied(fetch(url, {"origin": "https://app.example.org"}), "origin is not allowed")
    assert_allowed(fetch(url, {"origin": "https://app.example.com"}))


def test_pyjwt_verifies_with_the_published_keys(service: Service, caller: Client, channel: Any) -> None:
    token = caller.token(channelArn=channel["arn"], subject="jane@example.com")["token"]
    [published] = jwt.PyJWKSet.from_dict(caller.get("/.well-known/jwks.json").json).keys
    assert jwt.get_unverified_header(token) == {"alg": "ES384", "typ": "JWT"}
    claims = jwt.decode(token, published.key, algorithms=["ES384"], options={"require": ["exp"]})
    assert claims["aws:channel-arn"] == channel["arn"]
    assert len(claims["aws:viewer-id"]) == 40
    assert "jane" not in claims["aws:viewer-id"]
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token[:-4] + "AAAA", published.key, algorithms=["ES384"])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: make system-packages")
def test_openssl_verifies_the_raw_signature(
    caller: Client, deployment: Deployment, channel: Any, tmp_path: Path
) -> None:
    token = caller.token(channelArn=channel["arn"], viewerId="ada")["token"]
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature)
    assert len(raw) == 96
    der = encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))
    (tmp_path / "public.pem").write_text(deployment.run("keys", "public", _signing_key(deployment)["id"]).out)
    (tmp_path / "signature").write_bytes(der)
    verify = ["openssl", "dgst", "-sha384", "-verify", "public.pem", "-signature", "signature"]
    assert run(verify, tmp_path, deployment.environ, stdin=signed).out == "Verified OK\n"
    assert "failure" in run(verify, tmp_path, deployment.environ, stdin=signed + "x", code=1).out


@pytest.mark.long
def test_rotation_deletion_and_expiry_take_effect(tmp_path: Path) -> None:
    """On a separate IVS, because keys change and its clock is advanced."""
    with local_ivs(tmp_path) as ivs:
        deployment = Deployment(ivs, tmp_path)
        key, channel, boto = deployment.set_up(), deployment.new_channel(), ivs.client(deployment.access_key)
        with deployment.serve() as service, service.client(key) as caller:
            old = caller.token(channelArn=channel["arn"], viewerId="ada")["playbackUrl"]
            first = deployment.run("keys", "list", "--json").json["keys"][0]["placements"][0]["arn"]
            deployment.run("keys", "rotate")
            published = wait_until(lambda: _published(caller, 2), "the worker publishes both keys", 10)
            (second,) = {pair["arn"] for pair in boto.list_playback_key_pairs()["keyPairs"]} - {first}
            fields = {"channelArn": channel["arn"], "viewerId": "ada"}
            # the worker may read the import and the activation in separate refreshes
            new = wait_until(lambda: _url_signed_by_new_key(caller, fields, old, published), "the new key signs", 10)
            assert_allowed(fetch(old))
            assert_allowed(fetch(new))

            boto.delete_playback_key_pair(arn=first)
            assert_denied(fetch(old), "signature is invalid")
            assert_allowed(fetch(new))

            with Client(ivs.management_url) as management:
                assert management.request("POST", "/clock", '{"advanceSeconds": 250}').status == 200
                assert_allowed(fetch(new))
                assert management.request("POST", "/clock", '{"advanceSeconds": 51}').status == 200
            assert_denied(fetch(new), "token is expired")
            assert boto.get_playback_key_pair(arn=second)["keyPair"]["tags"]["tokensvc:key"]
        boto.close()


def _signing_key(deployment: Deployment) -> Any:
    """The active key, as `keys list` shows it: another test of this run may have rotated it."""
    keys = deployment.run("keys", "list", "--json").json["keys"]
    (active,) = (key for key in keys if key["placements"][0]["state"] == "active")
    return active


def _published(caller: Client, count: int) -> list[Any]:
    keys = jwt.PyJWKSet.from_dict(caller.get("/.well-known/jwks.json").json).keys
    return keys if len(keys) == count else []


def _url_signed_by_new_key(caller: Client, fields: dict[str, Any], old: str, keys: list[Any]) -> str:
    """A fresh playback URL whose token was signed by a new key; "" while there is none."""
    fresh: str = caller.token(**fields)["playbackUrl"]
    return fresh if _signer(fresh, keys) != _signer(old, keys) else ""


def _signer(url: str, keys: list[Any]) -> str:
    """The published key that verifies the token in this URL."""
    (found,) = signing_key_ids(url.partition("?token=")[2], keys)
    return found
