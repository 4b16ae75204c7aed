"""Liveness and readiness, which signs and validates a probe token."""

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

    def get(self) -> Response:
        return response_of(self.readiness.readyz, scope_of("GET", "/readyz"), b"")

    def unready_code(self) -> str:
        response = self.get()
        assert response.status == 503
        assert (b"retry-after", b"1") in response.headers
        assert json.loads(response.body)["code"] == response.code
        return response.code


@pytest.fixture
def worker(private_key: PrivateKey) -> Worker:
    return Worker(snapshot_of(private_key))


def test_livez_returns_200() -> None:
    assert response_of(livez, scope_of("GET", "/livez"), b"").status == 200


def test_a_worker_that_can_sign_is_ready(worker: Worker) -> None:
    response = worker.get()
    assert response.status == 200
    assert json.loads(response.body) == {"status": "ready", "warnings": []}


def test_a_stale_snapshot_is_unready(worker: Worker) -> None:
    worker.clock.advance(901)
    assert worker.unready_code() == "snapshot_stale"


def test_a_wrong_clock_is_unready(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(clock_error_seconds=60.0)
    assert worker.unready_code() == "snapshot_stale"


def test_a_worker_without_any_key_is_unready_and_names_the_remedy(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(keyring=EMPTY_KEYRING)
    assert worker.unready_code() == "no_signing_key"
    assert "no key exists yet; an operator must generate one" in worker.get().body.decode()


def test_a_key_whose_signature_ivs_would_reject_is_unready(worker: Worker, private_key: PrivateKey) -> None:
    unrelated_key = keypair.generate()
    wrong = SigningKey("k1", Prepared(lambda digest: raw_sign(unrelated_key, digest)), 600)
    worker.snapshot = worker.snapshot._replace(
        keyring=Keyring({CHANNEL.account_region: RegionKeys(wrong, {"k1": private_key.public_key()})})
    )
    assert worker.unready_code() == "no_signing_key"
    assert "denied by the rule signature" in worker.get().body.decode()


def test_a_problem_in_one_region_is_a_warning(worker: Worker) -> None:
    region_keys = {
        **worker.snapshot.keyring.region_keys,
        ELSEWHERE: RegionKeys(None, {}, problem="the active key k2 cannot be decrypted"),
    }
    worker.snapshot = worker.snapshot._replace(keyring=Keyring(region_keys))
    response = worker.get()
    assert response.status == 200
    assert json.loads(response.body)["warnings"] == ["eu-west-1: the active key k2 cannot be decrypted"]


def test_a_retiring_key_that_replaces_an_undecryptable_active_key_is_ready_with_a_warning(worker: Worker) -> None:
    region_keys = worker.snapshot.keyring.region_keys[CHANNEL.account_region]
    assert region_keys.active is not None
    fallback_keys = region_keys._replace(
        active=region_keys.active._replace(not_after=worker.clock.now() + 10), problem="k2 cannot be decrypted"
    )
    worker.snapshot = worker.snapshot._replace(keyring=Keyring({CHANNEL.account_region: fallback_keys}))
    response = worker.get()
    assert response.status == 200
    assert json.loads(response.body)["warnings"] == ["us-east-1: k2 cannot be decrypted"]
    worker.clock.advance(11)
    assert worker.unready_code() == "no_signing_key"
    assert "k2 cannot be decrypted" in worker.get().body.decode()


def test_problems_of_background_tasks_are_warnings(worker: Worker) -> None:
    worker.problems = [make_problem("us-east-1: IVS did not respond")]
    response = worker.get()
    assert response.status == 200
    assert json.loads(response.body)["warnings"] == ["us-east-1: IVS did not respond"]


def test_an_unavailable_store_is_a_warning_within_the_lease(worker: Worker) -> None:
    worker.clock.advance(5)
    assert json.loads(worker.get().body)["warnings"] == []
    worker.clock.advance(95)
    response = worker.get()
    assert response.status == 200
    [warning] = json.loads(response.body)["warnings"]
    assert "has not responded for 100 s" in warning
    assert "stops signing in 800 s" in warning


def test_a_problem_in_every_region_is_unready(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(keyring=Keyring({ELSEWHERE: RegionKeys(None, {})}))
    assert worker.unready_code() == "no_signing_key"
    assert "no active key" in worker.get().body.decode()


def test_a_stopping_worker_is_unready_immediately(worker: Worker) -> None:
    assert worker.get().status == 200
    worker.readiness.drain()
    assert worker.unready_code() == "draining"


def recorded_digests(worker: Worker, private_key: PrivateKey) -> list[bytes]:
    """Every digest that the worker signs from now on."""
    signed_digests: list[bytes] = []

    def sign(digest: bytes) -> bytes:
        signed_digests.append(digest)
        return raw_sign(private_key, digest)

    region_keys = RegionKeys(SigningKey("k1", Prepared(sign), 600), {"k1": private_key.public_key()})
    worker.snapshot = worker.snapshot._replace(keyring=Keyring({CHANNEL.account_region: region_keys}))
    return signed_digests


def test_frequent_probes_cost_one_signature_per_second(worker: Worker, private_key: PrivateKey) -> None:
    signed_digests = recorded_digests(worker, private_key)
    for _ in range(10):
        worker.get()
        worker.clock.advance(0.1)
    assert len(signed_digests) == 1
    worker.clock.advance(0.2)
    worker.get()
    assert len(signed_digests) == 2


def test_the_probe_token_is_for_an_impossible_channel_and_expires_in_a_second(
    worker: Worker, private_key: PrivateKey
) -> None:
    signed_digests = recorded_digests(worker, private_key)
    response = worker.get()
    arn = Arn(CHANNEL.account_region, "channel", "readiness-probe")
    probe = signing_input(orjson.dumps({"aws:channel-arn": str(arn), "exp": int(worker.clock.now()) + 1}))
    assert signed_digests == [digest(probe)]
    assert probe.split(b".")[1] not in response.body


def test_a_clock_jump_is_unready_immediately(worker: Worker) -> None:
    """Although the last result is cached for a second."""
    assert worker.get().status == 200
    worker.clock.jump(3600)
    assert worker.unready_code() == "snapshot_stale"
    worker.clock.jump(-3600)
    assert worker.get().status == 200


def test_unreadable_rows_are_warnings(worker: Worker) -> None:
    worker.snapshot = worker.snapshot._replace(damage=("caller shop cannot be read: policy is not JSON",))
    assert json.loads(worker.get().body)["warnings"] == ["caller shop cannot be read: policy is not JSON"]


def test_a_worker_without_max_ttl_is_unready(worker: Worker) -> None:
    problem = "the deployment's max_ttl_seconds is not an integer from 1 to 31536000"
    worker.snapshot = worker.snapshot._replace(max_ttl_seconds=0, damage=(problem,))
    assert worker.unready_code() == "max_ttl_unavailable"
    assert problem in worker.get().body.decode()


def test_a_worker_whose_subject_key_is_lost_is_unready(worker: Worker) -> None:
    problem = "the store had a subject key, version 1, and no longer has it"
    worker.snapshot = worker.snapshot._replace(subject_key=b"", damage=(problem,))
    assert worker.unready_code() == "subject_key_lost"
    assert problem in worker.get().body.decode()
