"""`tokensvc tokens explain`: validates any issuer's token, rule by rule."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cli.terminal import Terminal
from tests.support.tokens import CHANNEL, HEADER, OTHER_CHANNEL, encode_token
from tokensvc.jose.keypair import PrivateKey, generate, public_pem
from tokensvc.tokens.validation import RULES


@pytest.fixture
def public(private_key: PrivateKey, tmp_path: Path) -> str:
    path = tmp_path / "public.pem"
    path.write_text(public_pem(private_key.public_key()))
    return str(path)


def minted(key: PrivateKey, **claims: Any) -> str:
    """A token that is valid now, except for the given claims."""
    return encode_token(key, HEADER, {"aws:channel-arn": str(CHANNEL), "exp": int(time.time()) + 300} | claims)


def findings(result: Any) -> dict[str, str]:
    return {finding["rule"]: finding["result"] for finding in result["rules"]}


def test_a_valid_token_is_allowed(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    token = minted(private_key)
    options = ("--channel", str(CHANNEL), "--public-key", public, "--json")
    result = bare("tokens", "explain", token, *options).json
    assert (result["outcome"], result["deniedBy"]) == ("allow", None)
    assert list(findings(result)) == [*(name for name, _ in RULES), "country"]
    assert set(findings(result).values()) == {"pass", "not_applicable"}
    words = bare("tokens", "explain", "-", *options[:-1], stdin=token + "\n").out
    assert words.splitlines()[-1] == "allow: playback is allowed"
    assert token not in words


def test_the_outcome_is_indeterminate_without_a_public_key(bare: Terminal, private_key: PrivateKey) -> None:
    result = bare("tokens", "explain", minted(private_key), "--json").json
    assert (result["outcome"], findings(result)["signature"]) == ("indeterminate", "unknown")


@pytest.mark.parametrize(
    ("claims", "rule"),
    [
        ({"exp": 1}, "expiry"),
        ({"exp": int(time.time() * 1000) + 60_000}, "expiry"),
        ({"exp": int(time.time() * 1000) + 60_000, "aws:viewer-id": "ada"}, "expiry"),
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
def test_an_invalid_token_is_denied_by_the_name_of_the_rule(
    bare: Terminal, private_key: PrivateKey, public: str, claims: dict[str, Any], rule: str
) -> None:
    token = minted(private_key, **claims)
    result = bare("tokens", "explain", token, "--channel", str(CHANNEL), "--public-key", public, "--json", code=4).json
    assert (result["outcome"], result["deniedBy"]) == ("deny", rule)


def test_every_mistake_of_another_issuer_s_token_is_reported(bare: Terminal, private_key: PrivateKey) -> None:
    """HS256, an invented claim and milliseconds: three mistakes seen in public token signers."""
    claims = {"channel": str(CHANNEL), "aws:viewer-id": "ada", "exp": int(time.time() * 1000) + 60_000}
    result = bare("tokens", "explain", jwt.encode(claims, "s" * 32, algorithm="HS256"), "--json", code=4).json
    assert result["deniedBy"] == "algorithm"
    failed = [rule for rule, result in findings(result).items() if result == "fail"]
    assert failed == ["algorithm", "channel", "expiry", "ten-minutes"]


def test_another_key_or_a_changed_byte_is_denied_by_the_signature_rule(
    bare: Terminal, private_key: PrivateKey, public: str
) -> None:
    foreign = minted(generate())
    assert bare("tokens", "explain", foreign, "--public-key", public, "--json", code=4).json["deniedBy"] == "signature"
    token = minted(private_key)
    changed = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    assert bare("tokens", "explain", changed, "--public-key", public, "--json", code=4).json["deniedBy"] == "signature"


def test_a_token_with_a_viewer_is_allowed_unless_revoked(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    """Only IVS knows of revocations; every other rule passes."""
    token = minted(private_key, **{"aws:viewer-id": "ada"})
    explain = ("tokens", "explain", token, "--channel", str(CHANNEL), "--public-key", public)
    result = bare(*explain, "--json").json
    assert (result["outcome"], result["unless"], findings(result)["revoked"]) == ("conditional", ["revoked"], "unknown")
    assert bare(*explain).out.splitlines()[-1].startswith("allowed unless revoked: ")


def test_the_outcome_is_indeterminate_while_facts_can_be_supplied(bare: Terminal, private_key: PrivateKey) -> None:
    result = bare("tokens", "explain", minted(private_key, **{"aws:viewer-id": "ada"}), "--json").json
    assert (result["outcome"], result["unless"]) == ("indeterminate", [])


def test_an_unsigned_token_is_reported_as_such(bare: Terminal) -> None:
    token = jwt.encode({"aws:channel-arn": str(CHANNEL), "exp": int(time.time()) + 300}, "", algorithm="none")
    result = bare("tokens", "explain", token, "--json", code=4).json
    assert (result["deniedBy"], "alg is none" in result["message"]) == ("algorithm", True)


def test_an_expiry_in_milliseconds_is_reported_as_such(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    token = minted(private_key, exp=int(time.time() * 1000) + 60_000)
    result = bare("tokens", "explain", token, "--public-key", public, "--json", code=4).json
    assert (result["deniedBy"], result["reason"]) == ("expiry", "milliseconds")
    assert "milliseconds" in result["message"]


@pytest.mark.parametrize("query", ["?token={}", "?allow_audio_only=true&token={}&x=y#t=1", "?%74oken={}"])
def test_the_token_is_extracted_from_a_playback_url(
    bare: Terminal, private_key: PrivateKey, public: str, query: str
) -> None:
    url = "https://0123456789ab.us-east-1.playback.live-video.net" + CHANNEL.playback_path
    pasted = url + query.format(minted(private_key))
    result = bare("tokens", "explain", pasted, "--public-key", public, "--json").json
    assert (result["outcome"], findings(result)["channel"]) == ("allow", "pass")
    other = "https://x.example" + OTHER_CHANNEL.playback_path + query.format(minted(private_key))
    assert bare("tokens", "explain", "-", "--public-key", public, "--json", stdin=f" {other}\n", code=4).json[
        "deniedBy"
    ] == ("channel"), "the URL says which channel is played"
    assert bare("tokens", "explain", other, "--channel", str(CHANNEL), "--public-key", public)


def test_a_url_with_no_token_or_two_is_rejected(bare: Terminal, private_key: PrivateKey) -> None:
    url = f"https://x.example{CHANNEL.playback_path}"
    result = bare("tokens", "explain", url, "--json", code=4).json
    assert (result["deniedBy"], result["message"]) == ("segments", "the token is empty")
    token = minted(private_key)
    rejected = bare("tokens", "explain", f"{url}?token={token}&token={token}", code=2)
    assert "2 token parameters" in rejected.err
    assert token not in rejected.err


def imported(terminal: Terminal, key: PrivateKey) -> str:
    """Import a key into the deployment; returns its id. The test keeps the private key."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return str(terminal("keys", "import", "-", "--json", stdin=pem).json["id"])


def own_channel(terminal: Terminal, region: str = "us-east-1") -> str:
    account = 200_000_000_000 + int(terminal.environ["AWS_ACCESS_KEY_ID"].removeprefix("account"))
    return f"arn:aws:ivs:{region}:{account}:channel/AbCdEf123456"


@pytest.mark.slow
def test_a_token_of_this_deployment_is_validated_with_the_stored_keys(
    terminal: Terminal, private_key: PrivateKey
) -> None:
    key_id = imported(terminal, private_key)
    token = minted(private_key, **{"aws:channel-arn": own_channel(terminal)})
    result = terminal("tokens", "explain", token, "--json").json
    assert (result["outcome"], result["signedBy"], findings(result)["signature"]) == ("allow", key_id, "pass")
    assert key_id in terminal("tokens", "explain", token).out
    changed = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    result = terminal("tokens", "explain", changed, "--json").json
    assert (result["outcome"], result["signedBy"]) == ("indeterminate", None), "IVS may hold key pairs of others"


@pytest.mark.slow
def test_a_token_of_a_deleted_key_is_denied(terminal: Terminal, private_key: PrivateKey) -> None:
    key_id = imported(terminal, private_key)
    token = minted(private_key, **{"aws:channel-arn": own_channel(terminal)})
    elsewhere = minted(private_key, **{"aws:channel-arn": own_channel(terminal, "eu-west-1")})
    result = terminal("tokens", "explain", elsewhere, "--json").json
    assert (result["outcome"], result["signedBy"]) == ("indeterminate", key_id)
    assert "eu-west-1" in result["message"]
    terminal("keys", "retire", key_id, "--yes")
    result = terminal("tokens", "explain", token, "--json", code=4).json
    assert (result["deniedBy"], result["signedBy"]) == ("signature", key_id)
    assert "no longer in IVS" in result["message"]


def test_a_token_is_validated_without_a_usable_store(
    bare: Terminal, terminal: Terminal, private_key: PrivateKey
) -> None:
    token = minted(private_key)
    for result in (
        bare("tokens", "explain", token, "--json", without="TOKENSVC_DATABASE_URL"),
        bare("tokens", "explain", token, "--json", DATABASE_URL="sqlite:////nowhere/store.db"),
        bare("tokens", "explain", token, "--json", NO_SUCH_SETTING="x"),
    ):
        assert result.json["outcome"] == "indeterminate"
    assert "The store's keys are not used" in result.err
    assert bare("tokens", "explain", token, "--json", without="TOKENSVC_DATABASE_URL").err == ""


def test_the_player_s_origin_is_validated(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    strict = {"aws:access-control-allow-origin": "https://*.example.com", "aws:strict-origin-enforcement": True}
    explain = ("tokens", "explain", minted(private_key, **strict), "--public-key", public, "--json")
    assert bare(*explain, "--origin", "https://app.example.com").json["outcome"] == "allow"
    assert bare(*explain).json["outcome"] == "indeterminate"
    for origin in ("", "https://example.org"):
        assert bare(*explain, "--origin", origin, code=4).json["deniedBy"] == "strict-origin"


@pytest.mark.parametrize("nonsense", ["x", "a.b.c", "....", "", "🙂", "x" * 3000])
def test_nonsense_is_denied_and_never_echoed(bare: Terminal, nonsense: str) -> None:
    result = bare("tokens", "explain", nonsense, code=4)
    assert "Traceback" not in result.err
    assert "deny: " in result.out


def test_wrong_use_names_the_option(bare: Terminal, tmp_path: Path) -> None:
    assert "--channel" in bare("tokens", "explain", "x", "--channel", "my-channel", code=2).err
    assert "--public-key" in bare("tokens", "explain", "x", "--public-key", str(tmp_path / "absent"), code=2).err
    (tmp_path / "private.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
    result = bare("tokens", "explain", "x", "--public-key", str(tmp_path / "private.pem"), "--json", code=1)
    assert result.error["code"] == "invalid_key"


def test_the_time_and_the_country_are_facts_that_can_be_given(
    bare: Terminal, private_key: PrivateKey, public: str
) -> None:
    explain = ("tokens", "explain", minted(private_key, exp=1_795_255_500), "--public-key", public, "--json")
    assert bare(*explain, "--at", "2026-11-21T10:00:00Z").json["outcome"] == "allow"
    assert bare(*explain, "--at", "2026-11-21T10:05:00Z", code=4).json["deniedBy"] == "expiry"
    result = bare(*explain, "--at", "2026-11-21T10:00:00Z", "--country", "DE").json
    assert (result["outcome"], findings(result)["country"]) == ("conditional", "unknown")
    for option, value in (("--at", "yesterday"), ("--country", "Germany")):
        assert f"{option}: must" in bare(*explain[:3], option, value, code=2).err


def test_what_to_change_is_said_for_each_finding(bare: Terminal, private_key: PrivateKey, public: str) -> None:
    token = minted(private_key, exp=int(time.time() * 1000) + 60_000, sub="ada")
    lines = bare("tokens", "explain", token, "--public-key", public, code=4).out.splitlines()
    start = lines.index("What to change:")
    assert [line.split(":")[0].strip() for line in lines[start + 1 : -2]] == ["expiry", "viewer"]
    assert "What to change:" not in bare("tokens", "explain", minted(private_key), "--public-key", public).out


@pytest.mark.slow
def test_the_viewers_that_the_deployment_denies_or_revoked_are_denied(
    terminal: Terminal, private_key: PrivateKey
) -> None:
    imported(terminal, private_key)
    channel = own_channel(terminal)
    claims = {"aws:channel-arn": channel, "aws:viewer-session-version": int(time.time())}
    for viewer, command, reason in (
        ("ada", ("denials", "add", "--channel", channel, "--deny-for", "60"), "viewer_denied"),
        ("bob", ("denials", "add", "--all-channels", "--deny-for", "60"), "viewer_denied"),
        ("eve", ("revocations", "add", "--channel", channel), ""),
    ):
        token = minted(private_key, **claims, **{"aws:viewer-id": viewer})
        result = terminal("tokens", "explain", token, "--json").json
        assert (result["outcome"], findings(result)["revoked"]) == ("allow", "pass")
        terminal(*command, "--viewer", viewer)
        result = terminal("tokens", "explain", token, "--json", code=4).json
        assert (result["deniedBy"], result["reason"]) == ("revoked", reason)


def test_only_the_viewers_of_own_channels_are_judged(terminal: Terminal, private_key: PrivateKey, public: str) -> None:
    token = minted(private_key, **{"aws:viewer-id": "ada"})
    assert findings(terminal("tokens", "explain", token, "--json").json)["revoked"] == "unknown"


def test_a_private_key_is_refused_and_never_repeated(bare: Terminal, private_key: PrivateKey) -> None:
    """Not in a message about an option that does not exist either: a PEM begins with dashes."""
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for arguments, stdin, named in (
        (("-",), pem, "TOKEN: contains"),
        (("--", pem), "", "TOKEN: contains"),
        (("x", "--origin", pem), "", "--origin: contains"),
        ((pem,), "", "An argument contains"),
        (("x", pem.replace("\n", "")), "", "An argument contains"),
    ):
        result = bare("tokens", "explain", *arguments, stdin=stdin, code=2)
        assert f"{named} a private key" in result.err
        assert not any(line in result.out + result.err for line in pem.splitlines())
