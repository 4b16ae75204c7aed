"""A caller's policy as a document: read from a policy file, from options, and from a row of the store.

Invariants
- One model states every rule on a policy, whatever the document comes from. All bad members are reported together,
  under their names in the document.
- Members are only ever added. A missing member means the default of `CallerPolicy`. An unknown member is an error: it
  may be a typing error, or was written by a newer version, and may forbid something.
- `document_of` and `parse_policy` are inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tokensvc.callers.issuer_urls import check_issuer_url
from tokensvc.callers.policy import (
    BEARER_ALGORITHMS,
    DEFAULT_SCOPES,
    MAX_CONFIGURABLE_TTL_SECONDS,
    MAX_LEEWAY_SECONDS,
    MAX_STORABLE_TTL_SECONDS,
    NO_LIMITS,
    NO_RULES,
    VIEWER_APP_SCOPES,
    BearerPolicy,
    CallerPolicy,
    ClaimRules,
    Rate,
    RateLimits,
    Resolution,
    check_pattern,
    check_scope,
)
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.json_models import read_as
from tokensvc.origins import STRICT_MAX_ENTRIES, check_origin
from tokensvc.validation_errors import matching

_MAX_PER_MINUTE = 10_000_000
_MIN_DEFAULT_BURST = 10
"""A limit without a burst allows ten seconds' worth at once, and at least this many."""
_RULES = ("allowed_origins", "strict_origin_enforcement", "single_use", "maximum_resolution")


def _distinct(entries: list[str]) -> list[str]:
    return list(dict.fromkeys(entries))


def _check_algorithm(name: str) -> str:
    if name not in BEARER_ALGORITHMS:
        raise ValueError(f"must be one of {', '.join(BEARER_ALGORITHMS)}")
    return name


def _check_web_origin(entry: str) -> str:
    if entry == "*":
        raise ValueError("must be an origin, such as https://app.example.com; * would admit every page")
    return check_origin(entry)


_Claim = Annotated[str, matching(r"[!-~]{1,128}", "must be 1 to 128 printable characters without spaces")]
_Url = Annotated[str, AfterValidator(check_issuer_url)]
_KeySetUrl = Annotated[str, AfterValidator(partial(check_issuer_url, allow_query=True))]
_Origins = Annotated[
    list[Annotated[str, AfterValidator(check_origin)]], Field(max_length=100), AfterValidator(_distinct)
]
_WebOrigins = Annotated[
    list[Annotated[str, AfterValidator(_check_web_origin)]], Field(max_length=100), AfterValidator(_distinct)
]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class _RateDocument(_Document):
    per_minute: Annotated[int, Field(ge=1, le=_MAX_PER_MINUTE)] = Field(description="Tokens a minute in the long run")
    burst: Annotated[int, Field(ge=1, le=_MAX_PER_MINUTE)] | None = Field(
        default=None, description=f"Tokens at once. Default: ten seconds' worth, at least {_MIN_DEFAULT_BURST}"
    )

    def rate(self) -> Rate:
        return Rate(self.per_minute, self.burst or max(_MIN_DEFAULT_BURST, -(-self.per_minute // 6)))


class _LimitsDocument(_Document):
    caller: _RateDocument | None = Field(default=None, description="For all requests of the caller together")
    viewer: _RateDocument | None = Field(default=None, description="For each of its viewers")
    channel: _RateDocument | None = Field(default=None, description="For each of its channels")

    def limits(self) -> RateLimits:
        rates = (self.caller, self.viewer, self.channel)
        found = RateLimits(*(None if each is None else each.rate() for each in rates))
        return NO_LIMITS if found == NO_LIMITS else found


class _RulesDocument(_Document):
    allowed_origins: _Origins = Field(
        default=[],
        description="The web origins that may play. With `require`, a request lists some of them, or origins that "
        "their `*` covers",
    )
    strict_origin_enforcement: bool = Field(default=False, description="Whether strict origin enforcement is on")
    single_use: bool = Field(default=False, description="Whether a token starts playback once")
    maximum_resolution: Resolution | None = Field(
        default=None, description="The highest rendition. With `require`, a request states this or a lower one"
    )

    def rules(self) -> ClaimRules:
        found = ClaimRules(
            tuple(self.allowed_origins), self.strict_origin_enforcement, self.single_use, self.maximum_resolution
        )
        return NO_RULES if found == NO_RULES else found


class _BearerDocument(_Document):
    issuer: _Url = Field(description="The claim `iss` of its bearer tokens: an https URL, or http on this machine")
    audience: Annotated[str, matching(r"[!-~]{1,512}", "must be 1 to 512 printable characters without spaces")] = Field(
        description="A value of the claim `aud`. No other enabled caller has the same issuer and audience"
    )
    algorithms: Annotated[
        list[Annotated[str, AfterValidator(_check_algorithm)]], Field(min_length=1), AfterValidator(_distinct)
    ] = Field(default=["RS256"], description=f"Accepted signature algorithms out of {', '.join(BEARER_ALGORITHMS)}")
    jwks_url: _KeySetUrl | None = Field(
        default=None, description="The issuer's JWK Set. Default: found by OpenID Connect Discovery"
    )
    leeway_seconds: Annotated[int, Field(ge=0, le=MAX_LEEWAY_SECONDS)] = Field(
        default=MAX_LEEWAY_SECONDS, description="How far the issuer's clock may be off"
    )
    viewer_claim: _Claim = Field(
        default="sub", description="The claim that identifies the viewer. Tokens are for no other viewer"
    )
    channels_claim: _Claim | None = Field(
        default=None,
        description="The claim that lists the ARNs of the viewer's channels. Default: every channel of the policy",
    )
    required_claims: dict[_Claim, Annotated[list[bool | int | str], Field(min_length=1, max_length=100)]] = Field(
        default={}, description="Claims that a bearer token must have, each with the values that are accepted"
    )

    def policy(self) -> BearerPolicy:
        required = tuple((name, tuple(values)) for name, values in sorted(self.required_claims.items()))
        return BearerPolicy(
            **{
                **self.model_dump(exclude={"required_claims"}),
                "algorithms": tuple(self.algorithms),
                "required_claims": required,
            }
        )


class PolicyDocument(_Document):
    """Every member of a policy, as a policy file and the store write it."""

    channels: Annotated[list[Annotated[str, AfterValidator(check_pattern)]], AfterValidator(_distinct)] = Field(
        description='Patterns of channel ARNs in which `*` stands for any characters; `"*"` is every channel'
    )
    scopes: Annotated[list[Annotated[str, AfterValidator(check_scope)]], AfterValidator(_distinct)] = Field(
        default=sorted(DEFAULT_SCOPES),
        description="What it may do. A viewer app may have `tokens:issue` and `tokens:explain`",
    )
    max_ttl_seconds: Annotated[int, Field(ge=1, le=MAX_STORABLE_TTL_SECONDS)] | None = Field(
        default=None,
        description=f"The longest lifetime of its tokens; a file states {MAX_CONFIGURABLE_TTL_SECONDS:,} at most. The "
        "deployment's limit applies as well",
    )
    allow_anonymous_viewers: bool = Field(
        default=False,
        description="Whether it gets tokens without a viewer, which cannot be revoked. Not for viewer apps",
    )
    namespace: Annotated[
        str, matching(r"[A-Za-z0-9._-]{1,64}", "must be 1 to 64 letters, digits, dots, underscores or dashes")
    ] = Field(default="default", description="The namespace of its subjects; two namespaces never share a viewer id")
    require: _RulesDocument = Field(
        default=_RulesDocument(), description="What a request must ask for; 422 `claim_required` otherwise"
    )
    force: _RulesDocument = Field(
        default=_RulesDocument(),
        description="What its tokens get, whatever a request asks for. Not together with `require`",
    )
    limits: _LimitsDocument = Field(
        default=_LimitsDocument(), description="How often it may request tokens. Default: no limit"
    )
    bearer: _BearerDocument | None = Field(
        default=None, description="Makes the caller a viewer app, whose viewers present bearer tokens of this issuer"
    )
    cors_origins: _WebOrigins = Field(
        default=[],
        description="Web origins whose pages may call as this caller, in addition to those of the deployment",
    )
    audit_tokens: bool = Field(default=False, description="Whether each of its tokens gets an audit record")


def parse_policy(document: object) -> CallerPolicy:
    """The policy of a document. Raises InvalidRequest naming every bad member."""
    found = read_as(PolicyDocument, document)
    policy = CallerPolicy(
        channels=tuple(found.channels),
        scopes=frozenset(found.scopes),
        max_ttl_seconds=found.max_ttl_seconds,
        allow_anonymous_viewers=found.allow_anonymous_viewers,
        namespace=found.namespace,
        required=found.require.rules(),
        forced=found.force.rules(),
        limits=found.limits.limits(),
        bearer=found.bearer.policy() if found.bearer is not None else None,
        cors_origins=tuple(found.cors_origins),
        audit_tokens=found.audit_tokens,
    )
    if errors := _combined_errors(policy):
        raise InvalidRequest(errors)
    return policy


def document_of(policy: CallerPolicy) -> dict[str, Any]:
    """The document of a policy. Rules and limits that it does not have are left out."""
    bearer = policy.bearer
    members: dict[str, Any] = {
        "channels": list(policy.channels),
        "scopes": sorted(policy.scopes),
        "max_ttl_seconds": policy.max_ttl_seconds,
        "allow_anonymous_viewers": policy.allow_anonymous_viewers,
        "namespace": policy.namespace,
        "require": _without_defaults(policy.required, NO_RULES),
        "force": _without_defaults(policy.forced, NO_RULES),
        "limits": {name: rate._asdict() for name, rate in vars(policy.limits).items() if rate is not None},
        "cors_origins": list(policy.cors_origins),
        "audit_tokens": policy.audit_tokens,
    }
    if bearer is not None:
        claims = {name: list(values) for name, values in bearer.required_claims}
        members["bearer"] = {**_listed(asdict(bearer)), "required_claims": claims}
    return members


def _combined_errors(policy: CallerPolicy) -> list[FieldError]:
    """Errors by the rules that concern two members."""
    errors = [
        FieldError(f"require.{name}", "must be left out", excluded_by=f"force.{name}")
        for name in _RULES
        if getattr(policy.required, name) and getattr(policy.forced, name)
    ]
    is_strict = policy.forced.strict_origin_enforcement or policy.required.strict_origin_enforcement
    if is_strict and len(policy.forced.allowed_origins) > STRICT_MAX_ENTRIES:
        rule = f"must have at most {STRICT_MAX_ENTRIES} entries with strict_origin_enforcement"
        errors.append(FieldError("force.allowed_origins", rule))
    if policy.bearer is not None and not policy.scopes <= VIEWER_APP_SCOPES:
        rule = f"must be among {', '.join(sorted(VIEWER_APP_SCOPES))} for a viewer app: its bearer tokens are viewers'"
        errors.append(FieldError("scopes", rule))
    if policy.bearer is not None and policy.allow_anonymous_viewers:
        errors.append(FieldError("allow_anonymous_viewers", "must be left out", excluded_by="bearer"))
    return errors


def _without_defaults(rules: ClaimRules, defaults: ClaimRules) -> dict[str, Any]:
    return _listed({name: value for name, value in vars(rules).items() if value != getattr(defaults, name)})


def _listed(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in members.items()}
