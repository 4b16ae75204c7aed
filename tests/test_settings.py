"""Settings are read once from the environment, all errors are reported together, and no secret is shown."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.middleware.proxy_headers import _TrustedHosts

from tokensvc.errors import SettingsError
from tokensvc.settings import Settings, read_chosen_settings, read_configuration, read_settings, require, variable_name

SECRET = "hunter2-hunter2-hunter2"
KMS_KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/0987dcba-09fe-87dc-65ba-ab0987654321"
URL = "postgresql://shop:hunter2@db.example/tokens"


def errors_of(**environ: str) -> dict[str, str]:
    """The errors of this environment, by variable."""
    with pytest.raises(SettingsError) as raised:
        read_settings(environ)
    assert len({e.field for e in raised.value.errors}) == len(raised.value.errors)
    return {e.field: e.message for e in raised.value.errors}


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = read_settings({})
    assert settings == Settings.model_validate({})
    assert settings.control_plane is None
    assert settings.database_url is None
    assert settings.passphrase is None
    assert {read_configuration({}).source(name) for name in Settings.model_fields} == {"default"}


def test_other_variables_are_ignored() -> None:
    assert read_settings(
        {"PATH": "/bin", "AWS_REGION": "x", "MY_TOKENSVC_PORT": "x", "tokensvc_port": "1"}
    ) == read_settings({})


def test_every_setting_is_read_from_its_variable() -> None:
    given = {
        "CONTROL_PLANE": "aws",
        "DATABASE_URL": URL,
        "HOST": "0.0.0.0",
        "PORT": "0",
        "ADMIN_PORT": "9090",
        "ADMIN_HOST": "::",
        "ADMIN_ROUTES": "true",
        "WORKERS": "4",
        "REGIONS": " us-east-1, eu-west-1 ,",
        "VAULT": "file:/srv/keys",
        "PASSPHRASE": SECRET,
        "KMS_KEY_ARN": KMS_KEY_ARN,
        "PREVIOUS_PASSPHRASE": SECRET + "x",
        "PREVIOUS_KMS_KEY_ARN": KMS_KEY_ARN + "0",
        "MAX_TTL_SECONDS": "7200",
        "KEY_PROPAGATION_SECONDS": "1.5",
        "KEY_MAX_AGE_DAYS": "90",
        "KEY_STANDBY": "false",
        "SNAPSHOT_LEASE_SECONDS": "60",
        "STORE_TIMEOUT_SECONDS": "2",
        "CHANNEL_LOOKUP_TIMEOUT_SECONDS": "0",
        "CHANNEL_CALLS_PER_SECOND": "2.5",
        "SIGNER": "openssl",
        "REVOCATION_RATE_FRACTION": "0.5",
        "BACKGROUND_TASKS": "false",
        "SHUTDOWN_DELAY_SECONDS": "0",
        "TRUSTED_PROXIES": "10.0.0.1,10.0.0.2",
        "MAX_IN_FLIGHT": "64",
        "MAX_CONNECTIONS": "1024",
        "CORS_ORIGINS": "https://app.example.com",
        "LIMITER_URL": "redis://limiter.example:6379/0",
        "LIMITER_FAILS": "closed",
        "POLICY_HOOK_URL": "https://policy.example/decide",
        "POLICY_HOOK_SECRET": SECRET,
        "AUTHORIZE": "on",
        "AUTHORIZE_FOLDERS": "/hls/{id}/=arn:aws:ivs:us-east-1:123456789012:channel/{id}",
        "AUDIT_LOG": "stderr",
        "AUDIT_RETENTION_DAYS": "30",
        "ACCESS_LOG": "false",
        "LOG_FORMAT": "console",
        "LOG_LEVEL": "debug",
        "TRACING": "true",
        "TRACE_RATIO": "0.01",
    }
    environ = {f"TOKENSVC_{name}": value for name, value in given.items()}
    assert set(environ) == {variable_name(name) for name in Settings.model_fields}, (
        "this test must contain every setting"
    )
    settings = read_settings(environ)
    assert settings.regions == ("us-east-1", "eu-west-1")
    assert settings.trusted_proxies == ("10.0.0.1", "10.0.0.2")
    assert (settings.port, settings.admin_port, settings.workers) == (0, 9090, 4)
    assert settings.access_log is False
    assert settings.passphrase is not None
    assert settings.passphrase.get_secret_value() == SECRET
    assert all(getattr(settings, n) != f.default for n, f in Settings.model_fields.items())
    assert all(read_configuration(environ).source(name) == variable_name(name) for name in Settings.model_fields)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_a_description(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 15


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("TOKENSVC_PROT", "TOKENSVC_PORT"),
        ("TOKENSVC_DATABASE", "TOKENSVC_DATABASE_URL"),
        ("TOKENSVC_CONTROLPLANE", "TOKENSVC_CONTROL_PLANE"),
        ("TOKENSVC_PASSPHRASE_FILES", "TOKENSVC_PASSPHRASE"),
        ("TOKENSVC_PASSPHRASE_FILE_FILE", "TOKENSVC_PASSPHRASE"),
        ("TOKENSVC_port", "TOKENSVC_PORT"),
        ("TOKENSVC_REGION", "TOKENSVC_REGIONS"),
        ("TOKENSVC_PROXIES", "TOKENSVC_TRUSTED_PROXIES"),
    ],
)
def test_an_unknown_variable_is_rejected_with_a_suggestion(unknown: str, nearest: str) -> None:
    assert errors_of(**{unknown: "x"})[unknown].endswith(f"did you mean {nearest}?")


@pytest.mark.parametrize("unknown", ["TLS_CERT", "TLS_KEY", "API_KEY", "LOGGER", "SECRET", "REDIS_URL", "X", ""])
def test_an_unknown_variable_without_a_similar_setting_gets_no_suggestion(unknown: str) -> None:
    assert errors_of(**{f"TOKENSVC_{unknown}": "x"}) == {f"TOKENSVC_{unknown}": "is not a setting"}


@given(st.text(min_size=1, max_size=20).filter(lambda t: "\0" not in t))
def test_any_unknown_variable_is_rejected(name: str) -> None:
    if f"TOKENSVC_{name}".removesuffix("_FILE") not in {variable_name(n) for n in Settings.model_fields}:
        assert set(errors_of(**{f"TOKENSVC_{name}": "x"})) == {f"TOKENSVC_{name}"}


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("CONTROL_PLANE", "azure", "must be one of 'aws' or 'local'"),
        ("CONTROL_PLANE", "", "must be one of"),
        ("HOST", "", "must not be empty"),  # the system would bind every address
        ("PORT", "eighty", "must be an integer"),
        ("PORT", "65536", "must be at most 65535"),
        ("PORT", "-1", "must be at least 0"),
        ("PORT", "9" * 5000, "must have fewer digits"),
        ("ADMIN_PORT", "", "must be an integer"),
        ("ADMIN_HOST", "", "must not be empty"),
        ("ADMIN_ROUTES", "some", "must be true or false"),
        ("WORKERS", "0", "must be at least 1"),
        ("VAULT", "keys", "must be `store`, `file:DIR` or `shared-file:DIR`"),
        ("VAULT", "file:", "must be `store`"),
        ("VAULT", "shared-file:", "must be `store`"),
        ("VAULT", "stores", "must be `store`"),
        ("KMS_KEY_ARN", "arn:aws:kms:us-east-1:123456789012:alias/tokensvc", "must be the ARN of a KMS key"),
        ("KMS_KEY_ARN", "0987dcba-09fe-87dc-65ba-ab0987654321", "must be the ARN of a KMS key"),
        ("PREVIOUS_KMS_KEY_ARN", "", "must be the ARN of a KMS key"),
        ("PREVIOUS_PASSPHRASE", "short", "must have at least 12 characters"),
        ("PASSPHRASE", "short", "must have at least 12 characters"),
        ("MAX_TTL_SECONDS", "0", "must be at least 1"),
        ("SNAPSHOT_LEASE_SECONDS", "nan", "must be"),
        ("SNAPSHOT_LEASE_SECONDS", "inf", "must be at most"),
        ("STORE_TIMEOUT_SECONDS", "0", "must be more than 0"),
        ("STORE_TIMEOUT_SECONDS", "nan", "must be"),
        ("CHANNEL_CALLS_PER_SECOND", "0", "must be more than 0"),
        ("CHANNEL_CALLS_PER_SECOND", "5.1", "must be at most 5"),
        ("KEY_PROPAGATION_SECONDS", "soon", "must be a number"),
        ("SIGNER", "none", "must be one of"),
        ("ACCESS_LOG", "maybe", "must be true or false"),
        ("LOG_FORMAT", "xml", "must be one of"),
        ("REGIONS", "us-east-1,mars", "mars is not a region of Amazon IVS in the installed botocore, which has: ap-"),
        ("REGIONS", "eu-west-2", "eu-west-2 is not a region of Amazon IVS"),  # a region of AWS
        ("REGIONS", "US-EAST-1", "US-EAST-1 is not a region of Amazon IVS"),
        ("REGIONS", "us-east-1 us-west-2", "entry 1 is not a region of Amazon IVS"),
        ("TRUSTED_PROXIES", "foo", "foo is not an IP address or a network such as 10.0.0.0/8"),
        ("TRUSTED_PROXIES", "10.0.0.1,10.0.0.256", "10.0.0.256 is not an IP address or a network"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "10.0.0.1/8 has host bits set; the network is 10.0.0.0/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "10.0.0.0/33 is not an IP address"),
        ("TRUSTED_PROXIES", "10.0.0.1,*", "* must be the only entry, because it trusts every client"),
        ("TRUSTED_PROXIES", "10.0.0.1:443", "10.0.0.1:443 is not an IP address"),
        ("DATABASE_URL", "mysql://db/tokensvc", "must begin with postgresql:// or sqlite:///"),
        ("DATABASE_URL", "", "must begin with postgresql:// or sqlite:///"),
    ],
)
def test_an_invalid_value_is_reported_with_its_rule(name: str, value: str, rule: str) -> None:
    errors = errors_of(**{f"TOKENSVC_{name}": value})
    assert list(errors) == [f"TOKENSVC_{name}"]
    assert rule in errors[f"TOKENSVC_{name}"]


@pytest.mark.parametrize(
    "value", ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "2001:db8::1,192.0.2.0/24", "*", "", "fe80::1%eth0"]
)
def test_trusted_proxies_are_addresses_or_networks_to_uvicorn(value: str) -> None:
    trusted = read_settings({"TOKENSVC_TRUSTED_PROXIES": value}).trusted_proxies
    assert not _TrustedHosts(list(trusted)).trusted_literals, "a literal would never match a TCP client"


def test_an_invalid_entry_that_may_be_a_secret_is_named_by_position() -> None:
    for name in ("REGIONS", "TRUSTED_PROXIES"):
        for secret in (SECRET, "0123456789abcdef" * 4, "pass phrase", "p@ss"):
            assert "entry 2 " in errors_of(**{f"TOKENSVC_{name}": f"*,{secret}"})[f"TOKENSVC_{name}"]


def test_duplicate_entries_are_removed() -> None:
    environ = {"TOKENSVC_REGIONS": "us-east-1,us-west-2,us-east-1", "TOKENSVC_TRUSTED_PROXIES": "*,*"}
    settings = read_settings(environ)
    assert (settings.regions, settings.trusted_proxies) == (("us-east-1", "us-west-2"), ("*",))


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    errors = errors_of(
        TOKENSVC_PORT="x",
        TOKENSVC_WORKERS="0",
        TOKENSVC_UNKNOWN="1",
        TOKENSVC_PASSPHRASE_FILE=str(tmp_path / "missing"),
        TOKENSVC_HOST="a",
        TOKENSVC_HOST_FILE="b",
    )
    assert set(errors) == {
        "TOKENSVC_PORT",
        "TOKENSVC_WORKERS",
        "TOKENSVC_UNKNOWN",
        "TOKENSVC_PASSPHRASE_FILE",
        "TOKENSVC_HOST_FILE",
    }


def test_a_file_may_contain_the_value(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\r\n")
    (tmp_path / "secret").chmod(0o600)
    environ = {"TOKENSVC_PASSPHRASE_FILE": str(tmp_path / "secret")}
    settings = read_settings(environ)
    assert settings.passphrase is not None
    assert settings.passphrase.get_secret_value() == SECRET
    assert read_configuration(environ).source("passphrase") == "TOKENSVC_PASSPHRASE_FILE"


@pytest.mark.parametrize(
    "name", ["passphrase", "previous_passphrase", "database_url", "policy_hook_secret", "limiter_url"]
)
def test_a_secret_in_the_place_of_its_file_s_name_is_not_repeated(name: str) -> None:
    secret = f"postgresql://app:{SECRET}@db/tokens" if name == "database_url" else SECRET
    errors = errors_of(**{f"TOKENSVC_{name.upper()}_FILE": secret})
    assert list(errors.values()) == ["names a file that cannot be read: No such file or directory"]


def test_spaces_in_a_file_are_part_of_the_value(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f" {SECRET} \n")
    (tmp_path / "secret").chmod(0o600)
    passphrase = read_settings({"TOKENSVC_PASSPHRASE_FILE": str(tmp_path / "secret")}).passphrase
    assert passphrase is not None
    assert passphrase.get_secret_value() == f" {SECRET} "


def test_an_invalid_value_in_a_file_is_reported_without_the_value(tmp_path: Path) -> None:
    (tmp_path / "port").write_text(SECRET)
    errors = errors_of(TOKENSVC_PORT_FILE=str(tmp_path / "port"))
    assert list(errors.values()) == ["must be an integer"]


@pytest.mark.parametrize("content", [b"\xff\xfe" + SECRET.encode(), None])
def test_an_unreadable_file_is_reported(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    errors = errors_of(TOKENSVC_PASSPHRASE_FILE=str(path))["TOKENSVC_PASSPHRASE_FILE"]
    assert "cannot be read" in errors
    assert SECRET not in errors


def test_a_value_and_a_file_together_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    errors = errors_of(TOKENSVC_PASSPHRASE=SECRET, TOKENSVC_PASSPHRASE_FILE=str(tmp_path / "secret"))
    assert errors == {"TOKENSVC_PASSPHRASE_FILE": "must be left out when TOKENSVC_PASSPHRASE is given"}


def test_missing_required_settings_are_named() -> None:
    with pytest.raises(SettingsError) as raised:
        require(read_settings({"TOKENSVC_PASSPHRASE": SECRET}), "control_plane", "database_url", "passphrase")
    assert [e.field for e in raised.value.errors] == ["TOKENSVC_CONTROL_PLANE", "TOKENSVC_DATABASE_URL"]
    require(read_settings({"TOKENSVC_PASSPHRASE": SECRET}), "passphrase")


def test_no_representation_contains_a_secret(tmp_path: Path) -> None:
    settings = read_settings({"TOKENSVC_PASSPHRASE": SECRET, "TOKENSVC_DATABASE_URL": URL})
    text = repr(settings) + str(settings) + settings.model_dump_json() + repr(settings.model_dump())
    assert "hunter2" not in text


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_no_error_repeats_a_value_whatever_its_variable(name: str) -> None:
    value: Any = "hunter2\ud800"
    try:
        read_settings({variable_name(name): value})
    except SettingsError as failure:
        raised = failure
    else:
        return
    assert "hunter2" not in f"{raised}{raised!r}{raised.errors}{raised.__cause__}"
    assert raised.__context__ is None or raised.__suppress_context__ or "hunter2" not in str(raised.__context__)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@as_root
@pytest.mark.parametrize("name", ["PASSPHRASE", "DATABASE_URL", "VAULT"])
def test_a_file_of_another_user_is_rejected_with_the_command_that_fixes_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    os.chown(path, 4242, -1)
    errors = errors_of(**{f"TOKENSVC_{name}_FILE": str(path)})[f"TOKENSVC_{name}_FILE"]
    assert errors.endswith(
        f"{path} is owned by uid 4242; it must be owned by this process's user or by root: chown 0 {path}"
    )
    assert SECRET not in errors


@pytest.mark.parametrize("mode", [0o622, 0o660, 0o602])
def test_a_file_that_other_users_can_write_is_rejected(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    path.chmod(mode)
    errors = errors_of(TOKENSVC_VAULT_FILE=str(path))["TOKENSVC_VAULT_FILE"]
    assert f"chmod go-w {path}" in errors


NOBODY = 65534


@as_root
@pytest.mark.parametrize(
    ("name", "owner", "mode", "rule"),
    [
        ("PASSPHRASE", 0, 0o444, ""),
        ("PASSPHRASE", 0, 0o644, ""),
        ("PASSPHRASE", 0, 0o440, ""),
        ("PASSPHRASE", NOBODY, 0o600, ""),
        ("PASSPHRASE", NOBODY, 0o640, ""),
        ("PASSPHRASE", NOBODY, 0o644, "chmod o-rwx"),
        ("DATABASE_URL", NOBODY, 0o444, "chmod o-rwx"),
        ("VAULT", NOBODY, 0o644, ""),
        ("VAULT", 4242, 0o444, f"chown {NOBODY}"),
    ],
)
def test_a_mounted_secret_of_root_is_accepted_and_of_another_user_rejected(
    name: str, owner: int, mode: int, rule: str
) -> None:
    """Docker and Kubernetes mount secrets owned by root with mode 0444 or 0644, Kubernetes behind two links."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        (folder / "..2026").mkdir(mode=0o755)
        (folder / "..data").symlink_to("..2026")
        (folder / "secret").symlink_to("..data/secret")
        (folder / "..data" / "secret").write_text("file:/srv/keys")
        (folder / "..data" / "secret").chmod(mode)
        os.chown(folder / "..data" / "secret", owner, NOBODY)
        environ = {f"TOKENSVC_{name}_FILE": str(folder / "secret")}
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            errors = errors_of(**environ) if rule else read_settings(environ)
        finally:
            os.seteuid(0)
            os.setegid(0)
        if isinstance(errors, dict):
            assert errors[f"TOKENSVC_{name}_FILE"].endswith(f"{rule} {folder / 'secret'}")


def test_a_pipe_may_contain_the_value() -> None:
    """A shell's `TOKENSVC_PASSPHRASE_FILE=<(command)`."""
    reading, writing = os.pipe()
    os.write(writing, SECRET.encode())
    os.close(writing)
    passphrase = read_settings({"TOKENSVC_PASSPHRASE_FILE": f"/dev/fd/{reading}"}).passphrase
    os.close(reading)
    assert passphrase is not None
    assert passphrase.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("name", "value", "extra", "module"),
    [
        ("DATABASE_URL", URL, "postgres", "psycopg"),
        ("LIMITER_URL", "redis://limiter.example:6379/0", "redis", "redis"),
        ("TRACING", "true", "otel", "opentelemetry.sdk"),
    ],
)
def test_a_setting_whose_extra_is_missing_names_what_to_install(
    name: str, value: str, extra: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(SettingsError) as raised:
        read_settings({f"TOKENSVC_{name}": value})
    [error] = raised.value.errors
    rule = f"needs the extra {extra}, which is not installed: pip install 'tokensvc[{extra}]'"
    assert error[:2] == (f"TOKENSVC_{name}", rule)


def test_one_setting_is_read_again_without_opening_the_files_of_others(tmp_path: Path) -> None:
    level, passphrase = tmp_path / "level", tmp_path / "passphrase"
    level.write_text("warning\n")
    os.mkfifo(passphrase)  # opening it would wait for a writer
    config = tmp_path / "tokensvc.toml"
    config.write_text(f'passphrase_file = "{passphrase}"\nlog_level_file = "{level}"\n')
    environ = {"TOKENSVC_CONFIG": str(config), "TOKENSVC_PREVIOUS_PASSPHRASE_FILE": str(passphrase)}
    assert read_chosen_settings(environ, "log_level") == ("warning",)
    level.write_text("debug")
    assert read_chosen_settings(environ, "log_level") == ("debug",)
    assert read_chosen_settings(environ | {"TOKENSVC_LOG_LEVEL": "error"}, "log_level", "port") == ("error", 8080)
    assert read_chosen_settings({}, "log_level") == ("info",)


@pytest.mark.parametrize("content", ["verbose", "", "INFO", "debug info", "\N{SNOWMAN}", "info\0"])
def test_an_invalid_level_is_rejected_when_it_is_read_again(tmp_path: Path, content: str) -> None:
    level = tmp_path / "level"
    level.write_text(content)
    with pytest.raises(SettingsError) as raised:
        read_chosen_settings({"TOKENSVC_LOG_LEVEL_FILE": str(level)}, "log_level")
    [error] = raised.value.errors
    assert error.field == "TOKENSVC_LOG_LEVEL_FILE"
    assert "verbose" not in error.rule
    assert "'debug', 'info', 'warning' or 'error'" in error.rule


@pytest.mark.parametrize("ratio", ["-0.1", "1.1", "nan", "inf", "1%"])
def test_a_ratio_of_traces_is_between_0_and_1(ratio: str) -> None:
    assert set(errors_of(TOKENSVC_TRACE_RATIO=ratio)) == {"TOKENSVC_TRACE_RATIO"}
