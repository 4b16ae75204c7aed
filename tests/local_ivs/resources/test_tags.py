"""Tags work alike on every resource."""

from __future__ import annotations

import pytest

from tests.local_ivs.conftest import CallIvs
from tests.local_ivs.environment import HERE, OTHER_REGION
from tests.local_ivs.factories import CREATORS, create_resource
from tokensvc.local_ivs.errors import IvsError
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES

UNUSUAL_TAGS = {"größe/a b+c": "x=y@z", "日本語": "", "a:b/c": "1"}


@pytest.mark.parametrize("kind", CREATORS)
def test_tags_are_added_overwritten_listed_and_removed(call: CallIvs, kind: str) -> None:
    arn = create_resource(call, kind)
    assert call("TagResource", resourceArn=arn, tags=UNUSUAL_TAGS) == {}
    assert call("TagResource", resourceArn=arn, tags={"a:b/c": "2", "new": "3"}) == {}
    assert call("ListTagsForResource", resourceArn=arn) == {"tags": {**UNUSUAL_TAGS, "a:b/c": "2", "new": "3"}}
    for _ in range(2):
        assert call("UntagResource", resourceArn=arn, tagKeys=["größe/a b+c", "never there"]) == {}
    assert call("ListTagsForResource", resourceArn=arn) == {"tags": {"日本語": "", "a:b/c": "2", "new": "3"}}


def test_every_resource_can_be_tagged() -> None:
    assert CREATORS.keys() == RESOURCE_TYPES.keys()


def test_a_resource_has_at_most_fifty_tags(call: CallIvs) -> None:
    arn = create_resource(call, "channel")
    call("TagResource", resourceArn=arn, tags={f"k{n}": "v" for n in range(50)})
    call("TagResource", resourceArn=arn, tags={"k0": "overwritten"})
    with pytest.raises(IvsError, match=r"ValidationException.*50"):
        call("TagResource", resourceArn=arn, tags={"one more": ""})
    with pytest.raises(IvsError, match="ValidationException"):
        call("CreateChannel", tags={f"k{n}": "v" for n in range(51)})


@pytest.mark.parametrize("key", ["aws:mine", "AWS:mine"])
def test_the_prefix_of_aws_is_reserved(call: CallIvs, key: str) -> None:
    arn = create_resource(call, "channel")
    for operation, given in (("TagResource", {"resourceArn": arn}), ("CreateChannel", {})):
        with pytest.raises(IvsError, match=r"ValidationException.*aws:"):
            call(operation, **given, tags={key: "x"})


@pytest.mark.parametrize(
    "tags", [{"": "x"}, {"k" * 129: "x"}, {"k": "v" * 257}, {"a\tb": "x"}, {"k": "a#b"}, {"k": None}, {"k": 1}]
)
def test_invalid_keys_and_values_are_rejected(call: CallIvs, tags: dict[str, object]) -> None:
    arn = create_resource(call, "channel")
    with pytest.raises(IvsError, match=r"ValidationException.*tags\.1"):
        call("TagResource", resourceArn=arn, tags=tags)
    assert call("ListTagsForResource", resourceArn=arn) == {"tags": {}}


def test_the_resource_must_exist(call: CallIvs) -> None:
    arn = create_resource(call, "channel")
    missing = arn[:-4] + "none"
    for account_region, name in ((OTHER_REGION, arn), (HERE, missing)):
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call("TagResource", account_region, resourceArn=name, tags={"a": "b"})
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call("UntagResource", account_region, resourceArn=name, tagKeys=["a"])
        with pytest.raises(IvsError, match="ResourceNotFoundException"):
            call("ListTagsForResource", account_region, resourceArn=name)
