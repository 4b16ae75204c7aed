"""`tokensvc settings`."""

from __future__ import annotations

import re
import socket
import time

import pytest

from tests.cli.terminal import Terminal
from tests.support.signers import AVAILABLE_SIGNERS
from tokensvc.cli.policy_values import POLICY_SETTINGS
from tokensvc.settings import Settings, read_configuration, variable_name

pytestmark = pytest.mark.slow


def test_settings_shows_every_setting_with_its_source(bare: Terminal) -> None:
    (bare.folder / "passphrase").write_text(bare.passphrase + "\n")
    result = bare(
        "settings",
        "--json",
        without="TOKENSVC_PASSPHRASE",
        PASSPHRASE_FILE=str(bare.folder / "passphrase"),
        WORKERS="3",
    ).json
    assert list(result) == [variable_name(name) for name in Settings.model_fields]
    assert result["TOKENSVC_WORKERS"] == {"value": 3, "source": "TOKENSVC_WORKERS"}
    assert result["TOKENSVC_PORT"] == {"value": 8080, "source": "default"}
    assert result["TOKENSVC_PASSPHRASE"] == {"value": "**********", "source": "TOKENSVC_PASSPHRASE_FILE"}


def test_secrets_are_masked(bare: Terminal) -> None:
    url = "postgresql://someone:a-password@db/tokensvc"
    for arguments in (("settings",), ("settings", "--json")):
        result = bare(*arguments, DATABASE_URL=url)
        assert bare.passphrase not in result.out + result.err
        assert "a-password" not in result.out + result.err
    table = bare("settings").out.partition("\n\n")[0]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows["TOKENSVC_PASSPHRASE"] == ["**********", "TOKENSVC_PASSPHRASE"]
    assert rows["TOKENSVC_REGIONS"] == ["-", "default"]


def test_only_the_password_of_a_database_url_is_masked(bare: Terminal) -> None:
    for url, shown in {
        "postgresql://someone:a-password@db.test:5433/tokens": "postgresql://someone:***@db.test:5433/tokens",
        "postgresql://db.test/tokens?user=me&password=a-password": "postgresql://db.test/tokens?user=me&password=***",
        "postgresql://someone:a-pass@word@db.test/tokens": "***",
    }.items():
        result = bare("settings", "--json", DATABASE_URL=url)
        assert result.json["TOKENSVC_DATABASE_URL"]["value"] == shown
        assert "a-pass" not in bare("settings", DATABASE_URL=url).out


def test_lists_are_shown_as_in_the_environment(bare: Terminal) -> None:
    result = bare("settings", "--json", REGIONS="us-east-1, eu-west-1").json
    assert result["TOKENSVC_REGIONS"]["value"] == ["us-east-1", "eu-west-1"]
    rows = [line.split() for line in bare("settings", REGIONS="us-east-1, eu-west-1").out.splitlines()]
    assert ["TOKENSVC_REGIONS", "us-east-1,eu-west-1", "TOKENSVC_REGIONS"] in rows


def test_json_has_the_type_of_each_setting(bare: Terminal) -> None:
    result = bare(
        "settings", "--json", ACCESS_LOG="false", STORE_TIMEOUT_SECONDS="2.5", SNAPSHOT_LEASE_SECONDS="60"
    ).json
    values = {name.removeprefix("TOKENSVC_"): row["value"] for name, row in result.items()}
    assert values["ACCESS_LOG"] is False
    assert values["BACKGROUND_TASKS"] is True
    assert values["STORE_TIMEOUT_SECONDS"] == 2.5
    assert values["SNAPSHOT_LEASE_SECONDS"] == 60
    assert values["REGIONS"] == values["TRUSTED_PROXIES"] == []
    assert values["ADMIN_PORT"] is None
    assert values["HOST"] == "127.0.0.1"
    rows = {line.split()[0]: line.split()[1] for line in bare("settings", ACCESS_LOG="false").out.splitlines() if line}
    assert rows["TOKENSVC_ACCESS_LOG"] == "false", "as it is written in the environment"
    assert rows["TOKENSVC_ADMIN_PORT"] == "-"


def test_the_signer_in_use_is_shown(bare: Terminal) -> None:
    row = bare("settings", "--json", SIGNER="openssl").json["TOKENSVC_SIGNER"]
    assert row == {"value": "openssl", "source": "TOKENSVC_SIGNER", "effective": "openssl (openssl is configured)"}
    assert f"Signer in use: {AVAILABLE_SIGNERS[0]}" in bare("settings").out


def test_settings_needs_neither_a_store_nor_aws(bare: Terminal) -> None:
    result = bare(
        "settings", "--json", without=" ".join(n for n in bare.environ if n.startswith(("TOKENSVC_", "AWS_")))
    )
    assert result.json["TOKENSVC_DATABASE_URL"] == {"value": None, "source": "default"}


def test_limits_are_shown_as_stored(terminal: Terminal) -> None:
    terminal("db", "upgrade", MAX_TTL_SECONDS="7200", KEY_MAX_AGE_DAYS="30")
    result = terminal("settings", "--json", without="TOKENSVC_KEY_PROPAGATION_SECONDS TOKENSVC_KEY_STANDBY").json
    assert result["TOKENSVC_MAX_TTL_SECONDS"]["value"] == 7200
    assert result["TOKENSVC_KEY_PROPAGATION_SECONDS"]["value"] == 0
    assert result["TOKENSVC_KEY_MAX_AGE_DAYS"]["value"] == 30
    assert result["TOKENSVC_KEY_STANDBY"]["value"] is False
    assert {result[variable_name(name)]["source"] for name in POLICY_SETTINGS} == {"store"}
    assert not [value for value in result.values() if "problem" in value]


def test_a_limit_that_differs_in_the_environment_does_not_apply_and_is_reported(terminal: Terminal) -> None:
    result = terminal("settings", MAX_TTL_SECONDS="60").out
    assert re.search(r"TOKENSVC_MAX_TTL_SECONDS +3600 +store\n", result)
    assert (
        "TOKENSVC_MAX_TTL_SECONDS is set to 60 here, but the stored value applies; run `tokensvc db upgrade`" in result
    )
    terminal("db", "upgrade", MAX_TTL_SECONDS="60")
    assert "is set to 60 here" not in terminal("settings", MAX_TTL_SECONDS="60").out


@pytest.mark.parametrize("url", ["postgresql://app:hunter2@127.0.0.1:1/tokens", "sqlite:////nowhere/store.db"])
def test_an_unreadable_store_is_reported_and_other_settings_are_shown(bare: Terminal, url: str) -> None:
    started = time.monotonic()
    result = bare("settings", DATABASE_URL=url, MAX_TTL_SECONDS="60", without="TOKENSVC_VAULT").out
    assert time.monotonic() - started < 20
    assert "The limits in force are unknown, because the store cannot be read: " in result
    assert re.search(r"TOKENSVC_MAX_TTL_SECONDS +- +store \(unavailable\)\n", result)
    assert re.search(r"TOKENSVC_PORT +8080 +default\n", result)
    assert "hunter2" not in result
    result_json = bare("settings", "--json", DATABASE_URL=url, without="TOKENSVC_VAULT").json
    assert result_json["TOKENSVC_MAX_TTL_SECONDS"]["problem"]
    assert "problem" not in result_json["TOKENSVC_PORT"]


def test_a_store_that_does_not_respond_is_waited_for_only_briefly(bare: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        url = f"postgresql://app@127.0.0.1:{silent.getsockname()[1]}/tokens"
        result = bare("settings", DATABASE_URL=url, STORE_TIMEOUT_SECONDS="60", without="TOKENSVC_VAULT").out
        assert time.monotonic() - started < 20
    assert "the store cannot be read" in result


def test_a_setting_given_as_value_and_file_is_rejected(bare: Terminal) -> None:
    result = bare("settings", code=2, PASSPHRASE_FILE="/nowhere", DATABASE_URL_FILE="/nowhere", VAULT_FILE="/nowhere")
    assert "TOKENSVC_PASSPHRASE_FILE: must be left out when TOKENSVC_PASSPHRASE is given" in result.err
    result = bare("settings", code=2, without="TOKENSVC_PASSPHRASE", PASSPHRASE_FILE="/nowhere")
    assert "TOKENSVC_PASSPHRASE_FILE: names a file that cannot be read" in result.err


def test_settings_shows_the_vault_and_its_wrapping_keys(bare: Terminal) -> None:
    arn = "arn:aws:kms:us-east-1:123456789012:key/0987dcba-09fe-87dc-65ba-ab0987654321"
    expected = f"Private keys are stored in file:{bare.vault}, encrypted with TOKENSVC_PASSPHRASE."
    assert bare("settings").out.splitlines()[-1] == expected
    result = bare("settings", without="TOKENSVC_VAULT", KMS_KEY_ARN=arn, DATABASE_URL="postgresql://db/tokensvc").out
    assert "Private keys are stored in store, encrypted with TOKENSVC_KMS_KEY_ARN.\n" in result
    assert "For decryption only: TOKENSVC_PASSPHRASE;" in result
    result = bare("settings", without="TOKENSVC_PASSPHRASE", PREVIOUS_KMS_KEY_ARN=arn).out
    assert "no passphrase or KMS key to encrypt them with is set" in result
    unfit = bare("settings", "--json", VAULT="file:here", DATABASE_URL="postgresql://db/tokensvc").json
    assert unfit["TOKENSVC_VAULT"]["value"] == "file:here", "shown, not validated"
    assert bare("settings", "--json", without="TOKENSVC_VAULT").json["TOKENSVC_VAULT"] == {
        "value": "file:keys",
        "source": "default",
    }


def uncommented(example: str) -> str:
    """The example with every setting in effect."""
    return re.sub(r"^#(?=[a-z_]+ = )", "", example, flags=re.MULTILINE)


def test_the_example_has_every_setting_and_is_a_settings_file_once_uncommented(bare: Terminal) -> None:
    example = bare("settings", "--example").out
    path = bare.folder / "tokensvc.toml"
    path.touch(mode=0o600)
    path.write_text(example)
    nothing = " ".join(name for name in bare.environ if name.startswith("TOKENSVC_"))
    result = bare("settings", "--json", "--config", str(path), without=nothing).json
    assert {row["source"] for row in result.values()} == {"default"}
    path.write_text(uncommented(example))
    configuration = read_configuration({"TOKENSVC_CONFIG": str(path)})
    lines = path.read_text().splitlines()
    for name in Settings.model_fields:
        place, _, line = configuration.source(name).rpartition(":")
        assert (place, lines[int(line) - 1].partition(" = ")[0]) == (str(path), name)
    assert all(len(line) <= 100 for line in example.splitlines() if line.startswith("# "))


def test_the_example_shows_defaults(bare: Terminal) -> None:
    """A setting that is uncommented as it is changes nothing, unless it has no default."""
    path = bare.folder / "tokensvc.toml"
    path.touch(mode=0o600)
    path.write_text(uncommented(bare("settings", "--example").out))
    settings = read_configuration({"TOKENSVC_CONFIG": str(path)}).settings
    for name, field in Settings.model_fields.items():
        assert (getattr(settings, name) == field.default) is (field.default not in (None, ())), name


def test_the_example_needs_no_valid_settings_and_has_no_form_in_json(bare: Terminal) -> None:
    assert bare("settings", "--example", PORT="x").out.startswith("# Settings of tokensvc")
    assert "--json: must be left out when --example is given" in bare("settings", "--example", "--json", code=2).err


def test_a_setting_of_the_file_is_shown_with_its_line(bare: Terminal) -> None:
    path = bare.folder / "tokensvc.toml"
    path.write_text("# a comment\nport = 9000\nworkers = 3\n")
    result = bare("--config", str(path), "settings", "--json", WORKERS="4").json
    assert result["TOKENSVC_PORT"] == {"value": 9000, "source": f"{path}:2"}
    assert result["TOKENSVC_WORKERS"] == {"value": 4, "source": "TOKENSVC_WORKERS"}
    assert bare("settings", "--json", CONFIG=str(path)).json["TOKENSVC_PORT"]["value"] == 9000
    other = bare.folder / "other.toml"
    other.write_text("port = 9001")
    result = bare("settings", "--json", "--config", str(other), CONFIG=str(path)).json
    assert result["TOKENSVC_PORT"]["value"] == 9001, "the option takes precedence over the variable"


def test_the_settings_file_is_given_once(bare: Terminal) -> None:
    for arguments in (
        ("settings", "--config", "a", "--config", "a"),
        ("--config", "a", "settings", "--config", "a"),
        ("--config", "a", "--config", "b", "settings"),
    ):
        assert "'--config': must be given only once" in bare(*arguments, code=2).err


def test_a_limit_in_the_file_that_differs_from_the_store_is_reported_with_its_line(terminal: Terminal) -> None:
    path = terminal.folder / "tokensvc.toml"
    path.write_text("max_ttl_seconds = 60\n")
    result = terminal("settings", "--json", "--config", str(path)).json["TOKENSVC_MAX_TTL_SECONDS"]
    assert (result["value"], result["source"]) == (3600, "store")
    assert result["problem"].startswith(f"{path}:1 is set to 60 here, but the stored value applies")
    terminal("db", "upgrade", "--config", str(path))
    assert terminal("settings", "--json").json["TOKENSVC_MAX_TTL_SECONDS"]["value"] == 60


def test_only_the_password_of_the_limiter_s_url_is_masked(bare: Terminal) -> None:
    result = bare("settings", "--json", LIMITER_URL="redis://app:a-password@redis.test:6379/0")
    assert result.json["TOKENSVC_LIMITER_URL"]["value"] == "redis://app:***@redis.test:6379/0"
    assert "a-password" not in result.out


def test_commands_that_read_no_settings_have_no_settings_file(bare: Terminal) -> None:
    for command in (("demo",), ("ivs", "serve")):
        assert "No such option: --config" in bare(*command, "--config", "x", code=2).err


def test_doctor_reports_each_error_of_the_settings_file(bare: Terminal) -> None:
    path = bare.folder / "tokensvc.toml"
    path.write_text("prot = 1\nworkers = 0\n")
    findings = bare("doctor", "--json", "--config", str(path), code=1).json["findings"]
    assert [(f["check"], f["detail"]) for f in findings] == [
        (f"{path}:1: prot", "is not a setting; did you mean port?"),
        (f"{path}:2: workers", "must be at least 1"),
    ]
    assert {f["fix"] for f in findings} == {
        "tokensvc doctor   (again, after fixing what the message names; it is about the settings file)"
    }
