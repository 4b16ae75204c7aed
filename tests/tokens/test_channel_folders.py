"""Paths and their channels: one reading or none, and one channel."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import CHANNEL
from tokensvc.aws.arn import Arn, parse_arn
from tokensvc.tokens.channel_folders import DEFAULT_FOLDERS, ChannelFolder, ChannelFolders, check_entry, decoded_path

ACCOUNT = "arn:aws:ivs:us-east-1:123456789012:channel"
FOLDER = "/live/us-east-1.123456789012.channel.AbCdEf123456/"


@pytest.mark.parametrize("rest", ["", "index.m3u8", "720p/1.ts", "a%20b.ts", "%C3%BC.ts", "a:b@c,d=e+f(g)*!$&'~_-."])
def test_all_files_below_a_folder_are_its_channels(rest: str) -> None:
    assert ChannelFolders(DEFAULT_FOLDERS).folder_of(FOLDER + rest) == ChannelFolder(CHANNEL, FOLDER)


def test_an_encoded_letter_is_that_letter() -> None:
    assert ChannelFolders(DEFAULT_FOLDERS).folder_of(FOLDER.replace("live", "l%69ve")) == ChannelFolder(CHANNEL, FOLDER)


def test_the_first_entry_that_matches_decides() -> None:
    entries = (f"/hls/news/={ACCOUNT}/first", f"/hls/{{id}}/={ACCOUNT}/{{id}}", f"/a.b/={ACCOUNT}/third")
    folders = ChannelFolders(entries)
    found = {path: folders.folder_of(path) for path in ("/hls/news/1.ts", "/hls/other/1.ts", "/a.b/1.ts", "/aXb/1.ts")}
    assert {path: folder and folder.channel.id for path, folder in found.items()} == {
        "/hls/news/1.ts": "first",
        "/hls/other/1.ts": "other",
        "/a.b/1.ts": "third",
        "/aXb/1.ts": None,
    }


@pytest.mark.parametrize(
    "path",
    [
        *("", "*", "live/", "/", "/live", FOLDER[:-1], f"/x{FOLDER}", f"/{FOLDER}", f"http://h{FOLDER}"),
        *(f"{FOLDER}{rest}" for rest in ("..", "../", "a/../b", ".", "./a", "a//b", "%2e%2E/a", ".%2e", "%2e")),
        *(f"{FOLDER}{rest}" for rest in ("a%2fb", "a%2Fb", "a%5cb", "a\\b", "a;b", "..;/a", "a%3Bb", "%252e", "a%25")),
        *(f"{FOLDER}{rest}" for rest in ("%00", "%0a", "%7f", "a%3fb", "a%23b", "a?b", "a#b", "a b", "é", "%FF")),
        *(f"{FOLDER}{rest}" for rest in ("%", "%2", "%zz")),
        f"/live/us-east-1.123456789012.channel.{'a' * 100}/a.ts",
        "/live/us-east-1.12345678901.channel.a/a.ts",
        f"{FOLDER}{'a' * 2048}",
    ],
)
def test_a_path_in_no_folder_or_with_more_than_one_reading_belongs_to_no_channel(path: str) -> None:
    assert ChannelFolders(DEFAULT_FOLDERS).folder_of(path) is None


@given(st.text(st.sampled_from("abl./%25efi2;\\?#é \x00L-_~"), max_size=40))
def test_a_path_that_is_accepted_is_read_alike_however_often_it_is_decoded_and_normalized(rest: str) -> None:
    path = decoded_path(f"/{rest}")
    if path is not None:
        assert unquote(path) == path == unquote(f"/{rest}")
        assert not {"", ".", ".."} & set(path.split("/")[1:-1])
        assert path.split("/")[-1] not in (".", "..")


@pytest.mark.slow
@given(
    region=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    account=st.from_regex(r"[0-9]{12}", fullmatch=True),
    identifier=st.from_regex(r"[a-zA-Z0-9-]{1,20}", fullmatch=True),
)
def test_each_channel_has_a_folder_of_its_own(region: str, account: str, identifier: str) -> None:
    arn: Arn = parse_arn(f"arn:aws:ivs:{region}:{account}:channel/{identifier}", "channel")
    path = f"/live/{region}.{account}.channel.{identifier}/"
    assert ChannelFolders(DEFAULT_FOLDERS).folder_of(f"{path}a.ts") == ChannelFolder(arn, path)


@pytest.mark.parametrize("entry", [*DEFAULT_FOLDERS, f"/a/={ACCOUNT}/b", f"/{{id}}/x/={ACCOUNT}/{{id}}"])
def test_a_valid_entry_is_returned(entry: str) -> None:
    assert check_entry(entry) == entry


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("", "must have the form /PATH/=ARN"),
        ("/a/", "must have the form"),
        (f"/{{id}}/{{id}}/={ACCOUNT}/{{id}}", "once"),
        (f"/{{name}}/={ACCOUNT}/{{name}}", "each of {region}"),
        (f"/{{id}}/={ACCOUNT}/a", "the same placeholders"),
        (f"/a/={ACCOUNT}/{{id}}", "the same placeholders"),
        (f"a/={ACCOUNT}/a", "begins and ends with /"),
        (f"/a={ACCOUNT}/a", "begins and ends with /"),
        (f"/={ACCOUNT}/a", "begins and ends with /"),
        (f"/a//b/={ACCOUNT}/a", "begins and ends with /"),
        (f"/a b/={ACCOUNT}/a", "letters, digits"),
        (f"/a/../={ACCOUNT}/a", "without the segments . and .."),
        ("/a/=arn:aws:ivs:us-east-1:123456789012:stream-key/a", "must have a channel's ARN after the ="),
        ("/a/=b", "must have a channel's ARN after the ="),
    ],
)
def test_an_entry_is_rejected_with_the_rule(entry: str, rule: str) -> None:
    with pytest.raises(ValueError, match="must have") as failed:
        check_entry(entry)
    assert rule in str(failed.value)
