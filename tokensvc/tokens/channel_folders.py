"""Which channel a path belongs to, where tokensvc guards a channel's files for a proxy.

Invariants
- An entry is `PATH=ARN`. PATH is a folder that begins and ends with `/`; everything below it belongs to the channel.
  `{region}`, `{account}` and `{id}` stand in PATH for what replaces them in ARN, so one entry may cover all channels
  while a path still names exactly one ARN. The first entry that matches decides.
- A path has one reading or none: one that a proxy, a file system or another server could read differently (dot
  segments, empty segments, encoded slashes, backslashes, a percent sign that stays after decoding) belongs to no
  channel. So a path that is authorized as one channel's is never served as another's.
- A folder's path is made of letters, digits and `-._~` alone: it is the `Path` of a cookie as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from tokensvc.aws.arn import Arn, parse_arn

PATH_MAX_CHARS = 2048
DEFAULT_FOLDERS = ("/live/{region}.{account}.channel.{id}/=arn:aws:ivs:{region}:{account}:channel/{id}",)
"""Folders that are named as IVS names playlists: region, account and channel id."""
_VALUES = {"region": "[a-z0-9-]+", "account": "[0-9]{12}", "id": "[a-zA-Z0-9-]+"}
_SAMPLES = {"region": "us-east-1", "account": "123456789012", "id": "abcdefghijkl"}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_FOLDER = re.compile(r"/(?:[A-Za-z0-9._~-]+/)+")
_SENT = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%[0-9A-Fa-f]{2})*")
"""The characters of a path (RFC 3986, section 3.3), except `;`, which some servers cut off with what follows."""
_AMBIGUOUS = re.compile(rb"[\x00-\x1f\x7f/\\%;?#]")
"""What an escape must not stand for: each of these has a meaning of its own to some server once it is decoded."""


class ChannelFolder(NamedTuple):
    """The folder of one channel."""

    channel: Arn
    path: str
    """It begins and ends with `/`."""


class ChannelFolders:
    """Finds the folder that a path is in."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises ValueError for an entry that `check_entry` rejects."""
        self._entries = [_parse(entry) for entry in entries]

    def folder_of(self, sent: str) -> ChannelFolder | None:
        """The folder of a path as it was sent, percent-encoded and without its query. None for a path that is in no
        folder or has more than one reading."""
        path = decoded_path(sent)
        if path is None:
            return None
        for pattern, arn in self._entries:
            if (found := pattern.match(path)) is not None:
                try:
                    return ChannelFolder(parse_arn(_filled(arn, found.groupdict()), "channel"), found[0])
                except ValueError:  # an id that is too long
                    return None
        return None


def decoded_path(sent: str) -> str | None:
    """The path that every server reads alike; None if servers may differ."""
    if len(sent) > PATH_MAX_CHARS or not _SENT.fullmatch(sent):
        return None
    if any(_AMBIGUOUS.match(unquote_to_bytes(escape)) for escape in re.findall("%..", sent)):
        return None
    try:
        path = unquote_to_bytes(sent).decode()
    except UnicodeDecodeError:
        return None
    segments = path.split("/")[1:]
    if not all(segments[:-1]) or not {".", ".."}.isdisjoint(segments):
        return None
    return path


def check_entry(entry: str) -> str:
    """Return the entry, or raise ValueError with the rule that it breaks."""
    _parse(entry)
    return entry


def _parse(entry: str) -> tuple[re.Pattern[str], str]:
    """The pattern of an entry's paths, and its ARN with placeholders."""
    path, equals, arn = entry.partition("=")
    names = _PLACEHOLDER.findall(path)
    if not equals or len(names) != len(set(names)) or not set(names) <= _VALUES.keys():
        raise ValueError("must have the form /PATH/=ARN; each of {region}, {account} and {id} may be in PATH once")
    if set(names) != set(_PLACEHOLDER.findall(arn)):
        raise ValueError("must have the same placeholders in the path and in the ARN")
    if not _FOLDER.fullmatch(_filled(path, _SAMPLES)):
        raise ValueError("must have a path that begins and ends with /, of letters, digits and -._~")
    if decoded_path(_filled(path, _SAMPLES)) is None:
        raise ValueError("must have a path without the segments . and ..")
    try:
        parse_arn(_filled(arn, _SAMPLES), "channel")
    except ValueError as rule:
        raise ValueError(f"must have a channel's ARN after the =, which {rule}") from None
    parts = _PLACEHOLDER.split(path)
    pattern = "".join(
        f"(?P<{part}>{_VALUES[part]})" if number % 2 else re.escape(part) for number, part in enumerate(parts)
    )
    return re.compile(pattern), arn


def _filled(text: str, values: dict[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)
