"""The seed file: what it may hold, and how its errors are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.local_ivs.environment import pem, private_key
from tokensvc.errors import SettingsError
from tokensvc.jose.keypair import private_pem
from tokensvc.local_ivs.seed_file import MAX_BYTES, read_seed_file

COMPLETE = f'''
region = "eu-west-1"

[channels.main]
authorized = true
live = true
tags = {{ team = "web" }}
restriction_policy = "europe"

[channels.public]

[playback_key_pairs.backend]
public_key = """
{pem(1)}"""

[restriction_policies.europe]
allowed_countries = ["DE", "FR"]
allowed_origins = ["https://app.example.com"]
strict_origin_enforcement = true
'''


def errors_of(folder: Path, text: str | bytes) -> list[str]:
    """The errors of a file with this text."""
    file = folder / "channels.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(SettingsError) as refused:
        read_seed_file(file)
    return [f"{error.field.removeprefix(f'{folder}/')} {error.message}" for error in refused.value.errors]


def test_a_file_has_channels_key_pairs_and_policies_by_name(tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(COMPLETE)
    seed = read_seed_file(file).seed
    assert seed.region == "eu-west-1"
    main, public = seed.channels["main"], seed.channels["public"]
    assert (main.authorized, main.live, main.tags, main.restriction_policy) == (True, True, {"team": "web"}, "europe")
    assert (public.authorized, public.live, public.tags) == (False, None, {})
    assert seed.playback_key_pairs["backend"].public_key == pem(1)
    assert seed.restriction_policies["europe"].allowed_countries == ["DE", "FR"]


def test_an_empty_file_has_nothing(tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text("")
    assert not read_seed_file(file).seed.channels


def test_every_error_is_reported_with_its_line_and_rule(tmp_path: Path) -> None:
    text = '[channels.main]\nauthorised = true\nlive = "yes"\n\n[channel.other]\n'
    assert errors_of(tmp_path, text) == [
        "channels.toml:2: channels.main.authorised is not a known field",
        "channels.toml:3: channels.main.live must be true or false",
        "channels.toml:5: channel is not a known field",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[channels.main\n", "channels.toml:1 is not TOML: Expected ']' at the end of a table declaration"),
        (
            '[channels.main]\nrestriction_policy = "none"\n',
            "channels.toml:2: channels.main.restriction_policy must name one of the file's restriction_policies",
        ),
        ("[playback_key_pairs.a]\n", "channels.toml:1: playback_key_pairs.a.public_key is required"),
        (
            "".join(f"[playback_key_pairs.{name}]\npublic_key = '''{pem(1)}'''\n" for name in "ab"),
            "channels.toml:9: playback_key_pairs.b.public_key is that of a too, and must be imported only once",
        ),
        (b"# \xff\n", "channels.toml:1 is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "channels.toml is larger than 1024 KiB"),
        ("a = " + "[" * 5000, "channels.toml is nested too deeply, or a number has too many digits"),
    ],
    ids=["syntax", "policy", "no key", "same key", "encoding", "size", "depth"],
)
def test_what_breaks_a_rule_is_refused(tmp_path: Path, text: str | bytes, error: str) -> None:
    assert errors_of(tmp_path, text) == [error]


def test_a_private_key_is_refused_and_not_repeated(tmp_path: Path) -> None:
    key = private_pem(private_key(1), b"password").decode()
    [error] = errors_of(tmp_path, f"[playback_key_pairs.a]\npublic_key = '''\n{key}'''\n")
    assert error.startswith("channels.toml:2: playback_key_pairs.a.public_key ")
    assert key.splitlines()[1] not in error


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        read_seed_file(tmp_path / "none.toml")
    assert refused.value.errors[0].message == "cannot be read: No such file or directory"


def test_of_many_errors_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    errors = errors_of(tmp_path, "".join(f"[channels.c{n}]\nlive = 1\n" for n in range(60)))
    assert errors[0] == "channels.toml:2: channels.c0.live must be true or false"
    assert (len(errors), errors[-1]) == (51, "(others) 10 more errors")
