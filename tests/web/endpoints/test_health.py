"""Readiness: one question, answered by signing and judging."""

from __future__ import annotations

import json

import orjson
import pytest

from tests.support.asgi_client import response_of, scope_of
from tests.support.clocks import ManualClock
from tests.support.problems import make_problem
from tests.support.tokens import CHANNEL, Prepared, raw_sign, snapshot_of
from tokensvc.aws.arn import AccountRegion, Arn
from tokensvc.http.problem_details import Response
from tokensvc.jose import keypair
from tokensvc.jose.es384 import digest, signing_input
from tokensvc.jose.keypair import PrivateKey
from tokensvc.problems import Problem
from tokensvc.tokens.keyring import EMPTY_KEYRING, Keyring, RegionKeys, SigningKey
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.web.endpoints.health import Readiness, livez

ELSEWHERE = AccountRegion("123456789012", "eu-west-1")


class Worker:
    """A worker whose snapshot a test may change."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.clock = ManualClock()
        self.problems: list[Problem] = []
        self.readiness = Readiness(lambda: self.snapshot, self.clock, lambda: self.problems, lease_seconds=900)

    def ask(self) -> Response:
        return response_of(self.readiness.readyz, scope_of("GET", "/readyz"), b"")

    def code(self) -> str:
        answer = self.ask()
        assert answer.status == 503
        assert (b"retry-after", b"1") in answer.headers
        assert json.loads(answer.body)["code"] == answer.code
        return answer.code


@pytest.fixture
def worker(private_key: PrivateKey) -> Worker:
    return Worker(snapshot_of(private_key))


def test_livez_returns_200() -> None:
    assert response_of(livez, scope_of("GET", "/livez"), b"").status == 200


def test_a_worker_that_can_sign_is_ready(worker: Worker) -> None:
    answer = worker.ask()
    assert answer.status == 200
    assert json.loads(answer.body) == {"status": "ready", "warnings": []}


def test_a_stale_snapshot_is_unready(worker: Worker) -> None:
    worker.clock.advance(901)
    assert worker.code() == "snapshot_stale"


def test_a_wrong_clock_is_unready(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(clock_error_seconds=60.0)
    assert worker.code() == "snapshot_stale"


def test_a_worker_without_any_key_is_unready_and_names_the_remedy(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(keyring=EMPTY_KEYRING)
    assert worker.code() == "no_signing_key"
    assert "no key exists yet; an operator must generate one" in worker.ask().body.decode()


def test_a_key_whose_signature_ivs_would_reject_is_unready(worker: Worker, private_key: PrivateKey) -> None:
    stranger = keypair.generate()
    wrong = SigningKey("k1", Prepared(lambda digest: raw_sign(stranger, digest)), 600)
    worker.snapshot = worker.snapshot._replace(
        keyring=Keyring({CHANNEL.account_region: RegionKeys(wrong, {"k1": private_key.public_key()})})
    )
    assert worker.code() == "no_signing_key"
    assert "denied by the rule signature" in worker.ask().body.decode()


def test_a_problem_in_one_region_is_a_warning(worker: Worker) -> None:
    slots = {
        **worker.snapshot.keyring.region_keys,
        ELSEWHERE: RegionKeys(None, {}, problems="the active key k2 cannot be opened"),
    }
    worker.snapshot = worker.snapshot._replace(keyring=Keyring(slots))
    answer = worker.ask()
    assert answer.status == 200
    assert json.loads(answer.body)["warnings"] == ["eu-west-1: the active key k2 cannot be opened"]


def test_a_retiring_key_that_replaces_an_undecryptable_active_key_is_ready_with_a_warning(worker: Worker) -> None:
    slot = worker.snapshot.keyring.region_keys[CHANNEL.account_region]
    assert slot.active is not None
    stead = slot._replace(
        active=slot.active._replace(not_after=worker.clock.now() + 10), problems="k2 cannot be opened"
    )
    worker.snapshot = worker.snapshot._replace(keyring=Keyring({CHANNEL.account_region: stead}))
    answer = worker.ask()
    assert answer.status == 200
    assert json.loads(answer.body)["warnings"] == ["us-east-1: k2 cannot be opened"]
    worker.clock.advance(11)
    assert worker.code() == "no_signing_key"
    assert "k2 cannot be opened" in worker.ask().body.decode()


def test_problems_of_background_tasks_are_warnings(worker: Worker) -> None:
    worker.problems = [make_problem("us-east-1: IVS did not answer")]
    answer = worker.ask()
    assert answer.status == 200
    assert json.loads(answer.body)["warnings"] == ["us-east-1: IVS did not answer"]


def test_an_unavailable_store_is_a_warning_within_the_lease(worker: Worker) -> None:
    worker.clock.advance(5)
    assert json.loads(worker.ask().body)["warnings"] == []
    worker.clock.advance(95)
    answer = worker.ask()
    assert answer.status == 200
    [told] = json.loads(answer.body)["warnings"]
    assert "has not responded for 100 s" in told
    assert "stops signing in 800 s" in told


def test_a_problem_in_every_region_is_unready(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(keyring=Keyring({ELSEWHERE: RegionKeys(None, {})}))
    assert worker.code() == "no_signing_key"
    assert "no active key" in worker.ask().body.decode()


def test_a_stopping_worker_is_unready_at_once(worker: Worker) -> None:
    assert worker.ask().status == 200
    worker.readiness.drain()
    assert worker.code() == "draining"


def test_frequent_probes_cost_one_signature_per_second(worker: Worker, private_key: PrivateKey) -> None:
    signed: list[bytes] = []

    def sign(digest: bytes) -> bytes:
        signed.append(digest)
        return raw_sign(private_key, digest)

    slot = RegionKeys(SigningKey("k1", Prepared(sign), 600), {"k1": private_key.public_key()})
    worker.snapshot = worker.snapshot._replace(keyring=Keyring({CHANNEL.account_region: slot}))
    for _ in range(10):
        worker.ask()
        worker.clock.advance(0.1)
    assert len(signed) == 1
    worker.clock.advance(0.2)
    worker.ask()
    assert len(signed) == 2


def test_the_probe_token_is_for_an_impossible_channel_and_expires_in_a_second(
    worker: Worker, private_key: PrivateKey
) -> None:
    signed: list[bytes] = []

    def sign(digest: bytes) -> bytes:
        signed.append(digest)
        return raw_sign(private_key, digest)

    slot = RegionKeys(SigningKey("k1", Prepared(sign), 600), {"k1": private_key.public_key()})
    worker.snapshot = worker.snapshot._replace(keyring=Keyring({CHANNEL.account_region: slot}))
    answer = worker.ask()
    arn = Arn(CHANNEL.account_region, "channel", "readiness-probe")
    probe = signing_input(orjson.dumps({"aws:channel-arn": str(arn), "exp": int(worker.clock.now()) + 1}))
    assert signed == [digest(probe)]
    assert probe.split(b".")[1] not in answer.body


def test_a_clock_jump_is_unready_at_once(worker: Worker) -> None:
    """Although the answer of a moment ago is kept for a second."""
    assert worker.ask().status == 200
    worker.clock.jump(3600)
    assert worker.code() == "snapshot_stale"
    worker.clock.jump(-3600)
    assert worker.ask().status == 200


def test_unreadable_rows_are_warnings(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(damage=("caller shop cannot be read: policy is not JSON",))
    assert json.loads(worker.ask().body)["warnings"] == ["caller shop cannot be read: policy is not JSON"]


def test_a_worker_without_max_ttl_is_unready(worker: Worker) -> None:
    words = "the deployment's max_ttl_seconds is not an integer from 1 to 31536000"
    worker.snapshot = worker.snapshot._replace(max_ttl_seconds=0, damage=(words,))
    assert worker.code() == "max_ttl_unavailable"
    assert words in worker.ask().body.decode()


def test_a_worker_whose_subject_key_is_lost_is_unready(worker: Worker) -> None:
    words = "the store had a subject key, version 1, and has it no more"
    worker.snapshot = worker.snapshot._replace(subject_key=b"", damage=(words,))
    assert worker.code() == "subject_key_lost"
    assert words in worker.ask().body.decode()
