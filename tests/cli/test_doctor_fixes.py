"""`tokensvc doctor`: every fix, run in a shell as it is printed, resolves its finding.

Invariants
- The fix is the text before the note. Only words in capitals are filled in, and `--yes` is added to commands that ask
  for confirmation.
- What a fix exports or unsets applies to the commands that follow, as in the reader's shell.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cli.terminal import Accounts, Terminal
from tests.storage.samples import denial
from tests.support.audit import EVENT
from tests.support.processes import TOKENSVC
from tokensvc.jose import keypair
from tokensvc.keys.inventory import DEPLOYMENT_TAG, KEY_TAG
from tokensvc.keys.lifecycle import StepKind
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.tokens.channels import ChannelRecord

pytestmark = [pytest.mark.e2e, pytest.mark.long]

BINARIES = Path(TOKENSVC).parent
ASKS = re.compile(r"tokensvc (keys (delete|compromise)|callers disable|denials remove)\b")
ARN = "arn:aws:ivs:us-east-1:123456789012:channel/a"


def failed_checks(terminal: Terminal) -> dict[str, dict[str, str]]:
    """The failed checks, by name."""
    return {f["check"]: f for f in terminal.run("doctor", "--json").json["findings"] if not f["ok"]}


def is_healthy(terminal: Terminal) -> bool:
    return not failed_checks(terminal)


def fix(terminal: Terminal, printed: str, words: dict[str, str]) -> None:
    """Run a printed fix in a shell."""
    command = printed.partition("   ")[0]
    for word, value in words.items():
        command = re.sub(rf"(?<![A-Z_]){re.escape(word)}(?![A-Z_])", value, command)
    if command.startswith("SQL: "):
        with sqlite3.connect(terminal.store) as store:
            store.executescript(command.removeprefix("SQL: "))
        return
    command = f"{command} --yes" if ASKS.match(command) else command
    environ = terminal.folder / "environ"
    completed = subprocess.run(
        ["bash", "-c", f"{command}; status=$?; env -0 > '{environ}'; exit $status"],
        env=terminal.environ | {"PATH": f"{BINARIES}:{os.environ['PATH']}"},
        cwd=terminal.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert completed.returncode == 0, f"{command}: {completed.stdout}{completed.stderr}"
    remaining = dict(line.split("=", 1) for line in environ.read_text().split("\0") if line)
    terminal.environ = {name: value for name, value in remaining.items() if name not in {"PWD", "SHLVL", "_", "OLDPWD"}}


def fixes(terminal: Terminal, check: str, **words: str) -> str:
    """Require a failed check, run its fix, and require that the check passes; returns the fix as printed."""
    before = failed_checks(terminal)
    assert check in before, before
    fix(terminal, before[check]["fix"], words)
    after = failed_checks(terminal)
    assert check not in after, (before[check], after[check])
    return before[check]["fix"]


def damage(store: Store, statement: str) -> None:
    """Change a row in a way that no version of tokensvc does."""
    with write_transaction(store.engine) as connection:
        connection.execute(sa.text(statement))


def passphrase_file(terminal: Terminal) -> str:
    file = terminal.folder / "passphrase"
    file.write_text(terminal.passphrase)
    file.chmod(0o600)
    return str(file)


def test_fixes_missing_settings(healthy: Terminal) -> None:
    url = healthy.environ.pop("TOKENSVC_DATABASE_URL")
    del healthy.environ["TOKENSVC_CONTROL_PLANE"], healthy.environ["TOKENSVC_PASSPHRASE"]
    fixes(healthy, "TOKENSVC_DATABASE_URL", **{"postgresql://…": url})
    fixes(healthy, "TOKENSVC_CONTROL_PLANE")
    printed = fixes(healthy, "TOKENSVC_PASSPHRASE", FILE=passphrase_file(healthy))
    assert "openssl" not in printed, "another passphrase cannot decrypt this store's secrets"
    assert is_healthy(healthy)


def test_fixes_a_new_store_without_a_passphrase(terminal: Terminal) -> None:
    del terminal.environ["TOKENSVC_PASSPHRASE"]
    fixes(terminal, "TOKENSVC_PASSPHRASE", FILE=str(terminal.folder / "made"))
    fixes(terminal, "key in us-east-1")
    fixes(terminal, "callers", NAME="web")
    assert is_healthy(terminal)


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOKENSVC_PROT", "1"), ("TOKENSVC_WORKERS", "0"), ("TOKENSVC_PASSPHRASE_FILE", "/nowhere")],
)
def test_fixes_an_invalid_or_unknown_setting(healthy: Terminal, name: str, value: str) -> None:
    healthy.environ[name] = value
    fixes(healthy, name)
    assert is_healthy(healthy)


def test_fixes_an_unknown_control_plane(healthy: Terminal) -> None:
    healthy.environ["TOKENSVC_CONTROL_PLANE"] = "mars"
    fixes(healthy, "TOKENSVC_CONTROL_PLANE", aws="local")
    assert is_healthy(healthy)


def test_fixes_an_unreadable_settings_file(healthy: Terminal) -> None:
    file = healthy.folder / "url"
    file.write_text(healthy.environ.pop("TOKENSVC_DATABASE_URL"))
    file.chmod(0o600)
    healthy.environ["TOKENSVC_DATABASE_URL_FILE"] = "/nowhere"
    fixes(healthy, "TOKENSVC_DATABASE_URL_FILE", FILE=str(file))
    assert is_healthy(healthy)


@pytest.mark.parametrize("is_empty", [False, True])
def test_fixes_a_store_that_was_never_created(bare: Terminal, *, is_empty: bool) -> None:
    if is_empty:
        bare.store.touch()
    assert fixes(bare, "store") == "tokensvc db upgrade"


@pytest.mark.parametrize(
    ("url", "check"),
    [
        ("postgresql://app:hunter2@127.0.0.1:1/tokens", "store"),
        ("postgresql://app:hun@ter2@127.0.0.1:1/tokens", "store"),
        ("postgresql:/nothing", "TOKENSVC_DATABASE_URL"),
        ("mysql://app:hunter2@db.test/tokens", "TOKENSVC_DATABASE_URL"),
    ],
)
def test_fixes_an_unreachable_store_without_an_upgrade(healthy: Terminal, url: str, check: str) -> None:
    valid_url = healthy.environ["TOKENSVC_DATABASE_URL"]
    healthy.environ["TOKENSVC_DATABASE_URL"] = url
    output = healthy.run("doctor").out
    assert "db upgrade" not in output
    assert "hun" not in output
    fixes(healthy, check, URL=valid_url)
    assert is_healthy(healthy)


def test_an_unreachable_store_is_reported_with_the_cause(bare: Terminal) -> None:
    bare.environ["TOKENSVC_DATABASE_URL"] = "postgresql://app:hunter2@127.0.0.1:1/tokens"
    detail = failed_checks(bare)["store"]["detail"]
    assert "Connection refused" in detail
    assert "host 127.0.0.1, port 1, database tokens, role app" in detail


def test_fixes_a_url_of_a_file_that_is_not_a_database(healthy: Terminal) -> None:
    url, other = healthy.environ["TOKENSVC_DATABASE_URL"], healthy.folder / "text"
    other.write_bytes(b"no database" * 1000)
    healthy.environ["TOKENSVC_DATABASE_URL"] = f"sqlite:///{other}"
    assert "db upgrade" not in fixes(healthy, "store", URL=url)


def test_a_store_of_a_later_version_is_not_upgraded(healthy: Terminal, store: Store) -> None:
    damage(store, "UPDATE alembic_version SET version_num = '9999'")
    assert failed_checks(healthy)["store"]["fix"].startswith("pip install")


def test_fixes_a_store_of_another_control_plane(healthy: Terminal) -> None:
    healthy.environ["TOKENSVC_CONTROL_PLANE"] = "aws"
    fixes(healthy, "TOKENSVC_CONTROL_PLANE")
    assert is_healthy(healthy)


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_TTL_SECONDS", "60"), ("KEY_PROPAGATION_SECONDS", "5"), ("KEY_MAX_AGE_DAYS", "30"), ("KEY_STANDBY", "true")],
)
def test_fixes_a_limit_that_differs_from_the_stored_one(healthy: Terminal, name: str, value: str) -> None:
    healthy.environ[f"TOKENSVC_{name}"] = value
    fixes(healthy, f"TOKENSVC_{name}")


def test_fixes_an_invalid_rotation_policy(healthy: Terminal, store: Store) -> None:
    del healthy.environ["TOKENSVC_KEY_PROPAGATION_SECONDS"]
    store.deployment.set_rotation(propagation_seconds=1, max_age_seconds=600, standby=False, event=EVENT)
    fixes(healthy, "rotation policy")
    assert is_healthy(healthy)


def test_fixes_a_wrong_passphrase(healthy: Terminal) -> None:
    healthy.environ["TOKENSVC_PASSPHRASE"] = secrets.token_hex(32)
    fixes(healthy, "wrapping keys", FILE=passphrase_file(healthy))
    assert is_healthy(healthy)


def test_fixes_secrets_under_the_previous_passphrase(healthy: Terminal) -> None:
    healthy.environ["TOKENSVC_PREVIOUS_PASSPHRASE"] = healthy.environ["TOKENSVC_PASSPHRASE"]
    healthy.environ["TOKENSVC_PASSPHRASE"] = secrets.token_hex(32)
    assert fixes(healthy, "private keys") == "tokensvc keys rewrap"
    assert is_healthy(healthy)


def _link(file: Path) -> None:
    other = file.with_name("elsewhere")
    file.rename(other)
    file.symlink_to(other)


@pytest.mark.parametrize(
    ("damage_file", "first_word"),
    [
        (lambda file: file.chmod(0o644), "chmod"),
        (lambda file: file.parent.chmod(0o777), "chmod"),
        (_link, "cp"),
        (lambda file: file.unlink(), "tokensvc"),
        (lambda file: file.write_bytes(b"junk"), "tokensvc"),
    ],
    ids=["readable", "writable", "linked", "gone", "damaged"],
)
def test_fixes_an_unusable_private_key(
    healthy: Terminal, damage_file: Callable[[Path], object], first_word: str
) -> None:
    [file] = healthy.vault.iterdir()
    damage_file(file)
    assert fixes(healthy, f"private key {file.stem}").startswith(first_word)
    assert is_healthy(healthy)


def test_fixes_a_lost_or_damaged_subject_key(healthy: Terminal, store: Store) -> None:
    store.deployment.add_subject_key(1, b"wrapped")
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.subject_keys))
    fixes(healthy, "subject key")
    store.deployment.add_subject_key(1, b"wrapped")
    damage(store, "UPDATE subject_keys SET created_at = 'junk'")
    fixes(healthy, "subject key")
    assert is_healthy(healthy)


def test_fixes_a_missing_region(healthy: Terminal) -> None:
    del healthy.environ["AWS_REGION"]
    fixes(healthy, "regions")
    assert is_healthy(healthy)


def test_fixes_a_missing_or_wrong_ivs_endpoint(healthy: Terminal) -> None:
    url = healthy.environ.pop("AWS_ENDPOINT_URL_IVS")
    fixes(healthy, "IVS", URL=url)
    healthy.environ["AWS_ENDPOINT_URL_IVS"] = "http://127.0.0.1:9"
    fixes(healthy, "IVS in us-east-1", URL=url)
    assert is_healthy(healthy)


@pytest.mark.parametrize("is_other_account", [False, True])
def test_fixes_wrong_credentials(healthy: Terminal, accounts: Accounts, *, is_other_account: bool) -> None:
    access_key, file = healthy.environ["AWS_ACCESS_KEY_ID"], healthy.folder / "credentials"
    file.write_text(f"[ours]\naws_access_key_id = {access_key}\naws_secret_access_key = {access_key}\n")
    healthy.environ |= {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_SECRET_ACCESS_KEY": "wrong"}
    if is_other_account:
        other = accounts.next()
        healthy.environ |= {"AWS_ACCESS_KEY_ID": other, "AWS_SECRET_ACCESS_KEY": other}
        with healthy.ivs() as ivs:
            imported(ivs)
    fixes(healthy, "IVS in us-east-1", PROFILE="ours")
    assert is_healthy(healthy)


def imported(ivs: Any, **tags: str) -> str:
    """Import a pair without tokensvc; returns its ARN."""
    material = keypair.public_pem(keypair.generate().public_key())
    return str(ivs.import_playback_key_pair(publicKeyMaterial=material, tags=tags)["keyPair"]["arn"])


def test_fixes_slots_filled_by_foreign_pairs(healthy: Terminal) -> None:
    if shutil.which("aws", path=str(BINARIES)) is None:
        pytest.skip("the AWS command line is not installed")
    with healthy.ivs() as ivs:
        for _ in range(2):
            imported(ivs)
    fixes(healthy, "slots in us-east-1")
    assert is_healthy(healthy)


def test_fixes_orphaned_pairs(healthy: Terminal, store: Store) -> None:
    access_key = store.deployment.read().id
    with healthy.ivs() as ivs:
        unknown = imported(ivs, **{DEPLOYMENT_TAG: access_key, KEY_TAG: "klost"})
    fixes(healthy, f"key pair {unknown}")
    assert is_healthy(healthy)


def test_fixes_an_untagged_and_a_deleted_pair(healthy: Terminal) -> None:
    [key] = healthy("keys", "list", "--json").json["keys"]
    arn = key["placements"][0]["arn"]
    with healthy.ivs() as ivs:
        ivs.untag_resource(resourceArn=arn, tagKeys=[DEPLOYMENT_TAG, KEY_TAG])
        fixes(healthy, f"key {key['id']} in us-east-1")
        ivs.delete_playback_key_pair(arn=arn)
    fixes(healthy, "key in us-east-1")
    assert is_healthy(healthy)


def test_fixes_a_different_fingerprint(healthy: Terminal) -> None:
    mine = keypair.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with healthy.ivs() as ivs:
        arn = imported(ivs)
    key_id = healthy("keys", "import", "-", "--arn", arn, "--json", stdin=mine).json["id"]
    fixes(healthy, f"key {key_id} in us-east-1")
    assert is_healthy(healthy)


def test_fixes_an_active_key_that_is_too_old(healthy: Terminal, store: Store) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    healthy("keys", "generate")
    [_, second] = store.keys.list()
    store.keys.activate(second.id, second.placements[0].account_region, long_ago, 600)
    store.deployment.set_rotation(propagation_seconds=0, max_age_seconds=86_400.0, standby=False, event=EVENT)
    assert fixes(healthy, "key in us-east-1") == "tokensvc keys rotate"
    assert is_healthy(healthy)


def test_fixes_an_unfinished_step_and_rotation(healthy: Terminal, store: Store) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    [record] = store.keys.list()
    store.journal.start(StepKind.DELETE, record.id, "us-east-1", "a test", long_ago, event=EVENT)
    store.rotation_requests.request("r1", {"us-east-1": record.id}, long_ago, "ada", event=EVENT)
    fixes(healthy, f"step delete of key {record.id}")
    assert is_healthy(healthy)


def test_fixes_a_deployment_with_only_disabled_callers(healthy: Terminal) -> None:
    healthy("callers", "disable", "web", "--yes")
    assert fixes(healthy, "callers").startswith("tokensvc callers enable web")
    assert is_healthy(healthy)


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE callers SET policy = '}' WHERE name = 'shop'", "caller shop"),
        ("UPDATE caller_secrets SET digest = 'junk' WHERE caller = 'shop'", "caller shop"),
        ("UPDATE denials SET denied_until = -1", f"denial {denial('v').digest.hex()}"),
        ("UPDATE channels SET checked_at = 'junk'", f"channel {ARN}"),
        ("UPDATE deployment SET max_ttl_seconds = -5", "max_ttl_seconds"),
    ],
)
def test_fixes_unreadable_rows(healthy: Terminal, store: Store, statement: str, check: str) -> None:
    healthy("callers", "add", "shop", "--all-channels")
    store.channels.record([ChannelRecord(ARN, "https://edge.test/a.m3u8", True, datetime.now(UTC), 0)])
    store.denials.add("shop", [denial("v")], event=EVENT)
    damage(store, statement)
    fixes(healthy, check)
    assert is_healthy(healthy)


def test_fixes_an_unreadable_key(healthy: Terminal, store: Store) -> None:
    [record] = store.keys.list()
    damage(store, "UPDATE key_placements SET state = 'junk'")
    fixes(healthy, f"key {record.id}")
