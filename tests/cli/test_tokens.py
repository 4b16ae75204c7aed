"""`tokensvc tokens explain`: anybody's token, rule by rule."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.cli.terminal import Terminal
from tests.minting import CHANNEL, HEADER, OTHER_CHANNEL, seal
from tokensvc.core.keypair import PrivateKey, generate, public_pem
from tokensvc.core.playback import RULES


@pytest.fixture
def public(private_key: PrivateKey, tmp_path: Path) -> str:
    path = tmp_path / "public.pem"
    path.write_text(public_pem(private_key.public_key()))
    return str(path)


def minted(key: PrivateKey, **claims: Any) -> str:
    """A token that is valid now, but for these claims."""
    return seal(key, HEADER, {"aws:channel-arn": str(CHANNEL), "exp": int(time.time()) + 300} | claims)


def findings(said: Any) -> dict[str, str]:
    return {finding["rule"]: finding["result"] for finding in said["rules"]}


def test_a_good_token_is_admitted(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    token = minted(private_key)
    options = ("--channel", str(CHANNEL), "--public-key", public, "--json")
    said = bare("tokens", "explain", token, *options).json
    assert (said["outcome"], said["refusedBy"]) == ("admitted", None)
    assert list(findings(said)) == [name for name, _ in RULES]
    assert set(findings(said).values()) == {"pass", "not_applicable"}
    words = bare("tokens", "explain", "-", *options[:-1], stdin=token + "\n").out
    assert words.splitlines()[-1] == "admitted: the player is let in"
    assert token not in words


def test_without_the_public_half_only_ivs_can_tell(bare: Terminal, private_key: PrivateKey) -> None:
    said = bare("tokens", "explain", minted(private_key), "--json").json
    assert (said["outcome"], findings(said)["signature"]) == ("undecided", "unknown")


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"exp": 1}, "expiry"),
        ({"exp": int(time.time() * 1000) + 60_000, "aws:viewer-id": "ada"}, "ten-minutes"),
        (
            {"exp": int(time.time()) + 3600, "aws:single-use-uuid": "0c7a3f4e-6f1c-4a5e-9b8c-0123456789ab"},
            "ten-minutes",
        ),
        ({"exp": "soon"}, "expiry"),
        ({"aws:channel-arn": str(OTHER_CHANNEL)}, "channel"),
        ({"aws:viewer-id": "v" * 41}, "viewer"),
        ({"aws:access-control-allow-origin": "https://a.example/path"}, "origins"),
        ({"iat": int(time.time()) + 86_400}, "not-yet"),
    ],
)
def test_a_bad_token_is_refused_by_the_rule_s_name(
    bare: Terminal, private_key: PrivateKey, public: str, claims: dict[str, Any], rule: str
) -> None:
    token = minted(private_key, **claims)
    said = bare("tokens", "explain", token, "--channel", str(CHANNEL), "--public-key", public, "--json", code=4).json
    assert (said["outcome"], said["refusedBy"]) == ("refused", rule)


def test_a_stranger_s_token_is_told_all_that_is_wrong(bare: Terminal, private_key: PrivateKey) -> None:
    """HS256, an invented claim, milliseconds: three of what public signers do."""
    claims = {"channel": str(CHANNEL), "aws:viewer-id": "ada", "exp": int(time.time() * 1000) + 60_000}
    said = bare("tokens", "explain", jwt.encode(claims, "s" * 32, algorithm="HS256"), "--json", code=4).json
    assert said["refusedBy"] == "algorithm"
    failed = [rule for rule, result in findings(said).items() if result == "fail"]
    assert failed == ["algorithm", "channel", "ten-minutes"]


def test_another_key_or_a_changed_byte_is_refused_by_the_signature(
    bare: Terminal, private_key: PrivateKey, public: str
) -> None:
    foreign = minted(generate())
    assert bare("tokens", "explain", foreign, "--public-key", public, "--json", code=4).json["refusedBy"] == "signature"
    token = minted(private_key)
    changed = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    assert bare("tokens", "explain", changed, "--public-key", public, "--json", code=4).json["refusedBy"] == "signature"


def test_whether_a_viewer_was_revoked_is_left_open(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    """Only IVS knows; nothing else stands against the token."""
    token = minted(private_key, **{"aws:viewer-id": "ada"})
    said = bare("tokens", "explain", token, "--channel", str(CHANNEL), "--public-key", public, "--json").json
    assert (said["outcome"], findings(said)["revoked"]) == ("undecided", "unknown")


def test_the_player_s_origin_counts(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    strict = {"aws:access-control-allow-origin": "https://*.example.com", "aws:strict-origin-enforcement": True}
    explain = ("tokens", "explain", minted(private_key, **strict), "--public-key", public, "--json")
    assert bare(*explain, "--origin", "https://app.example.com").json["outcome"] == "admitted"
    assert bare(*explain).json["outcome"] == "undecided"
    for origin in ("", "https://example.org"):
        assert bare(*explain, "--origin", origin, code=4).json["refusedBy"] == "strict-origin"


@pytest.mark.parametrize("nonsense", ["x", "a.b.c", "....", "", "🙂", "x" * 3000])
def test_nonsense_is_refused_and_not_repeated(bare: Terminal, nonsense: str) -> None:
    said = bare("tokens", "explain", nonsense, code=4)
    assert "Traceback" not in said.err
    assert "refused: " in said.out


def test_wrong_use_names_the_option(bare: Terminal, tmp_path: Path) -> None:
    assert "--channel" in bare("tokens", "explain", "x", "--channel", "my-channel", code=2).err
    assert "--public-key" in bare("tokens", "explain", "x", "--public-key", str(tmp_path / "absent"), code=2).err
    (tmp_path / "private.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
    said = bare("tokens", "explain", "x", "--public-key", str(tmp_path / "private.pem"), "--json", code=1)
    assert said.error["code"] == "invalid_key"
