"""`POST /v1/tokens/explain`: authenticate -> decode -> authorize -> explain -> encode.

Invariants
- Answered from the worker's snapshot: no store, no file and no call to IVS. A single-use token is not spent.
- A caller learns only about channels that match its patterns, whether they are asked for or claimed by the token.
- A viewer with a bearer token learns what restricts that viewer, and nothing about others: whose id a token claims is
  not proven by a signature that does not verify.
- A private key in the request is refused by the name of its field; the body is never logged.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive, Scope

from tokensvc.aws.arn import AccountRegion, parse_arn
from tokensvc.callers.policy import Caller
from tokensvc.http.json_response import json_response
from tokensvc.http.problem_details import Response
from tokensvc.tokens.denylist import ViewerRestriction
from tokensvc.tokens.explain_request import ExplainRequest, ExplanationView, read_explain_request, read_pasted
from tokensvc.tokens.explanation import DeploymentFacts, KnownKey, channel_or_none, claimed_channel, explain
from tokensvc.tokens.snapshot import Snapshot
from tokensvc.tokens.validation import PlaybackAttempt
from tokensvc.tokens.viewer_ids import viewer_id
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext

REQUEST_MAX_BYTES = 16 * 1024
SCOPE = "tokens:explain"


class ExplainRoute:
    """The route that explains tokens."""

    def __init__(
        self, authenticator: RequestAuthenticator, take_limits: Callable[[Caller], None] = lambda _: None
    ) -> None:
        """`take_limits` counts one explanation as one token; it raises RateLimited."""
        self._authenticator = authenticator
        self._take_limits = take_limits

    async def explain(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/tokens/explain`."""
        (caller, snapshot, now), body = await self._authenticator.authenticated_body(
            scope, receive, context, SCOPE, REQUEST_MAX_BYTES
        )
        request = read_explain_request(body)
        self._take_limits(caller)
        return json_response(_explanation(caller, snapshot, now, request), code="explained")


def _explanation(caller: Caller, snapshot: Snapshot, now: float, request: ExplainRequest) -> ExplanationView:
    pasted = read_pasted(request.token)
    channel = channel_or_none(request.channel_arn) or pasted.channel
    claimed = claimed_channel(pasted.token)
    caller.require_channels(filter(None, [claimed, channel and str(channel), pasted.channel and str(pasted.channel)]))
    attempt = PlaybackAttempt(
        token=pasted.token, now=now if request.at is None else request.at, channel=channel, origin=request.origin
    )
    return ExplanationView.of(explain(attempt, _facts(caller, snapshot), request.country))


def _facts(caller: Caller, snapshot: Snapshot) -> DeploymentFacts:
    """What the snapshot knows and the caller may learn. Viewers of channels in other accounts and regions are another
    deployment's."""

    own_viewer = None
    if caller.login is not None and snapshot.subject_key:
        own_viewer = viewer_id(snapshot.subject_key, caller.policy.namespace, caller.login.subject)

    def keys(account_region: AccountRegion) -> list[KnownKey]:
        region = snapshot.keyring.region_keys.get(account_region)
        if region is None:
            return []
        active = region.active.key_id if region.active else None
        accepted = [
            KnownKey(key_id, public, "active" if key_id == active else "imported", True)
            for key_id, public in region.verification_keys.items()
        ]
        withdrawn = [
            KnownKey(key_id, key.public, "compromised" if key.is_compromised else "retired", key.is_imported)
            for key_id, key in region.withdrawn_keys.items()
        ]
        return accepted + withdrawn

    def restriction(channel_arn: str, viewer: str) -> ViewerRestriction | None:
        if parse_arn(channel_arn, "channel").account_region not in snapshot.keyring.region_keys:
            return None
        if caller.login is not None and viewer != own_viewer:
            return None
        return snapshot.denylist.restriction(channel_arn, viewer)

    return DeploymentFacts(keys=keys, restriction=restriction)
