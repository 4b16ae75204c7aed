"""Tags: the three operations that all resources share.

Sources: API reference, TagResource, UntagResource, ListTagsForResource; "Best practices and strategies" of Tagging AWS
Resources for the reserved prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokensvc.local_ivs.errors import Violation, invalid, invalid_member
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.transaction import Body, Handler, OperationCall

MAX_TAGS = 50
RESERVED_PREFIX = "aws:"
_RATE_LIMITS = (RateLimit(10),)


def validate_tag_keys(tags: Mapping[str, str]) -> Iterator[Violation]:
    """Tag keys must not begin with `aws:`, which AWS reserves."""
    for number, key in enumerate(tags, 1):
        if key.lower().startswith(RESERVED_PREFIX):
            yield Violation(f"tags.{number}.key", f"Member must not begin with {RESERVED_PREFIX}, which AWS reserves")


def tag(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Existing tags with the same keys are overwritten. A resource has at most 50 tags.

    INFERRED: More than 50 tags on a resource are a ValidationException, since the operation lists no error for quotas.
    """
    if violations := list(validate_tag_keys(request["tags"])):
        raise invalid(violations)
    resource = call.require(request["resourceArn"])
    tags = {**resource.body["tags"], **request["tags"]}
    if len(tags) > MAX_TAGS:
        raise invalid_member("tags", f"Member would give the resource more than {MAX_TAGS} tags")
    call.transaction.put(resource._replace(body={**resource.body, "tags": tags}))
    return {}


def untag(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """Keys that the resource does not have are ignored."""
    resource = call.require(request["resourceArn"])
    remaining = {key: value for key, value in resource.body["tags"].items() if key not in request["tagKeys"]}
    call.transaction.put(resource._replace(body={**resource.body, "tags": remaining}))
    return {}


def list_tags(call: OperationCall, request: Mapping[str, Any]) -> Body:
    """All tags are in one response; there are no pages."""
    return {"tags": call.require(request["resourceArn"]).body["tags"]}


HANDLERS: Mapping[str, Handler] = {
    "TagResource": Handler(tag, writes=True, rate_limits=_RATE_LIMITS),
    "UntagResource": Handler(untag, writes=True, rate_limits=_RATE_LIMITS),
    "ListTagsForResource": Handler(list_tags, writes=False, rate_limits=_RATE_LIMITS),
}
