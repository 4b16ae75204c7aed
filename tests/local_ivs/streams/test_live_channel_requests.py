"""Whatever request is sent to a live channel, errors are modelled and change nothing, and responses can be rendered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import all_stored, start_stream
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.model import ApiModel
from tokensvc.local_ivs.storage import SqliteResourceStore

pytestmark = pytest.mark.slow

FEW_EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
MEDIATAILOR = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/show"
OPERATIONS = (
    *("GetStream", "ListStreams", "GetStreamSession", "ListStreamSessions", "StopStream"),
    *("PutMetadata", "InsertAdBreak", "UpdateChannel", "DeleteChannel"),
)
INSTANTS = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59Z", "2027-01-15T08:00:10Z")


@pytest.mark.parametrize("name", OPERATIONS)
def test_errors_are_those_of_the_operation_and_change_nothing(
    name: str, model: ApiModel, call: CallIvs, resources: SqliteResourceStore
) -> None:
    configurations = [{"playbackConfigurationArn": MEDIATAILOR}]
    ads = call("CreateAdConfiguration", mediaTailorPlaybackConfigurations=configurations)["adConfiguration"]["arn"]
    live, offline, plain = (call("CreateChannel", adConfigurationArn=a)["channel"]["arn"] for a in (ads, ads, ""))
    for arn in (live, plain):
        start_stream(resources, arn)
    stream_id = call("GetStream", channelArn=live)["stream"]["streamId"]
    arns = st.sampled_from([live, live, offline, plain, f"{live}x", f"{live}/stream", ""])
    known: dict[str, st.SearchStrategy[Any]] = {
        "arn": arns,
        "channelArn": arns,
        "streamId": st.sampled_from([stream_id, f"st-{'x' * 23}", "st-"]),
        "metadata": st.text(max_size=20) | st.just("x" * 1025),
        "durationSeconds": st.integers(-1, 400),
        "targetStartAt": st.sampled_from(INSTANTS) | st.integers() | st.floats(),
        "adBreakId": st.text("ab", min_size=11, max_size=13),
        "maxResults": st.integers(0, 101),
        "nextToken": st.sampled_from(["", "x", "AAAA"]),
        "filterBy": st.dictionaries(st.just("health"), st.sampled_from(["HEALTHY", "FINE"])),
    }
    operation = model.operations[name]
    members = {member: known[member] for member in operation.members if member in known}

    def outcome(name: str, request: dict[str, Any]) -> str | None:
        try:
            call(name, **request)
        except IvsError as error:
            return error.code
        return None

    @FEW_EXAMPLES
    @given(st.fixed_dictionaries({}, optional=members))
    def holds(request: dict[str, Any]) -> None:
        before = all_stored(resources)
        code = outcome(name, request)
        assert code in {None, *operation.errors}
        if code is not None:
            assert all_stored(resources) == before

    holds()
