"""The actions of the watch page, with a key pair of the page's own as in `ivs serve`."""

from __future__ import annotations

from tests.local_ivs.watch.watch_site import WatchSite
from tokensvc.tokens.validation import RULES


def rules_of(site: WatchSite, arn: str, token: str, origin: str = "https://app.example.com") -> dict[str, str]:
    """Rule -> result, of a start that is about to happen."""
    response = site.act("explanations", {"channelArn": arn, "token": token, "origin": origin})
    assert response.status == 200, response
    return {rule["rule"]: rule["result"] for rule in response.json["rules"]}


def test_the_overview_shows_channels_streams_and_key_pairs(site: WatchSite) -> None:
    arn = site.create_channel("shown")
    token = site.token(arn)["token"]
    shown = site.read(channelArn=arn)
    [channel] = [found for found in shown["channels"] if found["arn"] == arn]
    assert (channel["name"], channel["authorized"], channel["region"]) == ("shown", True, "us-west-2")
    assert channel["stream"]["viewerCount"] == 0
    assert [pair["name"] for pair in shown["keyPairs"]] == ["watch-page"]
    playlist = site.playlist(arn, token)
    session_id = playlist.body.decode().partition('VIDEO-SESSION-ID",VALUE="')[2].partition('"')[0]
    shown = site.read(session_id, channelArn=arn)
    [channel] = [found for found in shown["channels"] if found["arn"] == arn]
    assert channel["stream"]["viewerCount"] == 1
    assert shown["session"]["isActive"]
    assert site.read("none")["session"] is None


def test_a_session_id_in_the_url_is_ignored(site: WatchSite) -> None:
    """URLs are written to logs, and anyone who has the id can play the session's media."""
    arn = site.create_channel()
    playlist = site.playlist(arn, site.token(arn)["token"])
    session_id = playlist.body.decode().partition('VIDEO-SESSION-ID",VALUE="')[2].partition('"')[0]
    assert site.read(session_id)["session"]["isActive"]
    assert "session" not in site.read(sessionId=session_id)


def test_a_channel_goes_off_air_and_on_again(site: WatchSite) -> None:
    arn = site.create_channel()
    token = site.token(arn)["token"]
    assert site.playlist(arn, token).status == 200
    assert site.act("streams", {"channelArn": arn, "live": False}).status == 200
    assert site.playlist(arn, token).status == 404
    assert site.act("streams", {"channelArn": arn, "live": True}).status == 201
    assert site.playlist(arn, token).status == 200


def test_a_token_has_every_field_of_the_request(site: WatchSite) -> None:
    arn = site.create_channel()
    response = site.token(
        arn,
        ttlSeconds=60,
        allowedOrigins=["https://app.example.com"],
        strictOriginEnforcement=True,
        singleUse=True,
        maximumResolution="HD",
        ads={"optOut": True, "reportingMode": "SERVER", "playerParams": {"a": "b"}},
    )
    assert response["viewerId"] == "ada"
    results = rules_of(site, arn, response["token"])
    assert [rule for rule, result in results.items() if result != "pass"] == ["not-yet", "country"]
    assert rules_of(site, arn, response["token"], "https://other.example.com")["strict-origin"] == "fail"
    assert rules_of(site, arn, response["token"], "")["strict-origin"] == "fail"


def test_bad_fields_of_a_token_request_are_named_as_by_the_service(site: WatchSite) -> None:
    response = site.act("tokens", {"channelArn": site.create_channel(), "ttlSeconds": "x", "viewerId": ""})
    assert (response.status, response.json["code"]) == (422, "invalid_request")
    assert {error["field"] for error in response.json["errors"]} == {"ttlSeconds", "viewerId"}


def test_a_token_for_a_channel_that_does_not_exist_is_refused(site: WatchSite) -> None:
    missing = "arn:aws:ivs:us-west-2:000000000000:channel/missing"
    response = site.act("tokens", {"channelArn": missing, "viewerId": "ada"})
    assert (response.status, response.json["code"]) == (404, "channel_not_found")
    response = site.act("explanations", {"channelArn": missing, "token": "", "origin": ""})
    assert (response.status, response.json["code"]) == (404, "channel_not_found")


def test_a_token_is_explained_as_the_edge_validates_it_rule_by_rule(site: WatchSite) -> None:
    arn = site.create_channel()
    token = site.token(arn, singleUse=True)["token"]
    results = rules_of(site, arn, token)
    assert list(results) == [*(name for name, _ in RULES), "country"]
    assert "fail" not in results.values()
    assert site.playlist(arn, token).status == 200
    assert rules_of(site, arn, token)["single-use"] == "fail"
    response = site.act("explanations", {"channelArn": arn, "token": token, "origin": ""})
    assert (response.json["deniedBy"], response.json["outcome"]) == ("single-use", "deny")
    assert site.playlist(arn, token).json[0]["error"] == "token has already been used"


def test_explaining_a_token_spends_nothing(site: WatchSite) -> None:
    arn = site.create_channel()
    token = site.token(arn, singleUse=True)["token"]
    for _ in range(3):
        assert rules_of(site, arn, token)["single-use"] == "pass"
    assert site.playlist(arn, token).status == 200


def test_a_tampered_token_fails_the_signature(site: WatchSite) -> None:
    arn = site.create_channel()
    token = site.token(arn)["token"]
    changed = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
    assert rules_of(site, arn, changed)["signature"] == "fail"
    assert site.playlist(arn, changed).status == 403


def test_a_public_channel_needs_no_token(site: WatchSite) -> None:
    arn = site.create_channel("open", authorized=False)
    assert site.act("explanations", {"channelArn": arn, "token": "", "origin": ""}).json == {"isPublic": True}


def test_a_revocation_ends_older_tokens_and_not_the_next_one(site: WatchSite) -> None:
    arn = site.create_channel()
    older = site.token(arn)["token"]
    assert site.act("revocations", {"channelArn": arn, "viewerId": "ada"}).status == 202
    assert rules_of(site, arn, older)["revoked"] == "fail"
    assert site.playlist(arn, older).status == 403
    newer = site.token(arn)["token"]
    assert rules_of(site, arn, newer)["revoked"] == "pass"
    assert site.playlist(arn, newer).status == 200


def test_after_a_rotation_another_key_signs_and_the_previous_tokens_still_play(site: WatchSite) -> None:
    arn = site.create_channel()
    first = site.token(arn)["token"]
    before = {pair["fingerprint"] for pair in site.read(channelArn=arn)["keyPairs"]}
    assert site.act("rotations", {"channelArn": arn}).json["done"]
    after = {pair["fingerprint"] for pair in site.read(channelArn=arn)["keyPairs"]}
    assert len(after) == 2
    assert after - before
    second = site.token(arn)["token"]
    assert site.playlist(arn, first).status == site.playlist(arn, second).status == 200
    assert site.act("rotations", {"channelArn": arn}).json["done"]
    assert site.playlist(arn, first).status == 403
    assert site.playlist(arn, second).status == 200


def test_a_channel_with_an_ad_configuration_takes_ad_breaks(site: WatchSite) -> None:
    response = site.act("channels", {"name": "with-ads", "ads": True})
    arn = response.json["arn"]
    [channel] = [found for found in site.read()["channels"] if found["arn"] == arn]
    assert channel["hasAdConfiguration"]
    assert site.act("ad-breaks", {"channelArn": arn, "durationSeconds": 10}).status == 200
    overlapping = site.act("ad-breaks", {"channelArn": arn, "durationSeconds": 10})
    assert (overlapping.status, overlapping.json["code"]) == (409, "ConflictException")


def test_the_channels_on_air_are_listed_first(site: WatchSite) -> None:
    off_air = site.create_channel("a-first-by-name")
    site.act("streams", {"channelArn": off_air, "live": False})
    on_air = site.create_channel("z-last-by-name")
    listed = [channel["arn"] for channel in site.read()["channels"]]
    assert listed.index(on_air) < listed.index(off_air)
