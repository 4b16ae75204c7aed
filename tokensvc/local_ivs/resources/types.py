"""ResourceType: the description of one kind of resource, from which `local_ivs/crud.py` builds its operations.

Each resource has one file in this folder, which holds its description and the rules that only it has; `registry.py`
lists the descriptions.

Invariants
- Quotas are those of the IVS user guide, "Service Quotas"; page sizes those of the API reference, `maxResults` of each
  list; defaults those of the API reference and of the output of the AWS CLI's examples.
- INFERRED: A resource that was created without a name has an empty one. AWS's examples show an absent name both as ""
  and left out.
- The first paragraphs of the docstrings of rules, `on_create`, `on_update` and `check_mutable` say what they require;
  `docs/reference/local-ivs.md` shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from tokensvc.aws.arn import Arn
from tokensvc.local_ivs.errors import Violation
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.resource_store import Resource
from tokensvc.local_ivs.transaction import Body, OperationCall

Rule = Callable[[OperationCall, Mapping[str, Any], Body], Iterable[Violation]]
"""(call, request, body) -> violations. `body` holds the members as they will be stored; a rule may normalize one."""
OnCreate = Callable[[OperationCall, Arn, str, Body], str]
"""(call, new ARN, parent's ARN, body) -> unique key, or "". Adds the members that IVS generates to the body."""
OnUpdate = Callable[[OperationCall, Body], None]
"""(call, body) -> None. Adds the members that IVS generates on an update to the body."""
CheckMutable = Callable[[OperationCall, Resource], None]
"""(call, resource) -> None. Raises IvsError if the resource can be neither updated nor deleted now."""
Render = Callable[[OperationCall, Resource], Body]
"""(call, resource) -> the members that a response shows."""

PARENT_MEMBER = "channelArn"
"""The request member that holds the parent's ARN, for every resource that has a parent."""


def no_generated_members(_: OperationCall, __: Arn, ___: str, ____: Body) -> str:
    """IVS generates nothing but the ARN, and nothing has to be unique."""
    return ""


def nothing_on_update(_: OperationCall, __: Body) -> None:
    """IVS generates nothing on an update."""


def always_mutable(_: OperationCall, __: Resource) -> None:
    """The resource can be updated and deleted at any time."""


def render_stored(_: OperationCall, resource: Resource) -> Body:
    """All stored members and the ARN."""
    return {**resource.body, "arn": resource.arn}


class ResourceOperation(NamedTuple):
    """An operation of a resource and its published rate limits."""

    name: str
    rate_limits: tuple[RateLimit, ...]


def limited(calls_per_second: int, **operations: str) -> dict[str, ResourceOperation]:
    """Verb -> operation, for operations that share a published rate limit."""
    rate_limits = (RateLimit(calls_per_second),)
    return {verb: ResourceOperation(name, rate_limits) for verb, name in operations.items()}


def unlimited(**operations: str) -> dict[str, ResourceOperation]:
    """Verb -> operation, for operations without a published rate limit."""
    return {verb: ResourceOperation(name, ()) for verb, name in operations.items()}


class ResourceType(NamedTuple):
    """The description of one kind of resource."""

    kind: str
    """The kind as it appears in ARNs."""
    member: str
    """The response member that holds one resource."""
    list_member: str
    """The response member that holds a list of resources."""
    operations: Mapping[str, ResourceOperation]
    """Verb of `local_ivs/crud.py` -> operation."""
    quota: int
    """The maximum number per account and region, or per parent."""
    quota_text: str
    page_size: int
    """The page size of a list if the request does not name one."""
    defaults: Mapping[str, Any]
    quota_documented: bool = True
    """Whether AWS documents the quota."""
    rules: tuple[Rule, ...] = ()
    on_create: OnCreate = no_generated_members
    on_update: OnUpdate = nothing_on_update
    check_mutable: CheckMutable = always_mutable
    render: Render = render_stored
    render_summary: Render | None = None
    """Renders an entry of a list, if that is cheaper than `render`."""
    parent_kind: str = ""
    """The kind that it belongs to and is deleted with."""
    creates_with: str = ""
    """The kind of which one resource is created along with it."""
    owned_kinds: tuple[str, ...] = ()
    """Kinds without a ResourceType that are stored under it and deleted with it."""
    edge_members: tuple[str, ...] = ()
    """The stored members that the edge uses until a deletion has reached it; none for a kind that it does not know."""
    references: Mapping[str, str] = {}
    """Member that holds the ARN of another resource -> that resource's kind. An empty ARN refers to nothing."""
    filters: Mapping[str, str] = {}
    """Filter of the list request -> the member that must equal it. Only one filter may be used at a time."""
