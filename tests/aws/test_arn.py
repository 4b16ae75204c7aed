"""ARNs and playback paths are parsed and formatted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokensvc.aws.arn import AccountRegion, Arn, channel_of_path, parse_arn

REGIONS = st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True)
ACCOUNTS = st.from_regex(r"[0-9]{12}", fullmatch=True)
IDS = st.from_regex(r"[a-zA-Z0-9-]{1,40}", fullmatch=True)
ARNS = st.builds(Arn, st.builds(AccountRegion, ACCOUNTS, REGIONS), st.sampled_from(["channel", "playback-key"]), IDS)


@pytest.mark.slow
@given(ARNS)
def test_a_formatted_arn_is_parsed_back(arn: Arn) -> None:
    assert parse_arn(str(arn)) == arn
    assert parse_arn(str(arn), arn.kind) == arn


@pytest.mark.slow
@given(ARNS)
def test_a_playback_path_is_parsed_back_to_its_channel(arn: Arn) -> None:
    assert channel_of_path(arn._replace(kind="channel").playback_path) == arn._replace(kind="channel")


def test_the_playback_path_has_the_documented_form() -> None:
    arn = parse_arn("arn:aws:ivs:us-west-2:123456789012:channel/AbC", "channel")
    assert arn.playback_path == "/api/video/v1/us-west-2.123456789012.channel.AbC.m3u8"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn:aws:ivs:us-east-1:123456789012:channel/",
        "arn:aws:ivs:us-east-1:12345678901:channel/a",
        "arn:aws:ivs:us-east-1:1234567890123:channel/a",
        "arn:aws:ivs:us-east-1:١٢٣٤٥٦٧٨٩٠١٢:channel/a",
        "arn:aws-cn:ivs:us-east-1:123456789012:channel/a",
        "arn:aws:s3:us-east-1:123456789012:channel/a",
        "arn:aws:ivs:us-east-1:123456789012:channel/a\n",
        " arn:aws:ivs:us-east-1:123456789012:channel/a",
        "arn:aws:ivs:us-east-1:123456789012:channel/a/b",
        "arn:aws:ivs:us-east-1:123456789012:channel/*",
        "arn:aws:ivs:us-east-1:123456789012:channel/" + "a" * 86,
    ],
)
def test_other_text_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="must have the form arn:aws:ivs:"):
        parse_arn(text)


def test_an_arn_may_have_128_characters() -> None:
    text = "arn:aws:ivs:us-east-1:123456789012:channel/"
    assert parse_arn(text + "a" * (128 - len(text)))


def test_another_kind_is_rejected_with_the_required_kind() -> None:
    with pytest.raises(ValueError, match="channel/<id>"):
        parse_arn("arn:aws:ivs:us-east-1:123456789012:playback-key/a", "channel")


@given(st.text())
def test_other_paths_name_no_channel(text: str) -> None:
    assert channel_of_path(text) is None
    assert channel_of_path("/api/video/v1/us-east-1.123456789012.channel.a.m3u8" + text) is None or text == ""
