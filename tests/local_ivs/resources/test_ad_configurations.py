"""Ad configurations follow the rules of CreateAdConfiguration in the API reference, and of "Server-Side Ad
Insertion"."""

from __future__ import annotations

from typing import Any

import pytest

from tests.local_ivs.conftest import CallIvs
from tokensvc.local_ivs.errors import IvsError

MEDIATAILOR = "arn:aws:mediatailor:us-west-2:000000000000:playbackConfiguration/{}"
ADS = [{"playbackConfigurationArn": MEDIATAILOR.format("one")}]


def create(call: CallIvs, **request: Any) -> dict[str, Any]:
    given = {"mediaTailorPlaybackConfigurations": ADS, **request}
    created: dict[str, Any] = call("CreateAdConfiguration", **given)["adConfiguration"]
    return created


def test_the_defaults_are_the_documented_ones(call: CallIvs) -> None:
    """API reference: name "", post-roll disabled with 15 seconds."""
    created = create(call)
    assert created.pop("arn").startswith("arn:aws:ivs:us-west-2:000000000000:ad-configuration/")
    assert created == {
        "name": "",
        "mediaTailorPlaybackConfigurations": ADS,
        "postRollConfiguration": {"enabled": False, "durationSeconds": 15},
        "tags": {},
    }


def test_an_update_keeps_members_that_are_not_given(call: CallIvs) -> None:
    """API reference, UpdateAdConfiguration."""
    post_roll = {"enabled": True, "durationSeconds": 30}
    created = create(call, name="before", postRollConfiguration=post_roll)
    others = [{"playbackConfigurationArn": MEDIATAILOR.format(name)} for name in ("two", "three", "four")]
    changed = call("UpdateAdConfiguration", arn=created["arn"], name="x", mediaTailorPlaybackConfigurations=others)
    expected = {**created, "name": "x", "mediaTailorPlaybackConfigurations": others}
    assert changed["adConfiguration"] == expected
    assert call("GetAdConfiguration", arn=created["arn"])["adConfiguration"] == expected
    assert call("ListAdConfigurations")["adConfigurations"] == [expected]
    assert call("DeleteAdConfiguration", arn=created["arn"]) == {}
    assert call("ListAdConfigurations")["adConfigurations"] == []


@pytest.mark.parametrize(
    ("configurations", "at"),
    [
        ([], "mediaTailorPlaybackConfigurations"),
        (ADS * 4, "mediaTailorPlaybackConfigurations"),
        ([{}], "playbackConfigurationArn"),
        ([{"playbackConfigurationArn": "x"}], "playbackConfigurationArn"),
        ([{"playbackConfigurationArn": MEDIATAILOR.format("a").replace("us-west-2", "eu-west-1")}], "same account"),
        (
            [{"playbackConfigurationArn": MEDIATAILOR.format("a").replace("000000000000", "111122223333")}],
            "same account",
        ),
    ],
    ids=["none", "four", "empty", "no arn", "region", "account"],
)
def test_one_to_three_playback_configurations_of_the_same_account_and_region_are_required(
    call: CallIvs, configurations: list[Any], at: str
) -> None:
    """API reference, MediaTailorPlaybackConfiguration: "in the same region and account"; 1 to 3 of them."""
    with pytest.raises(IvsError, match=f"ValidationException.*{at}"):
        create(call, mediaTailorPlaybackConfigurations=configurations)
    created = create(call)
    with pytest.raises(IvsError, match=f"ValidationException.*{at}"):
        call("UpdateAdConfiguration", arn=created["arn"], mediaTailorPlaybackConfigurations=configurations)


@pytest.mark.parametrize(
    "post_roll",
    [{"enabled": True}, {"durationSeconds": 5}, {"enabled": True, "durationSeconds": 0}, {"enabled": 1}],
)
def test_a_post_roll_requires_both_members(call: CallIvs, post_roll: dict[str, Any]) -> None:
    """API reference, PostRollConfiguration: both are required, 1 to 300 seconds."""
    with pytest.raises(IvsError, match=r"ValidationException.*postRollConfiguration\."):
        create(call, postRollConfiguration=post_roll)


def test_quota_and_default_page_size_are_twenty(call: CallIvs) -> None:
    """Service Quotas: 20 ad configurations."""
    for _ in range(20):
        create(call)
    with pytest.raises(IvsError, match="ServiceQuotaExceededException"):
        create(call)
    page = call("ListAdConfigurations")
    assert len(page["adConfigurations"]) == 20
    assert "nextToken" not in page
