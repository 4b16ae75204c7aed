"""A call is atomic and affects only one account and region."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import (
    HERE,
    OPERATIONS,
    OTHER_ACCOUNT,
    OTHER_REGION,
    FrozenClock,
    all_stored,
    counting_strings,
    pem,
)
from tokensvc.local_ivs.api_model import SERVICE, patched, status_of
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.service import LocalIvs
from tokensvc.local_ivs.storage import SqliteResourceStore

pytestmark = pytest.mark.slow

FEW_EXAMPLES = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
SOME_ARNS = tuple(
    f"arn:aws:ivs:us-west-2:000000000000:{kind}/abcdABCDefgh"
    for kind in ("channel", "stream-key", "playback-key", "recording-configuration", "ad-configuration")
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.text(st.characters(categories=["Cs"]), max_size=2),
    st.sampled_from((*SOME_ARNS, "STANDARD", "BASIC", "ADVANCED_HD", "LOW", "TS", "FRAGMENTED_MP4", "", "x" * 129)),
    st.sampled_from([pem(1), pem(2), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


def error_code(local: LocalIvs, name: str, request: dict[str, Any]) -> str | None:
    """The code of the error, or None if the call succeeds."""
    try:
        local.call(HERE, name, request, "")
    except IvsError as error:
        return error.code
    return None


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_are_modelled_and_change_nothing(
    name: str, model: ApiModel, local: LocalIvs, resources: SqliteResourceStore
) -> None:
    local.call(HERE, "CreateChannel", {"name": "there"}, "")
    members = sorted(model.operations[name].members)

    @FEW_EXAMPLES
    @given(st.fixed_dictionaries({}, optional=dict.fromkeys(members, JUNK)))
    def holds(request: dict[str, Any]) -> None:
        before = all_stored(resources)
        code = error_code(local, name, request)
        if code is not None:
            assert 400 <= status_of(model, code) < 500
            assert all_stored(resources) == before

    holds()


def test_an_operation_without_handler_is_validated_then_not_implemented(
    resources: SqliteResourceStore,
) -> None:
    newer = patched(Loader().load_service_model(SERVICE, "service-2"))
    newer["operations"]["MakeCoffee"] = {**newer["operations"]["GetChannel"], "name": "MakeCoffee"}
    local = LocalIvs(ApiModel(newer), resources, FrozenClock(), counting_strings(), b"secret")
    with pytest.raises(IvsError, match="ValidationException"):
        local.call(HERE, "MakeCoffee", {}, "")
    with pytest.raises(IvsError, match="NotImplementedException: MakeCoffee is not implemented by the local IVS"):
        local.call(HERE, "MakeCoffee", {"arn": SOME_ARNS[0]}, "")


def test_an_operation_that_ivs_does_not_have_is_unknown(local: LocalIvs) -> None:
    with pytest.raises(IvsError, match="UnknownOperationException"):
        local.call(HERE, "MakeCoffee", {}, "")


def test_a_failed_call_is_rolled_back(call: CallIvs, resources: SqliteResourceStore) -> None:
    for number in range(3):
        call("ImportPlaybackKeyPair", publicKeyMaterial=pem(number))
    before = all_stored(resources)
    for request in ({"publicKeyMaterial": pem(9)}, {"publicKeyMaterial": pem(1)}, {"publicKeyMaterial": "x"}):
        with pytest.raises(IvsError):
            call("ImportPlaybackKeyPair", **request)
    assert all_stored(resources) == before


def test_accounts_and_regions_are_isolated(call: CallIvs) -> None:
    created = call("CreateChannel", name="mine")
    pair = call("ImportPlaybackKeyPair", publicKeyMaterial=pem(1))["keyPair"]
    for account_region in (OTHER_ACCOUNT, OTHER_REGION):
        assert call("ListChannels", account_region)["channels"] == []
        assert call("ListPlaybackKeyPairs", account_region)["keyPairs"] == []
        for operation, arn in (
            ("GetChannel", created["channel"]["arn"]),
            ("UpdateChannel", created["channel"]["arn"]),
            ("DeleteChannel", created["channel"]["arn"]),
            ("DeleteStreamKey", created["streamKey"]["arn"]),
            ("DeletePlaybackKeyPair", pair["arn"]),
        ):
            with pytest.raises(IvsError, match="ResourceNotFoundException"):
                call(operation, account_region, arn=arn)
    assert call("GetChannel", arn=created["channel"]["arn"])["channel"]["name"] == "mine"


def test_playback_urls_have_the_base_url_of_the_caller(local: LocalIvs) -> None:
    arn = local.call(HERE, "CreateChannel", {}, "http://a:1")["channel"]["arn"]
    url = local.call(HERE, "GetChannel", {"arn": arn}, "https://b")["channel"]["playbackUrl"]
    assert url.startswith("https://b/api/video/v1/us-west-2.000000000000.channel.")


@pytest.mark.parametrize("where", ["memory", "file"])
def test_concurrent_imports_do_not_exceed_the_quota_of_three(where: str, model: ApiModel, tmp_path: Path) -> None:
    store = SqliteResourceStore(":memory:" if where == "memory" else str(tmp_path / "ivs.db"))
    local = LocalIvs(model, store, FrozenClock(), counting_strings(), b"secret")

    def attempt(number: int) -> str:
        try:
            request = {"publicKeyMaterial": pem(number % 12)}
            local.call(HERE, "ImportPlaybackKeyPair", request, "")
        except IvsError as error:
            return error.code
        return "imported"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(attempt, range(48)))
    pairs = local.call(HERE, "ListPlaybackKeyPairs", {}, "")["keyPairs"]
    store.close()

    assert outcomes.count("imported") == len(pairs) == 3
    assert set(outcomes) <= {"imported", "ConflictException", "ServiceQuotaExceededException"}
