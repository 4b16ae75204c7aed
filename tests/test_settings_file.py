"""A settings file gives settings as the environment does; each error names file, line, key and rule."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tokensvc import settings_file
from tokensvc.errors import SettingsError
from tokensvc.settings import Settings, read_configuration, read_settings

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokensvc.toml"
    path.touch(mode=0o600)
    return path


def errors_of(path: Path | str, content: str | bytes | None = None, **variables: str) -> list[str]:
    """The errors of a settings file with this content, as they are printed, without the folder of the file."""
    if content is not None:
        Path(path).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError) as raised:
        read_settings({"TOKENSVC_CONFIG": str(path), **{f"TOKENSVC_{n}": v for n, v in variables.items()}})
    assert SECRET not in str(raised.value)
    return [f"{e.field}: {e.message}".replace(f"{Path(path).parent}/", "") for e in raised.value.errors]


def settings_of(path: Path, content: str | bytes, **variables: str) -> Settings:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_settings({"TOKENSVC_CONFIG": str(path), **{f"TOKENSVC_{n}": v for n, v in variables.items()}})


def test_each_type_of_setting_has_its_type_in_toml(path: Path) -> None:
    settings = settings_of(
        path,
        """
        port = 9000
        store_timeout_seconds = 2.5
        snapshot_lease_seconds = 60
        access_log = false
        control_plane = "aws"
        regions = ["us-east-1", " eu-west-1 ", "us-east-1"]
        trusted_proxies = []
        """,
    )
    assert (settings.port, settings.store_timeout_seconds, settings.snapshot_lease_seconds) == (9000, 2.5, 60)
    assert (settings.access_log, settings.control_plane) == (False, "aws")
    assert (settings.regions, settings.trusted_proxies) == (("us-east-1", "eu-west-1"), ())


def test_the_environment_takes_precedence_and_each_source_is_known(path: Path, tmp_path: Path) -> None:
    (tmp_path / "level").write_text("debug\n")
    path.write_text(
        'port = 1\nhost = "::"\n\nlog_level_file = "nowhere"\n"workers" = 3\nlog_format_file = "/nowhere"\n'
    )
    environ = {
        "TOKENSVC_CONFIG": str(path),
        "TOKENSVC_PORT": "2",
        "TOKENSVC_LOG_LEVEL_FILE": str(tmp_path / "level"),
        "TOKENSVC_LOG_FORMAT": "console",
    }
    configuration = read_configuration(environ)
    settings = configuration.settings
    assert (settings.port, settings.host, settings.workers, settings.log_level) == (2, "::", 3, "debug")
    sources = {name: configuration.source(name) for name in ("port", "host", "workers", "log_level", "signer")}
    assert sources == {
        "port": "TOKENSVC_PORT",
        "host": f"{path}:2",
        "workers": f"{path}:5",
        "log_level": "TOKENSVC_LOG_LEVEL_FILE",
        "signer": "default",
    }


def test_a_key_may_name_a_file_that_has_the_value(path: Path, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text(SECRET + "\n")
    (tmp_path / "passphrase").chmod(0o600)
    path.write_text(f'passphrase_file = "{tmp_path}/passphrase"\n')
    path.chmod(0o644)
    configuration = read_configuration({"TOKENSVC_CONFIG": str(path)})
    assert configuration.settings.passphrase is not None
    assert configuration.settings.passphrase.get_secret_value() == SECRET
    assert configuration.source("passphrase") == f"{path}:1 (passphrase_file)"


def test_all_errors_are_reported_together_in_the_order_of_lines_then_those_of_the_environment(path: Path) -> None:
    content = f"""\
port = "8080"
prot = 1
workers = 0
regions = "us-east-1"
trusted_proxies = [1]
access_log = "{SECRET}"
store_timeout_seconds = true
host = 2026-11-21
vault = "{SECRET}"
vault_file = "/nowhere"
signer_file = "/no"
TOKENSVC_SIGNER = "auto"
nonsense_of_its_own = 1
limits.viewer = 1

[server]
port = 1
"""
    assert errors_of(path, content, ADMIN_PORT="x", CONFIG_FILE="x") == [
        "tokensvc.toml:1: port: must be an integer, without quotes; this is a string",
        "tokensvc.toml:2: prot: is not a setting; did you mean port?",
        "tokensvc.toml:3: workers: must be at least 1",
        'tokensvc.toml:4: regions: must be an array of strings, such as ["a", "b"]; this is a string',
        'tokensvc.toml:5: trusted_proxies: must be an array of strings, such as ["a", "b"]; this is an array',
        "tokensvc.toml:6: access_log: must be true or false, without quotes; this is a string",
        "tokensvc.toml:7: store_timeout_seconds: must be a number, without quotes; this is true or false",
        "tokensvc.toml:8: host: must be a string, in quotes; this is a date or time",
        "tokensvc.toml:9: vault: must be `store`, `file:DIR` or `shared-file:DIR`",
        "tokensvc.toml:10: vault_file: must be left out when vault is given",
        "tokensvc.toml:11: signer_file: names a file that cannot be read: No such file or directory",
        "tokensvc.toml:12: TOKENSVC_SIGNER: is not a setting; did you mean signer?",
        "tokensvc.toml:13: nonsense_of_its_own: is not a setting",
        "tokensvc.toml:14: limits: is a table; settings are keys at the top of the file, such as port = 8080",
        "tokensvc.toml:16: server: is a table; settings are keys at the top of the file, such as port = 8080",
        "TOKENSVC_CONFIG_FILE: is not a setting; did you mean TOKENSVC_CONFIG?",
        "TOKENSVC_ADMIN_PORT: must be an integer",
    ]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("port = 1\nhost = 'x'\nport = 2\n", "tokensvc.toml:3: port: must be given only once"),
        ("port = 1\n\nhost : x\n", "tokensvc.toml:3: is not TOML: Expected '=' after a key in a key/value pair"),
        ("port = ", "tokensvc.toml: is not TOML: Invalid value (at end of document)"),
        (b"port = 1\n# \xff\xfe\n", "tokensvc.toml:2: is not UTF-8"),
        ("port = 1\n".encode("utf-16"), "tokensvc.toml:1: is not UTF-8"),
        ("port = " + "9" * 5000, "tokensvc.toml: is not TOML: a number has too many digits"),
        ("port = " + "[" * 30_000, "tokensvc.toml: is nested too deeply"),
        ("port = 70000", "tokensvc.toml:1: port: must be at most 65535"),
        ("store_timeout_seconds = nan", "tokensvc.toml:1: store_timeout_seconds: must be "),
        ("store_timeout_seconds = inf", "tokensvc.toml:1: store_timeout_seconds: must be at most 60"),
        ("config = 'other.toml'", "tokensvc.toml:1: config: is not a setting"),
        ("[[regions]]\nname = 'us-east-1'", "tokensvc.toml:1: regions: must be an array of strings, such as"),
        ('"a\\nb" = 1', "tokensvc.toml:1: a\\nb: is not a setting"),
        ("passphrase_file = 'a\\u0000b'", "tokensvc.toml:1: passphrase_file: names a file that cannot be read"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(path: Path, content: str | bytes, error: str) -> None:
    [found] = errors_of(path, content)
    assert found.startswith(error)


def test_a_large_file_is_rejected_without_parsing_it(path: Path) -> None:
    for size in (65_537, 10_000_000):
        assert errors_of(path, "#" * size) == ["tokensvc.toml: is larger than 64 KiB"]


@pytest.mark.slow
def test_thousands_of_errors_are_reported_in_seconds(path: Path) -> None:
    started = time.monotonic()
    errors = errors_of(path, "".join(f"k{number} = 1\n" for number in range(6000)))
    assert len(errors) == 6000
    assert errors[0] == "tokensvc.toml:1: k0: is not a setting"
    assert "tokensvc.toml: k5999: is not a setting" in errors, "without a line, which takes a parse to find"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("content", ["", "\n# nothing\n", b"\xef\xbb\xbf", "\r\n"])
def test_an_empty_file_gives_nothing(path: Path, content: str | bytes) -> None:
    assert settings_of(path, content) == read_settings({})


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_not_errors(path: Path) -> None:
    assert settings_of(path, b"\xef\xbb\xbfport = 1\r\nworkers = 2\r\n").port == 1
    assert errors_of(path, b"\xef\xbb\xbfport = 1\r\nworkers = 0\r\n") == [
        "tokensvc.toml:2: workers: must be at least 1"
    ]


@pytest.mark.parametrize("key", ["passphrase", "previous_passphrase", "policy_hook_secret"])
def test_a_secret_in_a_file_that_every_user_can_read_is_rejected(path: Path, key: str) -> None:
    path.write_text(f'port = 1\n{key} = "{SECRET}"\n')
    for mode in (0o644, 0o604, 0o601):
        path.chmod(mode)
        [error] = errors_of(path)
        assert error.startswith(f"tokensvc.toml:2: {key}: is a secret, and every user can read the file: chmod o-rwx ")
    for mode in (0o600, 0o640, 0o400):
        path.chmod(mode)
        assert settings_of_existing(path).port == 1


@pytest.mark.parametrize(
    ("url", "is_secret"),
    [
        ("sqlite:////srv/store.db", False),
        ("postgresql://tokensvc@db/tokensvc", False),
        ("postgresql:///tokensvc?host=/run/postgresql", False),
        ("postgresql://tokensvc:pw@db/tokensvc", True),
        ("postgresql://tokensvc:@db/tokensvc", True),
        ("postgresql://tokensvc:p@ss@db/tokensvc", True),
        ("postgresql://db/tokensvc?user=x&password=pw", True),
        ("postgresql://[db/tokensvc", True),
    ],
)
def test_of_a_url_only_a_password_is_a_secret(path: Path, url: str, is_secret: bool) -> None:
    path.write_text(f'database_url = "{url}"\n')
    path.chmod(0o644)
    if is_secret:
        assert "is a secret" in errors_of(path)[0]
    else:
        assert settings_of_existing(path).database_url is not None


def settings_of_existing(path: Path) -> Settings:
    return read_settings({"TOKENSVC_CONFIG": str(path)})


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_other_users_can_write_is_rejected(path: Path, mode: int) -> None:
    path.chmod(mode)
    [error] = errors_of(path)
    assert "other users can write to it: chmod go-w " in error


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_rejected_even_through_a_link(path: Path) -> None:
    os.chown(path, 4242, -1)
    link = path.with_name("link.toml")
    link.symlink_to(path)
    for name in (path, link):
        [error] = errors_of(name)
        assert "is owned by uid 4242; it must be owned by this process's user or by root: chown " in error


def test_a_link_to_a_file_is_followed(path: Path) -> None:
    path.write_text("port = 1")
    link = path.with_name("link.toml")
    link.symlink_to(path)
    assert settings_of_existing(link).port == 1


def test_what_is_not_a_file_is_an_error(tmp_path: Path) -> None:
    assert errors_of(tmp_path / "missing.toml") == ["missing.toml: cannot be read: No such file or directory"]
    (tmp_path / "folder").mkdir()
    assert errors_of(tmp_path / "folder") == ["folder: cannot be read: Is a directory"]
    assert errors_of("") == ["TOKENSVC_CONFIG: must name a file"]
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "cannot be read" in errors_of(tmp_path / "dangling")[0]
    assert "cannot be read: not a file name" in errors_of("a\0b")[0]
    assert errors_of("/dev/zero") == ["zero: is larger than 64 KiB"]


def test_the_file_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"port = 1\n")
    os.close(writing)
    configuration = read_configuration({"TOKENSVC_CONFIG": f"/dev/fd/{reading}"})
    os.close(reading)
    assert (configuration.settings.port, configuration.source("port")) == (1, f"/dev/fd/{reading}:1")


def test_a_pipe_that_nobody_writes_to_is_waited_for_only_briefly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_file, "PIPE_TIMEOUT_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe", 0o600)
    [error] = errors_of(tmp_path / "pipe")
    assert error == "pipe: cannot be read: it is a pipe, and nothing was written to it within 0.1 seconds"


def test_a_name_with_control_characters_cannot_forge_a_line(tmp_path: Path) -> None:
    odd = tmp_path / "a\nTOKENSVC_X: forged\x1b[2J"
    odd.touch(mode=0o600)
    odd.write_text("port = 0.5")
    [error] = errors_of(odd)
    assert error.isprintable()


def test_the_file_is_not_opened_without_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokensvc.toml").write_text("port = 1")
    assert read_settings({}) == read_settings({"HOME": str(tmp_path)})
