"""Pagination of lists, and batch gets."""

from __future__ import annotations

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, OTHER_ACCOUNT, OTHER_REGION, pem
from tokensvc.local_ivs.errors import IvsError

BAD_TOKEN = r"ValidationException.*'nextToken'"


def make_channels(call: CallIvs, count: int, **request: object) -> list[str]:
    return [call("CreateChannel", name=f"c{n}", **request)["channel"]["arn"] for n in range(count)]


def pages(call: CallIvs, size: int | None, **filters: object) -> list[list[str]]:
    """All pages of ListChannels, as names."""
    found: list[list[str]] = []
    token: str | None = ""
    limits = {} if size is None else {"maxResults": size}
    while True:
        page = call("ListChannels", nextToken=token, **limits, **filters)
        found.append([channel["name"] for channel in page["channels"]])
        token = page.get("nextToken")
        if token is None:
            return found


@pytest.mark.parametrize(("size", "lengths"), [(2, [2, 2, 1]), (5, [5]), (4, [4, 1]), (100, [5]), (None, [5])])
def test_pages_contain_every_resource_once_in_order_of_creation(
    call: CallIvs, size: int | None, lengths: list[int]
) -> None:
    make_channels(call, 5)
    found = pages(call, size)
    assert [len(page) for page in found] == lengths
    assert [name for page in found for name in page] == ["c0", "c1", "c2", "c3", "c4"]


def test_a_list_continues_in_place_while_resources_are_created_and_deleted(call: CallIvs) -> None:
    arns = make_channels(call, 4)
    first = call("ListChannels", maxResults=2)
    call("DeleteChannel", arn=arns[1])
    call("DeleteChannel", arn=arns[2])
    call("CreateChannel", name="new")
    rest = call("ListChannels", nextToken=first["nextToken"])
    assert [channel["name"] for channel in rest["channels"]] == ["c3", "new"]


def test_the_default_page_size_of_channels_is_one_hundred(call: CallIvs) -> None:
    make_channels(call, 101)
    assert [len(page) for page in pages(call, None)] == [100, 1]


def test_the_default_page_size_of_stream_keys_is_one(call: CallIvs) -> None:
    (arn,) = make_channels(call, 1)
    assert len(call("ListStreamKeys", channelArn=arn)["streamKeys"]) == 1


@pytest.mark.parametrize("size", [0, 101, -1, "5", True])
def test_page_sizes_outside_the_bounds_are_rejected(call: CallIvs, size: object) -> None:
    with pytest.raises(IvsError, match=r"ValidationException.*'maxResults'"):
        call("ListChannels", maxResults=size)


def test_a_page_token_is_valid_only_for_its_own_list(call: CallIvs) -> None:
    for account_region in (HERE, OTHER_REGION, OTHER_ACCOUNT):
        for name in ("same", "same", "other"):
            call("CreateChannel", account_region, name=name)
    token = call("ListChannels", maxResults=1)["nextToken"]
    filtered = call("ListChannels", maxResults=1, filterByName="same")["nextToken"]

    assert call("ListChannels", nextToken=token)["channels"]
    for operation, account_region, request in (
        ("ListChannels", HERE, {"nextToken": token, "filterByName": "same"}),
        ("ListChannels", HERE, {"nextToken": filtered}),
        ("ListChannels", OTHER_REGION, {"nextToken": token}),
        ("ListChannels", OTHER_ACCOUNT, {"nextToken": token}),
        ("ListPlaybackKeyPairs", HERE, {"nextToken": token}),
    ):
        with pytest.raises(IvsError, match=BAD_TOKEN):
            call(operation, account_region, **request)


def test_a_modified_page_token_is_rejected(call: CallIvs) -> None:
    make_channels(call, 2)
    token = call("ListChannels", maxResults=1)["nextToken"]
    forged = [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(len(token))]
    for bad in (*forged, token[:-1], token + "A", "A", "====", token.replace("A", "+") + "=", "x" * 1024):
        with pytest.raises(IvsError, match=BAD_TOKEN):
            call("ListChannels", nextToken=bad)


def test_a_name_filter_matches_exactly(call: CallIvs) -> None:
    for name in ("show", "show-2", "Show", "show"):
        call("CreateChannel", name=name)
    assert pages(call, 1, filterByName="show") == [["show"], ["show"]]
    assert pages(call, None, filterByName="sho") == [[]]
    assert len(pages(call, None, filterByName="")[0]) == 4


def test_a_filter_by_an_unused_reference_finds_no_channels(call: CallIvs) -> None:
    make_channels(call, 1)
    arn = "arn:aws:ivs:us-west-2:000000000000:recording-configuration/abcdABCDefgh"
    assert pages(call, None, filterByRecordingConfigurationArn=arn) == [[]]


def test_only_one_filter_may_be_used(call: CallIvs) -> None:
    arn = "arn:aws:ivs:us-west-2:000000000000:ad-configuration/abcdABCDefgh"
    with pytest.raises(IvsError, match="ConflictException"):
        call("ListChannels", filterByName="a", filterByAdConfigurationArn=arn)


def test_a_batch_get_keeps_the_order_and_reports_missing_resources(call: CallIvs) -> None:
    arns = make_channels(call, 3)
    foreign = call("CreateChannel", OTHER_ACCOUNT)["channel"]["arn"]
    missing = arns[0][:-4] + "none"
    response = call("BatchGetChannel", arns=[arns[2], missing, arns[0], foreign])
    assert [channel["arn"] for channel in response["channels"]] == [arns[2], arns[0]]
    assert response["channels"][1] == call("GetChannel", arn=arns[0])["channel"]
    assert response["errors"] == [
        {"arn": arn, "code": "ResourceNotFoundException", "message": f"Resource: {arn} not found"}
        for arn in (missing, foreign)
    ]
    assert "errors" not in call("BatchGetChannel", arns=arns)


def test_a_batch_get_of_stream_keys_includes_their_values(call: CallIvs) -> None:
    keys = [call("CreateChannel")["streamKey"] for _ in range(2)]
    assert call("BatchGetStreamKey", arns=[key["arn"] for key in keys]) == {"streamKeys": keys}


@pytest.mark.parametrize("arns", [[], ["arn:aws:ivs:us-west-2:000000000000:channel/x"] * 51, ["no arn"], [None]])
def test_a_batch_get_requires_one_to_fifty_arns(call: CallIvs, arns: list[object]) -> None:
    with pytest.raises(IvsError, match=r"ValidationException.*'arns"):
        call("BatchGetChannel", arns=arns)


def test_key_pairs_are_listed_in_pages(call: CallIvs) -> None:
    arns = [call("ImportPlaybackKeyPair", publicKeyMaterial=pem(n))["keyPair"]["arn"] for n in range(3)]
    first = call("ListPlaybackKeyPairs", maxResults=2)
    second = call("ListPlaybackKeyPairs", nextToken=first["nextToken"])
    assert [pair["arn"] for pair in (*first["keyPairs"], *second["keyPairs"])] == arns
    assert "nextToken" not in second
