"""Tags: three operations that every kind of resource shares.

Sources: API reference, TagResource, UntagResource, ListTagsForResource; "Best practices and strategies" of Tagging AWS
Resources for the reserved prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.local_ivs.errors import Violation, invalid, invalid_member
from tokensvc.local_ivs.transaction import Body, OperationCall, Handler

MAX_TAGS = 50
RESERVED_PREFIX = "aws:"


def reserved_keys(tags: Mapping[str, str]) -> Iterator[Violation]:
    """Keys that only AWS itself may use."""
    for number, key in enumerate(tags, 1):
        if key.lower().startswith(RESERVED_PREFIX):
            yield Violation(f"tags.{number}.key", f"Member must not begin with {RESERVED_PREFIX}, which AWS reserves")


def tag(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Add tags, or overwrite those with the same key."""
    if violations := list(reserved_keys(request["tags"])):
        raise invalid(violations)
    resource = call.existing(request["resourceArn"])
    tags = {**resource.body["tags"], **request["tags"]}
    if len(tags) > MAX_TAGS:  # INFERRED: the operation lists no error for quotas, so it is a validation
        raise invalid_member("tags", f"Member would give the resource more than {MAX_TAGS} tags")
    call.transaction.put(resource._replace(body={**resource.body, "tags": tags}))
    return {}


def untag(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Remove tags; those that are not there are removed already."""
    resource = call.existing(request["resourceArn"])
    kept = {key: value for key, value in resource.body["tags"].items() if key not in request["tagKeys"]}
    call.transaction.put(resource._replace(body={**resource.body, "tags": kept}))
    return {}


def list_tags(call: OperationCall, request: Mapping[str, Any]) -> Body:
    return {"tags": call.existing(request["resourceArn"]).body["tags"]}


HANDLERS: Mapping[str, Handler] = {
    "TagResource": Handler(tag, writes=True),
    "UntagResource": Handler(untag, writes=True),
    "ListTagsForResource": Handler(list_tags, writes=False),
}
