"""The operations that resources have in common: create, get, update, delete, list and batch get.

Each is one function of a resource type, a call and a validated request; `handlers` binds them to operations.

Invariants
- A call is one transaction, so an error at any point leaves everything unchanged.
- INFERRED: Errors of a create are reported in this order: the request itself, its references, a duplicate, the quota.
  IVS documents no order.
- Responses may have more members than the operation returns (a summary's, a key's DER): the rendering by the
  service model drops the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tokensvc.local_ivs import id_generators, propagation
from tokensvc.local_ivs.errors import BATCH_NOT_FOUND_CODE, IvsError, conflict, invalid, quota_exceeded
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.registry import RESOURCE_TYPES
from tokensvc.local_ivs.resources.tags import validate_tag_keys
from tokensvc.local_ivs.resources.types import PARENT_MEMBER, ResourceType
from tokensvc.local_ivs.transaction import Body, Handler, OperationCall

Request = Mapping[str, Any]


def create(resource_type: ResourceType, call: OperationCall, request: Request) -> Body:
    """Members that a request leaves out get their defaults."""
    parent_arn = _parent_arn(resource_type, call, request)
    created = _insert(resource_type, call, request, parent_arn)
    response = {resource_type.member: resource_type.render(call, created)}
    if resource_type.creates_with:
        other = RESOURCE_TYPES[resource_type.creates_with]
        response[other.member] = other.render(call, _insert(other, call, {}, created.arn))
    return response


def get(resource_type: ResourceType, call: OperationCall, request: Request) -> Body:
    """A resource that does not exist is a ResourceNotFoundException."""
    resource = call.require(request["arn"], resource_type.kind)
    return {resource_type.member: resource_type.render(call, resource)}


def update(resource_type: ResourceType, call: OperationCall, request: Request) -> Body:
    """Members that a request leaves out stay as they are. An empty ARN removes a reference."""
    resource = call.require(request["arn"], resource_type.kind)
    body = _validated_body(resource_type, call, request, resource.body)
    resource_type.check_mutable(call, resource)
    resource_type.on_update(call, body)
    updated = resource._replace(body=body)
    call.transaction.put(updated)
    return {resource_type.member: resource_type.render(call, updated)}


def delete(resource_type: ResourceType, call: OperationCall, request: Request) -> Body:
    """Everything that belongs to a resource is deleted along with it. A recording configuration that a channel refers
    to cannot be deleted: ConflictException.

    INFERRED: Playback restriction policies, ad configurations and failover slate configurations that a channel refers
    to cannot be deleted either; their delete operations list the same error.
    """
    resource = call.require(request["arn"], resource_type.kind)
    resource_type.check_mutable(call, resource)
    _check_unreferenced(resource_type, call, resource)
    child_kinds = [child.kind for child in RESOURCE_TYPES.values() if child.parent_kind == resource_type.kind]
    for kind in (*child_kinds, *resource_type.owned_kinds):
        for child in call.transaction.find(call.account_region, kind, parent_arn=resource.arn):
            call.transaction.delete(child.arn)
    call.transaction.delete(resource.arn)
    propagation.record_deletion(call.transaction, resource_type, resource, call.now)
    return {}


def list_page(resource_type: ResourceType, call: OperationCall, request: Request) -> Body:
    """`nextToken` is absent on the last page. It is valid only for the list that returned it.

    INFERRED: Lists of resources are in the order of creation; AWS documents none.

    INFERRED: An empty filter of a list is ignored, and a name must match as a whole.
    """
    parent_arn = _parent_arn(resource_type, call, request) or None
    equal = _filter(resource_type, request)
    scope = json.dumps([call.operation, *call.account_region, parent_arn, equal])
    after = call.page_tokens.decode(scope, request.get("nextToken", ""))
    limit = request.get("maxResults", resource_type.page_size)
    found = call.transaction.page(
        call.account_region, resource_type.kind, after=after, limit=limit + 1, parent_arn=parent_arn, equal=equal
    )
    render = resource_type.render_summary or resource_type.render
    response: Body = {resource_type.list_member: [render(call, resource) for _, resource in found[:limit]]}
    if len(found) > limit:
        response["nextToken"] = call.page_tokens.encode(scope, found[limit - 1][0])
    return response


def batch_get(resource_type: ResourceType, call: OperationCall, request: Request) -> Body:
    """A resource that is not found becomes an entry of `errors`, and the others are returned.

    INFERRED: A batch returns resources in the order of the request, and no `errors` if it found all of them.
    """
    found: list[Body] = []
    errors: list[Body] = []
    for arn in request["arns"]:
        try:
            found.append(resource_type.render(call, call.require(arn, resource_type.kind)))
        except IvsError as error:
            errors.append({"arn": arn, "code": BATCH_NOT_FOUND_CODE, "message": error.message})
    return {resource_type.list_member: found, "errors": errors or None}


VERBS: Mapping[str, tuple[Callable[[ResourceType, OperationCall, Request], Body], bool]] = {
    "create": (create, True),
    "get": (get, False),
    "update": (update, True),
    "delete": (delete, True),
    "list": (list_page, False),
    "batch_get": (batch_get, False),
}
"""Verb -> its function, and whether it writes."""


def handlers() -> dict[str, Handler]:
    """Operation -> handler, for every operation of a resource type."""
    return {
        operation.name: Handler(partial(VERBS[verb][0], resource_type), VERBS[verb][1], operation.rate_limits)
        for resource_type in RESOURCE_TYPES.values()
        for verb, operation in resource_type.operations.items()
    }


def _parent_arn(resource_type: ResourceType, call: OperationCall, request: Request) -> str:
    """The ARN of the parent, which must exist; "" if the resource type has none."""
    if not resource_type.parent_kind:
        return ""
    return call.require(request[PARENT_MEMBER], resource_type.parent_kind).arn


def _insert(resource_type: ResourceType, call: OperationCall, request: Request, parent_arn: str) -> Resource:
    kind = resource_type.kind
    body = _validated_body(resource_type, call, request, resource_type.defaults)
    arn = id_generators.new_arn(call.account_region, kind, call.random_string)
    unique_key = resource_type.on_create(call, arn, parent_arn, body)
    if unique_key and call.transaction.find(call.account_region, kind, unique_key=unique_key):
        raise conflict(f"The same {kind} already exists in this account and region")
    if call.transaction.count(call.account_region, kind, parent_arn=parent_arn or None) >= resource_type.quota:
        raise quota_exceeded(f"The quota is reached: {resource_type.quota_text}")
    created = Resource(str(arn), call.account_region, kind, parent_arn, unique_key, body, call.now)
    call.transaction.put(created)
    return created


def _validated_body(
    resource_type: ResourceType, call: OperationCall, request: Request, before: Mapping[str, Any]
) -> Body:
    """The members as they will be stored. Raises IvsError if a rule is broken or a reference does not exist."""
    given = {name: value for name, value in request.items() if name not in ("arn", PARENT_MEMBER)}
    body = {**before, **given}
    violations = [violation for rule in resource_type.rules for violation in rule(call, request, body)]
    violations.extend(validate_tag_keys(request.get("tags", {})))
    if violations:
        raise invalid(violations)
    for member, kind in resource_type.references.items():
        if given.get(member):
            call.require(given[member], kind)
    return body


def _check_unreferenced(resource_type: ResourceType, call: OperationCall, resource: Resource) -> None:
    """Source: API reference, DeleteRecordingConfiguration; `delete` says what is inferred for others."""
    for other in RESOURCE_TYPES.values():
        for member, kind in other.references.items():
            if kind == resource_type.kind and call.transaction.page(
                call.account_region, other.kind, after=0, limit=1, equal={member: resource.arn}
            ):
                raise conflict(f"The {kind} is in use by a {other.kind}; remove that reference first")


def _filter(resource_type: ResourceType, request: Request) -> dict[str, str]:
    """Member -> value that a list is filtered by."""
    given = {member: request[name] for name, member in resource_type.filters.items() if request.get(name)}
    if len(given) > 1:
        raise conflict("Only one filter can be used at a time")
    return given
