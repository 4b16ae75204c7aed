"""What each command prints with `--json`, as models: the JSON schema and the reference are generated from them.

Invariants
- Every command that has `--json` has an entry in RESULTS; tests validate what commands print against its schema.
- Numbers, booleans and null are those of JSON; a time is RFC 3339 in UTC. A field is always there, unless its
  description says when it is missing.
- No command uses these models: outputs are validated in tests, not at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, RootModel

from tokensvc.audit.views import AuditPage, AuditRecordView
from tokensvc.json_models import JsonModel, Timestamp
from tokensvc.keys.views import (
    CompromiseImpactView,
    KeyDetailView,
    KeyView,
    RotationView,
    StaleWorkerView,
)
from tokensvc.revocations.views import (
    AcceptedRevocationView,
    CreatedDenialsView,
    DenialPage,
    RevocationPage,
    RevocationView,
)
from tokensvc.tokens.explain_request import ExplanationView
from tokensvc.web.schemas import TokenResponse

_Json = bool | int | float | str | list[Any] | dict[str, Any] | None


class ErrorDetail(JsonModel):
    """Why a command, or a part of it, failed."""

    code: str = Field(description="The error code, see the reference of error codes")
    message: str = Field(description="The error in words")


class FailedCommand(JsonModel):
    """What a command that fails prints, on standard error, as its last line."""

    error: ErrorDetail = Field(description="The error")


class StoredChange(JsonModel):
    """A limit of the deployment that was changed in the store."""

    setting: str = Field(description="The setting's variable")
    previous: float | bool = Field(alias="from", description="The value before")
    value: float | bool = Field(alias="to", description="The value now")


class UpgradedDatabase(JsonModel):
    """The database after `db upgrade`."""

    before: str | None = Field(description="The revision of the schema before; `null` if the database was empty")
    after: str = Field(description="The revision of the schema now")
    deployment: str = Field(description="The deployment's id")
    max_ttl_seconds: int = Field(description="The longest lifetime of any token")
    changed: list[StoredChange] = Field(description="The limits that were changed")


class CheckResult(JsonModel):
    """What one check of `doctor` found."""

    ok: bool = Field(description="Whether the check passed")
    check: str = Field(description="What was checked")
    detail: str = Field(description="What was found")
    fix: str | None = Field(description="The command that fixes it; `null` if nothing is to be fixed, or none is known")


class DoctorReport(JsonModel):
    """Everything that `doctor` checked."""

    ok: bool = Field(description="Whether every check passed")
    findings: list[CheckResult] = Field(description="The checks in their order")


class SettingValue(JsonModel):
    """One setting."""

    value: bool | int | float | str | list[str] | None = Field(
        description="The value in effect, with the setting's type; secrets are masked, in a URL only the password is"
    )
    source: str = Field(
        description="A variable, a line of the settings file (`tokensvc.toml:3`), `store`, `store (unavailable)` or "
        "`default`"
    )
    problem: str = Field("", description="Why the value given here does not apply, or the stored one cannot be read")
    effective: str = Field("", description="Only of `TOKENSVC_SIGNER`: the signer in use, and why no faster one is")


class SettingValues(RootModel[dict[str, SettingValue]]):
    """Every setting by its variable."""


class HealthReport(JsonModel):
    """A healthy service."""

    url: str = Field(description="What was asked")
    status: Literal["ready", "alive"] = Field(description="What the service reports")
    warnings: list[str] = Field(description="What it warns of")


class ImportedKey(KeyView):
    """A key that was imported."""

    source_format: str = Field("", description="The form of the private key that was read")


class ForeignPair(JsonModel):
    """A key pair of another application."""

    arn: str = Field(description="Its ARN")
    name: str = Field(description="Its name in IVS")
    tags: dict[str, str] = Field(description="Its tags in IVS")


class RegionInventory(JsonModel):
    """What IVS holds in one region. If that cannot be read, there are `region` and `error` alone."""

    region: str = Field(description="The AWS region")
    slots_used: int = Field(0, description="How many key pairs IVS holds there")
    slots_limit: int = Field(0, description="How many it can hold")
    foreign: list[ForeignPair] = Field([], description="Key pairs that tokensvc did not create")
    problems: list[str] = Field([], description="What differs from the store")
    error: ErrorDetail | None = Field(None, description="Why IVS could not be read")


class KeyList(JsonModel):
    """All keys."""

    keys: list[KeyView] = Field(description="The keys, oldest first")
    ivs: list[RegionInventory] = Field([], description="Only with `--ivs`: what IVS holds in each region")


class ShownKey(KeyDetailView):
    """A key with its history."""

    history_truncated: bool = Field(description="Whether there are older steps; `--max-results` shows more")


class PlannedStep(JsonModel):
    """A step that would be taken, or a wait."""

    step: str | None = Field(description="The step; `null` for a wait")
    key: str | None = Field(description="The id of the key that it concerns")
    until: Timestamp | None = Field(description="The end of a wait, if it is known")
    reason: str = Field(description="Why")


class RegionPlan(JsonModel):
    """The steps in one region."""

    region: str = Field(description="The AWS region")
    steps: list[PlannedStep] = Field(description="The steps in their order")


class KeyPlan(JsonModel):
    """What a dry run would do."""

    dry_run: Literal[True] = Field(description="Nothing was changed")
    regions: list[RegionPlan] = Field(description="The plan for each region")


class ReconciledKeys(JsonModel):
    """The keys after every step that was due."""

    changed: bool = Field(description="Whether a step was taken")
    keys: list[KeyView] = Field(description="All keys")


class RemovedKey(JsonModel):
    """A key that no longer exists."""

    id: str = Field(description="The key's id")
    deleted: Literal[True] = Field(description="Nothing of it is left")


class DeletedPair(JsonModel):
    """A key pair that was deleted by its ARN."""

    deleted: str = Field(description="The ARN")


class CompromisePlan(JsonModel):
    """What a compromise would cause."""

    id: str = Field(description="The key's id")
    dry_run: Literal[True] = Field(description="Nothing was changed")
    impact: list[CompromiseImpactView] = Field(description="The consequences in each region")


class CompromisedRegion(JsonModel):
    """A compromised key in one region."""

    region: str = Field(description="The AWS region")
    deleted_at: Timestamp | None = Field(description="When its pair was deleted; `null` if it is not yet")
    tokens_valid_until: Timestamp | None = Field(description="Until when its tokens are, or were, valid")


class CompromisedKey(JsonModel):
    """A key after its compromise."""

    id: str = Field(description="The key's id")
    compromised_at: Timestamp | None = Field(description="When it was marked as compromised")
    done: bool = Field(description="Whether its pairs are deleted in every region")
    impact: list[CompromiseImpactView] = Field(description="The consequences in each region")
    regions: list[CompromisedRegion] = Field(description="The state in each region")
    stale_workers: list[StaleWorkerView] = Field(description="Workers that may still sign with it")


class RewrappedSecret(JsonModel):
    """A secret in the vault or the store."""

    secret: str = Field(description="What it is")
    wrapped_by: str = Field(description="The passphrase or KMS key that encrypted it before")


class RewrapReport(JsonModel):
    """What `keys rewrap` did, or would do."""

    dry_run: bool = Field(description="Whether nothing was changed")
    current: str = Field(description="The passphrase or KMS key that encrypts now")
    copied: list[str] = Field(description="The ids of keys that were copied from `--from`")
    secrets: list[RewrappedSecret] = Field(description="The secrets that were encrypted again")


class SubmittedLine(JsonModel):
    """One line of a file of revocations: accepted, or rejected with an error."""

    line: int = Field(description="The line's number, from 1")
    id: str = Field("", description="The revocation's id; missing if the line was rejected")
    state: Literal["queued"] = Field("queued", description="Missing if the line was rejected")
    readmit_after: Timestamp | None = Field(
        None, description="When the viewer may return; missing if the line was rejected"
    )
    error: ErrorDetail | None = Field(None, description="Why the line was rejected; missing if it was accepted")


class SubmittedFile(JsonModel):
    """The lines of a file of revocations."""

    revocations: list[SubmittedLine] = Field(description="A result for each line, in order")


class Queue(JsonModel):
    """The queue of revocations for one account and region."""

    account: str = Field(description="The AWS account")
    region: str = Field(description="The AWS region")
    queued: int = Field(description="How many deliveries wait")
    oldest_age_seconds: int = Field(description="How long the oldest has waited")
    seconds_left: float | None = Field(description="Estimated time until the queue is empty; `null` if that is unknown")
    ends_at: Timestamp | None = Field(description="When that is")
    problem: str | None = Field(description="Why there is no estimate")


class Queues(JsonModel):
    """The queues that are not empty."""

    queues: list[Queue] = Field(description="The queues by account and region")


class ChangedRevocations(JsonModel):
    """Revocations after a change."""

    revocations: list[RevocationView] = Field(description="The revocations")


class RemovedDenials(JsonModel):
    """Denials that were removed."""

    removed: list[str] = Field(description="Their ids")


class PolicyRules(JsonModel):
    """What tokens must have, or are given. A rule that is not stated is missing."""

    allowed_origins: list[str] = Field([], description="Web origins")
    strict_origin_enforcement: bool = Field(False, description="Strict origin enforcement")
    single_use: bool = Field(False, description="Single use")
    maximum_resolution: str | None = Field(None, description="The highest resolution")


class PolicyRate(JsonModel):
    """A rate limit."""

    per_minute: int = Field(description="Tokens a minute in the long run")
    burst: int = Field(description="Tokens at once")


class PolicyLimits(JsonModel):
    """Rate limits. One that is not stated is missing."""

    caller: PolicyRate | None = Field(None, description="Of the caller")
    viewer: PolicyRate | None = Field(None, description="Of each viewer")
    channel: PolicyRate | None = Field(None, description="Of each channel")


class PolicyBearer(JsonModel):
    """Whose bearer tokens a viewer app presents."""

    issuer: str = Field(description="The issuer")
    audience: str = Field(description="The audience")
    algorithms: list[str] = Field(description="The accepted signature algorithms")
    jwks_url: str | None = Field(description="The issuer's JWK Set; `null`: found by OpenID Connect Discovery")
    leeway_seconds: int = Field(description="How far the issuer's clock may be off")
    viewer_claim: str = Field(description="The claim that is the viewer")
    channels_claim: str | None = Field(description="The claim that lists the viewer's channels")
    required_claims: dict[str, list[bool | int | str]] = Field(description="Claims with their accepted values")


class ApiKeyInfo(JsonModel):
    """An API key, without its secret."""

    id: str = Field(description="The public id, which the log and audit records show")
    created_at: Timestamp | None = Field(description="When it was created")
    expires_at: Timestamp | None = Field(description="When it expires; `null`: never")
    last_used_at: Timestamp | None = Field(description="When it was last used, to the minute")
    last_used_from: str | None = Field(description="The address that it was last used from")


class CallerInfo(JsonModel):
    """A caller: its policy and its API keys."""

    name: str = Field(description="The caller's name")
    kind: Literal["backend", "viewer_app"] = Field(description="Whether it has API keys, or its viewers bearer tokens")
    disabled_at: Timestamp | None = Field(description="Since when its requests are rejected")
    created_at: Timestamp | None = Field(description="When it was added")
    channels: list[str] = Field(description="Patterns of channel ARNs")
    scopes: list[str] = Field(description="The scopes")
    max_ttl_seconds: int | None = Field(description="The longest lifetime of its tokens; `null`: the deployment's")
    allow_anonymous_viewers: bool = Field(description="Whether it may request tokens without a viewer")
    namespace: str = Field(description="The namespace of its subjects")
    require: PolicyRules = Field(description="What its requests must have")
    force: PolicyRules = Field(description="What its tokens are given")
    limits: PolicyLimits = Field(description="Its rate limits")
    cors_origins: list[str] = Field(description="Web origins whose pages may call as this caller")
    audit_tokens: bool = Field(description="Whether each of its tokens is recorded")
    bearer: PolicyBearer | None = Field(description="Of a viewer app: whose bearer tokens it presents")
    keys: list[ApiKeyInfo] = Field(description="Its API keys, newest first")


class CallerWithKey(CallerInfo):
    """A caller with a new API key."""

    api_key: str = Field("", description="The API key, which is shown once; a viewer app has none")
    warnings: list[str] = Field([], description="Only of `rotate-secret`: why the key is rejected for now")


class ChangedMember(JsonModel):
    """A member of a policy that differs."""

    member: str = Field(description="The member, as in a policy file")
    before: _Json = Field(description="The value before; `null` if it was missing")
    after: _Json = Field(description="The value now; `null` if it is missing")


class CallerChangeInfo(JsonModel):
    """A change of one caller."""

    name: str = Field(description="The caller's name")
    is_new: bool = Field(description="Whether the caller is added")
    disabled: bool | None = Field(description="Whether it is disabled or enabled by the change; `null`: neither")
    members: list[ChangedMember] = Field(description="The members of the policy that differ")


class UpdatedCaller(CallerInfo):
    """A caller after an update; with `--dry-run`, before it."""

    change: CallerChangeInfo | None = Field(description="What changed; `null` if nothing did")
    dry_run: bool = Field(description="Whether nothing was changed")


class CallerList(JsonModel):
    """All callers."""

    callers: list[CallerInfo] = Field(description="The callers by name")


class AppliedPolicyFile(JsonModel):
    """What a policy file changed."""

    changes: list[CallerChangeInfo] = Field(description="The changes by caller")
    dry_run: bool = Field(description="Whether nothing was changed")
    api_keys: dict[str, str] = Field(description="New API keys by caller, unless they were written to files")


RESULTS: Mapping[str, tuple[type[Any], ...]] = {
    "db upgrade": (UpgradedDatabase,),
    "doctor": (DoctorReport,),
    "settings": (SettingValues,),
    "health": (HealthReport,),
    "keys generate": (KeyView,),
    "keys import": (ImportedKey,),
    "keys adopt": (KeyView,),
    "keys list": (KeyList,),
    "keys show": (ShownKey,),
    "keys rotate": (RotationView, KeyPlan),
    "keys reconcile": (ReconciledKeys, KeyPlan),
    "keys activate": (KeyView,),
    "keys retire": (RotationView, KeyView, RemovedKey),
    "keys delete": (KeyView, RemovedKey, DeletedPair),
    "keys compromise": (CompromisedKey, CompromisePlan),
    "keys rewrap": (RewrapReport,),
    "tokens issue": (TokenResponse,),
    "tokens explain": (ExplanationView,),
    "revocations add": (AcceptedRevocationView, SubmittedFile),
    "revocations list": (RevocationPage,),
    "revocations show": (RevocationView,),
    "revocations watch": (RevocationView, Queues),
    "revocations retry": (ChangedRevocations,),
    "revocations cancel": (ChangedRevocations,),
    "denials add": (CreatedDenialsView,),
    "denials list": (DenialPage,),
    "denials remove": (RemovedDenials,),
    "callers add": (CallerWithKey,),
    "callers list": (CallerList,),
    "callers show": (CallerInfo,),
    "callers update": (UpdatedCaller,),
    "callers apply": (AppliedPolicyFile,),
    "callers rotate-secret": (CallerWithKey,),
    "callers enable": (CallerInfo,),
    "callers disable": (CallerInfo,),
    "audit list": (AuditPage,),
    "audit follow": (AuditRecordView,),
}
"""By command: the model of its output. Of several, the first is that of the command without special options."""


def json_schema() -> dict[str, Any]:
    """One JSON schema with all of them: `#/$defs/keys-list` is that of `tokensvc keys list --json`."""
    from pydantic.json_schema import GenerateJsonSchema, models_json_schema

    models = dict.fromkeys(model for alternatives in RESULTS.values() for model in alternatives)
    pairs: list[tuple[Any, Literal["serialization"]]] = [(model, "serialization") for model in (*models, FailedCommand)]
    references, document = models_json_schema(pairs, ref_template="#/$defs/{model}")
    definitions = document["$defs"]
    for command, alternatives in RESULTS.items():
        shown = [references[(model, "serialization")] for model in alternatives]
        definitions[schema_name(command)] = shown[0] if len(shown) == 1 else {"anyOf": shown}
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "Output of tokensvc commands with --json",
        "description": "`#/$defs/keys-list` describes what `tokensvc keys list --json` prints.",
        "$defs": definitions,
    }


def schema_name(command: str) -> str:
    """The name of a command's definition in the schema."""
    return command.replace(" ", "-")
