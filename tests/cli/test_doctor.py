"""`tokensvc doctor`: every problem is reported together with its fix."""

from __future__ import annotations

import re
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cli.terminal import Terminal
from tests.storage.samples import denial
from tests.support.audit import EVENT
from tests.support.problems import make_problem
from tokensvc.background.heartbeat import UNRESPONSIVE_AFTER_SECONDS
from tokensvc.cli.checks.ivs import _fix_of
from tokensvc.clock import SystemClock
from tokensvc.deployment.workers import Heartbeat
from tokensvc.errors import Action, ControlPlaneUnavailable, Remedy
from tokensvc.jose import keypair
from tokensvc.jose import signing as signers
from tokensvc.keys.inventory import COMPROMISED_TAG, DEPLOYMENT_TAG, KEY_TAG
from tokensvc.keys.lifecycle import StepKind
from tokensvc.problems import Problem, ProblemCode
from tokensvc.storage import schema
from tokensvc.storage.engine import write_transaction
from tokensvc.storage.store import Store
from tokensvc.tokens.channels import ChannelRecord

pytestmark = pytest.mark.slow

HAS_FIX = re.compile(
    r"(export|unset|tokensvc|aws|chmod|chown|cp|mkdir|kill|pip|df|env|chronyc|SQL:|\(umask|TOKENSVC_\w+=\S+)"
    r"( ((?!   ).)+)?(   \(.+\))?$"
)
"""A shell command line, then perhaps a note."""

LONG_AGO = datetime.now(UTC) - timedelta(days=30)
CONFIGURE = Remedy(Action.CONFIGURE_REGION, {"region": "eu-west-1"})


def signing(terminal: Terminal) -> Any:
    """The active key, as shown by `keys list`."""
    return next(
        key for key in terminal("keys", "list", "--json").json["keys"] if key["placements"][0]["state"] == "active"
    )


def failed_checks(terminal: Terminal, **settings: str) -> dict[str, Any]:
    """The failed checks: detail and fix by the name of the check."""
    result = terminal("doctor", "--json", code=1, **settings).json
    assert result["ok"] is False
    for finding in result["findings"]:
        assert finding["ok"] or HAS_FIX.match(finding["fix"]), finding
    return {f["check"]: (f["detail"], f["fix"]) for f in result["findings"] if not f["ok"]}


def test_a_healthy_deployment_passes_and_nothing_is_changed(healthy: Terminal) -> None:
    before = _stored_bytes(healthy)
    result = healthy("doctor", "--json").json
    assert result["ok"] is True
    assert all(finding["ok"] for finding in result["findings"])
    text = healthy("doctor").out
    assert "FAIL" not in text
    assert "1 of 3 key slots used" in text
    assert _stored_bytes(healthy) == before


def test_missing_settings_are_reported(bare: Terminal) -> None:
    missing = {"TOKENSVC_CONTROL_PLANE", "TOKENSVC_DATABASE_URL", "TOKENSVC_PASSPHRASE"}
    failed = failed_checks(bare, without=" ".join(missing))
    assert failed.keys() >= missing
    assert all(f"export {variable}" in failed[variable][1] for variable in missing)


def test_an_invalid_or_unknown_setting_is_reported(bare: Terminal) -> None:
    failed = failed_checks(bare, PROT="1", WORKERS="0")
    assert "TOKENSVC_PORT" in failed["TOKENSVC_PROT"][0]
    assert "TOKENSVC_WORKERS" in failed


def test_the_signer_is_reported_with_the_reason_for_its_choice(healthy: Terminal) -> None:
    result = healthy("doctor", "--json", SIGNER="aws-lc").json
    assert {"ok": True, "check": "signer", "detail": "aws-lc (aws-lc is configured)", "fix": None} in result["findings"]


def test_an_unusable_signer_is_reported(healthy: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokensvc.jose.signing._multibuffer", None)
    monkeypatch.delattr(signers, "_multibuffer", raising=False)
    detail, fix = failed_checks(healthy, SIGNER="multibuffer")["signer"]
    assert "no signer can be used (multibuffer: " in detail
    assert fix == "unset TOKENSVC_SIGNER"
    assert "signer" not in {f["check"] for f in healthy("doctor", "--json").json["findings"] if not f["ok"]}


def test_a_missing_store_is_reported(bare: Terminal) -> None:
    assert failed_checks(bare)["store"][1] == "tokensvc db upgrade"
    bare.store.touch()
    assert failed_checks(bare)["store"][1] == "tokensvc db upgrade"


def test_a_store_of_another_control_plane_is_reported(healthy: Terminal) -> None:
    failed = failed_checks(healthy, CONTROL_PLANE="aws")
    assert failed.keys() == {"TOKENSVC_CONTROL_PLANE"}, "IVS is not checked until this is fixed"
    assert failed["TOKENSVC_CONTROL_PLANE"][0] == "is aws, but the keys of this store are in local"


def test_a_limit_that_differs_from_the_stored_one_is_reported(healthy: Terminal) -> None:
    assert failed_checks(healthy, MAX_TTL_SECONDS="60")["TOKENSVC_MAX_TTL_SECONDS"] == (
        "is 60 here, but the stored value 3600 applies",
        "tokensvc db upgrade   (or unset TOKENSVC_MAX_TTL_SECONDS)",
    )


def test_a_wrong_passphrase_is_reported(healthy: Terminal) -> None:
    assert (
        "the passphrase is not the one" in failed_checks(healthy, PASSPHRASE=secrets.token_hex(32))["wrapping keys"][0]
    )


def test_missing_keys_and_callers_are_reported(terminal: Terminal) -> None:
    failed = failed_checks(terminal)
    assert failed["key in us-east-1"][1] == "tokensvc keys generate"
    assert failed["callers"][1].startswith("tokensvc callers add")


def test_a_deployment_with_only_disabled_callers_is_reported(healthy: Terminal) -> None:
    healthy("callers", "disable", "web", "--yes")
    assert failed_checks(healthy).keys() == {"callers"}


def test_a_missing_or_insecure_private_key_is_reported(healthy: Terminal) -> None:
    (file,) = healthy.vault.iterdir()
    file.chmod(0o644)
    ((what, (_, fix)),) = failed_checks(healthy).items()
    assert what == f"private key {file.stem}"
    assert fix == f"chmod 600 {file}"
    file.unlink()
    assert "there is no private key" in failed_checks(healthy)[what][0]


def test_unreachable_ivs_and_rejected_credentials_are_reported(healthy: Terminal) -> None:
    unreachable = failed_checks(healthy, AWS_ENDPOINT_URL_IVS="http://127.0.0.1:9")
    assert unreachable.keys() == {"IVS in us-east-1"}
    assert unreachable["IVS in us-east-1"][1].startswith("export AWS_ENDPOINT_URL_IVS=URL   (of the local IVS")
    detail, fix = failed_checks(healthy, AWS_SECRET_ACCESS_KEY="wrong")["IVS in us-east-1"]
    assert "InvalidSignatureException" in detail
    assert "AWS_PROFILE" in fix


def test_an_unavailable_aws_is_not_mended_by_another_endpoint() -> None:
    failure = ControlPlaneUnavailable("IVS failed", operation="ListPlaybackKeyPairs", ivs_code="503", status=503)
    fix = _fix_of(failure, is_local=False)
    assert fix.startswith("tokensvc doctor   (in a moment")


def test_a_missing_region_is_reported(healthy: Terminal) -> None:
    detail, fix = failed_checks(healthy, without="AWS_REGION")["regions"]
    assert "TOKENSVC_REGIONS" in detail
    assert "AWS_REGION" in fix


@pytest.mark.long
def test_an_active_key_missing_in_ivs_is_reported_and_fixed(healthy: Terminal) -> None:
    (key,) = healthy("keys", "list", "--json").json["keys"]
    with healthy.ivs() as ivs:
        ivs.delete_playback_key_pair(arn=key["placements"][0]["arn"])
    detail, fix = failed_checks(healthy)["key in us-east-1"]
    assert "is active but not in IVS" in detail
    assert follow(healthy) == ["tokensvc keys reconcile"]
    assert fix == "tokensvc keys reconcile"


@pytest.mark.long
@pytest.mark.parametrize("standby", [False, True])
def test_a_store_restored_from_before_a_compromise_is_repaired(healthy: Terminal, *, standby: bool) -> None:
    """All slots are full: two retiring keys, or one and a standby; a new key was imported after the compromise."""
    healthy("keys", "rotate")
    if standby:
        healthy("keys", "generate")
    else:
        healthy("keys", "rotate")
    restore = backup(healthy)
    bad_key = signing(healthy)["id"]
    healthy("keys", "compromise", bad_key, "--yes")
    healthy("keys", "reconcile")
    restore()
    assert f"{bad_key} is active but not in IVS" in failed_checks(healthy)["key in us-east-1"][0]
    followed = follow(healthy)
    assert followed[0] == "tokensvc keys reconcile"
    assert signing(healthy)["id"] != bad_key


@pytest.mark.long
def test_a_restored_store_with_no_usable_key_and_a_full_region_is_repaired(healthy: Terminal) -> None:
    restore = backup(healthy)
    former = signing(healthy)["id"]
    for _ in range(2):
        healthy("keys", "rotate")
    healthy("keys", "compromise", former, "--yes")
    healthy("keys", "rotate")
    restore()
    [first, second, *rest] = follow(healthy)
    assert first.startswith("tokensvc keys delete arn:"), "a slot is freed first"
    assert second == "tokensvc keys reconcile"
    assert all(command.startswith("tokensvc keys delete arn:") for command in rest)
    assert signing(healthy)["id"] != former


def test_a_restored_store_with_an_unfinished_compromise_is_repaired(
    healthy: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokensvc.keys.retirement.RETRY_PAUSES_SECONDS", ())
    restore = backup(healthy)
    key = signing(healthy)
    with healthy.ivs() as ivs:
        ivs.tag_resource(resourceArn=key["placements"][0]["arn"], tags={COMPROMISED_TAG: "2027-01-15T08:00:00Z"})
    restore()
    detail, fix = failed_checks(healthy)["key in us-east-1"]
    assert "tagged as compromised in IVS" in detail
    assert follow(healthy) == [fix]
    assert signing(healthy)["id"] != key["id"]


@pytest.mark.parametrize("damage", [b"", b"\x00 no key", b"Wrapped-By: passphrase:"], ids=["empty", "junk", "cut"])
def test_a_damaged_private_key_is_reported_and_replaced(healthy: Terminal, damage: bytes) -> None:
    key_id = signing(healthy)["id"]
    (healthy.vault / f"{key_id}.pem").write_bytes(damage)
    detail, _ = failed_checks(healthy)[f"private key {key_id}"]
    assert detail.startswith("cannot sign: ")
    assert follow(healthy) == ["tokensvc keys reconcile"]
    assert signing(healthy)["id"] != key_id


def test_an_invalid_rotation_policy_is_reported(healthy: Terminal, store: Store) -> None:
    store.deployment.set_rotation(propagation_seconds=0, max_age_seconds=600, standby=False, event=EVENT)
    detail, fix = failed_checks(healthy)["rotation policy"]
    assert "propagation delay + drain" in detail
    assert fix.startswith("TOKENSVC_KEY_MAX_AGE_DAYS=")


def test_an_active_key_older_than_the_policy_allows_is_reported(healthy: Terminal, store: Store) -> None:
    store.keys.activate(_prepared_key(healthy, store), store.keys.list()[0].placements[0].account_region, LONG_AGO, 600)
    assert healthy("doctor", "--json").json["ok"] is True
    store.deployment.set_rotation(propagation_seconds=0, max_age_seconds=86_400.0, standby=False, event=EVENT)
    detail, fix = failed_checks(healthy)["key in us-east-1"]
    assert "active for 30 days; the policy allows 1 day" in detail
    assert fix == "tokensvc keys rotate"
    healthy("keys", "rotate")
    assert healthy("doctor", "--json").json["ok"] is True


def test_foreign_pairs_that_prevent_rotation_are_reported(healthy: Terminal) -> None:
    with healthy.ivs() as ivs:
        arns = [_imported(ivs) for _ in range(2)]
    detail, fix = failed_checks(healthy)["slots in us-east-1"]
    assert "2 of the 3 key pair slots in us-east-1 are used by other applications" in detail
    assert fix.startswith("aws ivs delete-playback-key-pair --region us-east-1 --arn ")
    assert all(arn in fix for arn in arns)
    assert all(
        f"key pair {arn}: not created by tokensvc; it is not touched" in healthy("doctor", code=1).out for arn in arns
    )


def test_a_pair_of_another_deployment_is_not_a_problem(healthy: Terminal) -> None:
    with healthy.ivs() as ivs:
        arn = _imported(ivs, **{DEPLOYMENT_TAG: "another"})
    assert f"key pair {arn}: belongs to deployment another; it is not touched" in healthy("doctor").out


def test_a_pair_with_our_tag_for_an_unknown_key_is_reported(healthy: Terminal, store: Store) -> None:
    with healthy.ivs() as ivs:
        arn = _imported(ivs, **{DEPLOYMENT_TAG: store.deployment.read().id, KEY_TAG: "klost"})
    detail, fix = failed_checks(healthy)[f"key pair {arn}"]
    assert "is tagged as key klost, which is not in the store" in detail
    healthy(*fix.split()[1:], "--yes")
    assert healthy("doctor", "--json").json["ok"] is True


def test_an_unrecorded_import_is_reported(healthy: Terminal, store: Store) -> None:
    other = store.keys.add("k77", "f", b"another", datetime.now(UTC))
    with healthy.ivs() as ivs:
        arn = _imported(ivs, **{DEPLOYMENT_TAG: store.deployment.read().id, KEY_TAG: other.id})
    before = store.keys.list()
    assert failed_checks(healthy)[f"key pair {arn}"] == (
        "is key k77, but its import was never recorded",
        "tokensvc keys reconcile",
    )
    assert store.keys.list() == before, "doctor changes nothing"


def test_removed_tags_are_reported(healthy: Terminal) -> None:
    key = signing(healthy)
    with healthy.ivs() as ivs:
        ivs.untag_resource(resourceArn=key["placements"][0]["arn"], tagKeys=[DEPLOYMENT_TAG, KEY_TAG])
    detail, fix = failed_checks(healthy)[f"key {key['id']} in us-east-1"]
    assert "has lost tokensvc's tags" in detail
    healthy(*fix.split()[1:])
    assert healthy("doctor", "--json").json["ok"] is True


def test_a_different_fingerprint_in_ivs_is_reported(healthy: Terminal) -> None:
    mine = keypair.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with healthy.ivs() as ivs:
        arn = _imported(ivs)
    key_id = healthy("keys", "import", "-", "--arn", arn, "--json", stdin=mine).json["id"]
    detail, fix = failed_checks(healthy)[f"key {key_id} in us-east-1"]
    assert "fingerprint" in detail
    assert fix.startswith(f"tokensvc keys activate {key_id}   (if {arn} is the right pair")
    healthy("keys", "activate", key_id)
    assert healthy("doctor", "--json").json["ok"] is True, "an operator confirmed the pair"


def test_a_wrong_clock_is_reported(healthy: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "now", staticmethod(lambda: time.time() + 20))
    detail, fix = failed_checks(healthy)["clock"]
    assert re.match(r"\+2\d s from IVS", detail)
    assert "chronyc" in fix


def test_stale_workers_and_undecryptable_keys_are_reported(
    healthy: Terminal, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokensvc.cli.checks.keys._SYNC_SECONDS", 0.0)
    (number, tag), key_id = store.versions.read().keys, signing(healthy)["id"]
    store.workers.record_heartbeat(Heartbeat("deaf:1:a", "deaf", 1, 900, number - 1, 1))
    store.workers.record_heartbeat(
        Heartbeat("blind:2:b", "blind", 2, 900, number, 1, undecryptable=(key_id, "kold"), keys_tag=tag)
    )
    failed = failed_checks(healthy)
    assert failed.keys() == {"worker deaf:1:a", "worker blind:2:b"}
    assert "may use an older key set until" in failed["worker deaf:1:a"][0]
    assert failed["worker blind:2:b"][0] == f"cannot decrypt key {key_id}, which is active"
    assert "tokensvc doctor" in failed["worker blind:2:b"][1]


def test_a_worker_that_is_about_to_load_a_change_is_not_reported(
    healthy: Terminal, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, tag = store.versions.read().keys
    store.workers.record_heartbeat(Heartbeat("busy:1:a", "busy", 1, 900, number - 1, 1))

    def load_the_change(_seconds: float) -> None:
        store.workers.record_heartbeat(Heartbeat("busy:1:a", "busy", 1, 900, number, 1, keys_tag=tag))

    monkeypatch.setattr("tokensvc.cli.checks.keys.sleep", load_the_change)
    assert healthy("doctor", "--json").json["ok"] is True, "doctor suggests killing a worker that is in order"


def test_problems_of_live_workers_are_reported_once(healthy: Terminal, store: Store) -> None:
    keys, text = store.versions.read().keys, "us-east-1: IVS responded to ImportPlaybackKeyPair with AccessDenied"
    problems = (make_problem(text),)
    for name in ("one:1:a", "two:2:b"):
        store.workers.record_heartbeat(
            Heartbeat(name, "here", 1, 900, keys.number, 1, problems=problems, keys_tag=keys.tag)
        )
    assert failed_checks(healthy)["background"][0] == text
    assert healthy("doctor", code=1).out.count(text) == 1
    with write_transaction(store.engine) as connection:
        connection.execute(
            sa.update(schema.workers).values(
                last_heartbeat_at=schema.workers.c.last_heartbeat_at - UNRESPONSIVE_AFTER_SECONDS - 1
            )
        )
    assert healthy("doctor", "--json").json["ok"] is True


def test_a_problem_that_workers_report_has_a_fix_of_its_own_kind(healthy: Terminal, store: Store) -> None:
    keys, aws_lc = store.versions.read().keys, Remedy(Action.REPLACE_SIGNER)
    fixes = {
        Problem(ProblemCode.REVOCATIONS_REJECTED, "us-east-1"): "tokensvc revocations watch --once",
        Problem(ProblemCode.REVOCATIONS_LATE, "us-east-1"): "tokensvc revocations watch --once",
        Problem(ProblemCode.REVOCATIONS_UNSERVED, "eu-west-1", remedy=CONFIGURE): "export TOKENSVC_REGIONS=eu-west-1",
        Problem(ProblemCode.SIGNER_FAILED, remedy=aws_lc): "export TOKENSVC_SIGNER=aws-lc",
        Problem(ProblemCode.ROTATION_BLOCKED, "us-east-1"): "tokensvc keys reconcile",
    }
    for problem, command in fixes.items():
        heartbeat = Heartbeat("one:1:a", "here", 1, 900, keys.number, 1, problems=(problem,), keys_tag=keys.tag)
        store.workers.record_heartbeat(heartbeat)
        assert failed_checks(healthy)["background"][1].partition("   ")[0] == command


def test_unfinished_steps_and_rotations_are_reported(healthy: Terminal, store: Store) -> None:
    account_region = store.keys.list()[0].placements[0].account_region
    store.keys.activate(_prepared_key(healthy, store), account_region, LONG_AGO, 600)
    key_id = signing(healthy)["id"]
    store.journal.start(StepKind.DELETE, key_id, "us-east-1", "a test", LONG_AGO, event=EVENT)
    store.rotation_requests.request("r1", {"us-east-1": key_id}, LONG_AGO + timedelta(days=1), "ada", event=EVENT)
    failed = failed_checks(healthy)
    assert failed.keys() == {f"step delete of key {key_id}", "rotation r1"}
    assert "by ada; not done in us-east-1" in failed["rotation r1"][0]
    assert {fix for _, fix in failed.values()} == {"tokensvc keys reconcile"}
    healthy("keys", "reconcile")
    assert healthy("doctor", "--json").json["ok"] is True


def test_a_compromised_key_still_in_ivs_is_reported(healthy: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokensvc.keys.retirement.RETRY_PAUSES_SECONDS", ())
    key_id = signing(healthy)["id"]
    healthy("keys", "compromise", key_id, "--yes", code=1, AWS_ENDPOINT_URL_IVS="http://127.0.0.1:9")
    assert failed_checks(healthy)[f"key {key_id} in us-east-1"] == (
        "is compromised but still in IVS",
        "tokensvc keys reconcile",
    )
    healthy("keys", "reconcile")
    assert healthy("doctor", "--json").json["ok"] is True


def follow(terminal: Terminal) -> list[str]:
    """Run the first fix that doctor prints until all checks pass; every fix must succeed. Returns the fixes."""
    followed: list[str] = []
    while len(followed) < 5:
        result = terminal.run("doctor", "--json").json
        if result["ok"]:
            return followed
        wrong = [finding for finding in result["findings"] if not finding["ok"]]
        followed.append(wrong[0]["fix"])
        command = followed[-1].partition("   ")[0].split()
        terminal(*command[1:], *(["--yes"] if "delete" in command else []))
    raise AssertionError(followed)


def backup(terminal: Terminal) -> Callable[[], None]:
    """Back up the store; returns a function that restores it."""
    copy = terminal.store.with_name("backup.db")
    with sqlite3.connect(terminal.store) as source, sqlite3.connect(copy) as target:
        source.backup(target)

    def restore() -> None:
        for leftover in ("-wal", "-shm"):
            terminal.store.with_name(terminal.store.name + leftover).unlink(missing_ok=True)
        copy.replace(terminal.store)

    return restore


def _stored_bytes(terminal: Terminal) -> list[bytes]:
    """Everything that the deployment stores, byte by byte."""
    store = sqlite3.connect(terminal.store)
    rows = "\n".join(line for line in store.iterdump() if not line.startswith('INSERT INTO "leases"'))
    store.close()
    return [rows.encode(), *(path.read_bytes() for path in sorted(terminal.vault.iterdir()))]


def _imported(ivs: Any, **tags: str) -> str:
    """Import a pair without tokensvc; returns its ARN."""
    material = keypair.public_pem(keypair.generate().public_key())
    return str(ivs.import_playback_key_pair(publicKeyMaterial=material, tags=tags)["keyPair"]["arn"])


def _prepared_key(terminal: Terminal, store: Store) -> str:
    """Create a second, prepared key; returns its id."""
    terminal("keys", "generate")
    return store.keys.list()[-1].id


def test_unreadable_rows_are_reported_with_a_fix(healthy: Terminal, store: Store) -> None:
    healthy("callers", "add", "shop", "--all-channels")
    arn = "arn:aws:ivs:us-east-1:123456789012:channel/a"
    store.channels.record([ChannelRecord(arn, "https://edge.test/a.m3u8", True, datetime.now(UTC), 0)])
    store.denials.add("shop", [denial("v")], event=EVENT)
    with write_transaction(store.engine) as connection:
        connection.execute(sa.text("UPDATE callers SET policy = '}' WHERE name = 'shop'"))
        connection.execute(sa.text("UPDATE denials SET denied_until = -1"))
        connection.execute(sa.text("UPDATE channels SET checked_at = 'junk'"))
        connection.execute(sa.text("UPDATE deployment SET max_ttl_seconds = -5"))
    failed = failed_checks(healthy)
    assert failed["caller shop"][0] == "cannot be read, so its requests are rejected: policy is not JSON"
    assert "backup" in failed["caller shop"][1]
    assert f"denial {denial('v').digest.hex()}" in failed
    assert f"channel {arn}" in failed
    assert "no token is issued" in failed["max_ttl_seconds"][0]
    healthy("db", "upgrade", MAX_TTL_SECONDS="3600")
    healthy("callers", "disable", "shop", "--yes")
    assert "max_ttl_seconds" not in failed_checks(healthy)


def test_a_lost_subject_key_is_reported_with_a_fix(healthy: Terminal, store: Store) -> None:
    store.deployment.add_subject_key(1, b"wrapped")
    with write_transaction(store.engine) as connection:
        connection.execute(sa.delete(schema.subject_keys))
    detail, fix = failed_checks(healthy)["subject key"]
    assert "subject key is missing" in detail
    assert "backup" in fix
    with write_transaction(store.engine) as connection:
        connection.execute(sa.text("UPDATE deployment SET subject_keys_created = 0"))
    assert healthy("doctor", "--json").json["ok"] is True


def test_json_has_a_fix_for_failed_checks_and_null_otherwise(healthy: Terminal) -> None:
    for result in (healthy("doctor", "--json"), healthy("doctor", "--json", code=1, without="TOKENSVC_PASSPHRASE")):
        findings = result.json["findings"]
        assert {finding["check"] for finding in findings if finding["ok"]}
        assert all((finding["fix"] is None) == finding["ok"] for finding in findings)
