"""The verbs that every kind of resource shares. What differs between kinds stands in its row.

Rules of the file
- A verb is one function from (kind, call, checked request) to an answer; the whole of it is one transaction, so a
  refusal at any point leaves everything as it was.
- Order of refusals on a create: the request itself, what it refers to, a duplicate, the quota. INFERRED: IVS does not
  document it.
- Answers hold more than an operation returns (a summary, a key's public half): the model's rendering drops the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tokensvc.local_ivs import id_generators
from tokensvc.local_ivs.errors import BATCH_NOT_FOUND_CODE, IvsError, conflict, invalid, quota_exceeded
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.resources.tags import reserved_keys
from tokensvc.local_ivs.resources.types import RESOURCE_TYPES, PARENT_MEMBER, ResourceType
from tokensvc.local_ivs.transaction import Body, OperationCall, Handler

Request = Mapping[str, Any]


def create(kind: ResourceType, call: OperationCall, request: Request) -> Body:
    """Make one, and the one that it brings along."""
    parent_arn = call.existing(request[PARENT_MEMBER], kind.parent).arn if kind.parent else ""
    made = _insert(kind, call, request, parent_arn)
    answer = {kind.member: kind.show(call, made)}
    if kind.brings:
        other = RESOURCE_TYPES[kind.brings]
        answer[other.member] = other.show(call, _insert(other, call, {}, made.arn))
    return answer


def get(kind: ResourceType, call: OperationCall, request: Request) -> Body:
    return {kind.member: kind.show(call, call.existing(request["arn"], kind.name))}


def update(kind: ResourceType, call: OperationCall, request: Request) -> Body:
    """Change the members that are given; "" takes a reference away."""
    resource = call.existing(request["arn"], kind.name)
    body = _settled(kind, call, request, resource.body)
    kind.guard(call, resource)
    kind.stamp(call, body)
    changed = resource._replace(body=body)
    call.transaction.put(changed)
    return {kind.member: kind.show(call, changed)}


def delete(kind: ResourceType, call: OperationCall, request: Request) -> Body:
    """Forget it, and what belongs to it."""
    resource = call.existing(request["arn"], kind.name)
    kind.guard(call, resource)
    _refuse_in_use(kind, call, resource)
    for belonging in (*(child.name for child in RESOURCE_TYPES.values() if child.parent == kind.name), *kind.beside):
        for child in call.transaction.find(call.account_region, belonging, parent_arn=resource.arn):
            call.transaction.delete(child.arn)
    call.transaction.delete(resource.arn)
    return {}


def list_page(kind: ResourceType, call: OperationCall, request: Request) -> Body:
    """One page, in order of creation; `nextToken` is absent on the last."""
    parent_arn = call.existing(request[PARENT_MEMBER], kind.parent).arn if kind.parent else None
    equal = _filter(kind, request)
    scope = json.dumps([call.operation, *call.account_region, parent_arn, equal])
    after = call.pages.read(scope, request.get("nextToken", ""))
    limit = request.get("maxResults", kind.page_size)
    found = call.transaction.page(
        call.account_region, kind.name, after=after, limit=limit + 1, parent_arn=parent_arn, equal=equal
    )
    show = kind.summarise or kind.show
    answer: Body = {kind.members: [show(call, resource) for _, resource in found[:limit]]}
    if len(found) > limit:
        answer["nextToken"] = call.pages.write(scope, found[limit - 1][0])
    return answer


def batch_get(kind: ResourceType, call: OperationCall, request: Request) -> Body:
    """Each in the order asked for; what is not found becomes an entry of `errors`, which is absent when empty."""
    found: list[Body] = []
    errors: list[Body] = []
    for arn in request["arns"]:
        try:
            found.append(kind.show(call, call.existing(arn, kind.name)))
        except IvsError as missing:
            errors.append({"arn": arn, "code": BATCH_NOT_FOUND_CODE, "message": missing.message})
    return {kind.members: found, "errors": errors or None}


VERBS: Mapping[str, tuple[Callable[[ResourceType, OperationCall, Request], Body], bool]] = {
    "create": (create, True),
    "get": (get, False),
    "update": (update, True),
    "delete": (delete, True),
    "list": (list_page, False),
    "batch-get": (batch_get, False),
}
"""Verb -> its function, and whether it writes."""


def handlers() -> dict[str, Handler]:
    """The handler of every operation that a row of `kinds.py` names."""
    return {
        operation: Handler(partial(VERBS[verb][0], kind), writes=VERBS[verb][1])
        for kind in RESOURCE_TYPES.values()
        for verb, operation in kind.operations.items()
    }


def _insert(kind: ResourceType, call: OperationCall, request: Request, parent_arn: str) -> Resource:
    body = _settled(kind, call, request, kind.defaults)
    arn = id_generators.new_arn(call.account_region, kind.name, call.token)
    unique = kind.finish(call, arn, parent_arn, body)
    if unique and call.transaction.find(call.account_region, kind.name, unique=unique):
        raise conflict(f"The same {kind.name} exists already in this account and region")
    if call.transaction.count(call.account_region, kind.name, parent_arn=parent_arn or None) >= kind.quota:
        raise quota_exceeded(f"The quota is reached: {kind.quota_text}")
    made = Resource(str(arn), call.account_region, kind.name, parent_arn, unique, body, call.now)
    call.transaction.put(made)
    return made


def _settled(kind: ResourceType, call: OperationCall, request: Request, before: Mapping[str, Any]) -> Body:
    """The members as they will be. Raises IvsError where a rule or a reference does not hold."""
    given = {name: value for name, value in request.items() if name not in ("arn", PARENT_MEMBER)}
    body = {**before, **given}
    violations = [violation for rule in kind.rules for violation in rule(call, request, body)]
    violations.extend(reserved_keys(request.get("tags", {})))
    if violations:
        raise invalid(violations)
    for member, referred in kind.references.items():
        if given.get(member):
            call.existing(given[member], referred)
    return body


def _refuse_in_use(kind: ResourceType, call: OperationCall, resource: Resource) -> None:
    """What others refer to stays. API reference, DeleteRecordingConfiguration; INFERRED for the other configurations,
    whose deletes list the same error."""
    for other in RESOURCE_TYPES.values():
        for member, referred in other.references.items():
            if referred == kind.name:
                user = call.transaction.page(call.account_region, other.name, after=0, limit=1, equal={member: resource.arn})
                if user:
                    raise conflict(f"The {kind.name} is in use by a {other.name}; take it away there first")


def _filter(kind: ResourceType, request: Request) -> dict[str, str]:
    """What the list is narrowed to. INFERRED: an empty filter is none, and a name must match as a whole."""
    given = {member: request[name] for name, member in kind.filters.items() if request.get(name)}
    if len(given) > 1:
        raise conflict("Only one filter can be used at a time")
    return given
