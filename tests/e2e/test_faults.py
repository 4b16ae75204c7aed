"""The key lifecycle with injected faults: whatever is lost, the next run recovers it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import REGION, Deployment, LocalIvs, local_ivs
from tests.support.http_client import Client
from tests.support.processes import wait_until

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def faulty_ivs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalIvs]:
    """A separate local IVS, since faults affect every account."""
    with local_ivs(tmp_path_factory.mktemp("faulty_ivs")) as ivs:
        yield ivs


def _inject(ivs: LocalIvs, kind: str, operation: str) -> None:
    with Client(ivs.management_url) as management:
        plan = json.dumps({"kind": kind, "operation": operation, "count": 1})
        assert management.request("POST", "/faults", plan).status in (200, 201)


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "error", "throttle"])
def test_the_next_run_completes_a_failed_import(faulty_ivs: LocalIvs, tmp_path: Path, kind: str) -> None:
    deployment = Deployment(faulty_ivs, tmp_path)
    deployment.run("db", "upgrade")
    _inject(faulty_ivs, kind, "ImportPlaybackKeyPair")
    result = deployment.run("keys", "generate", code=1)
    assert f"{REGION}: skipped, will retry" in result.err
    deployment.run("keys", "generate")
    [pair] = faulty_ivs.client(deployment.access_key).list_playback_key_pairs()["keyPairs"]
    [key] = deployment.run("keys", "list", "--json").json["keys"]
    assert [(placement["state"], placement["arn"]) for placement in key["placements"]] == [("active", pair["arn"])]


def test_a_throttled_channel_lookup_only_omits_the_playback_url(faulty_ivs: LocalIvs, tmp_path: Path) -> None:
    deployment = Deployment(faulty_ivs, tmp_path)
    key = deployment.set_up()
    channel = deployment.new_channel()
    _inject(faulty_ivs, "throttle", "BatchGetChannel")
    with deployment.serve() as service, service.client(key) as caller:
        first = caller.token(channelArn=channel["arn"], viewerId="ada")
        assert "playbackUrl" not in first
        wait_until(
            lambda: "playbackUrl" in caller.token(channelArn=channel["arn"], viewerId="ada"),
            "the playback URL is known",
        )
