"""What the client sends and returns.

Invariants
- Fields have the names of the API, in snake case; `docs/reference/http-api.md` says more about each.
- All objects are immutable. No repr shows a token, a playback URL, or who the viewer is.
- States and other lists of words are strings, because later releases may add words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True)
class AdInsertion:
    """Server-side ad insertion for a viewer."""

    _: KW_ONLY
    opt_out: bool | None = None
    player_params: Mapping[str, str] | None = field(default=None, repr=False)
    playback_config_name: str | None = None
    reporting_mode: Literal["CLIENT", "SERVER"] | None = None


@dataclass(frozen=True)
class TokenRequest:
    """A request for one token, for one viewer of one channel."""

    channel_arn: str
    _: KW_ONLY
    viewer_id: str | None = field(default=None, repr=False)
    """The viewer's id in IVS. Not with `subject`."""
    subject: str | None = field(default=None, repr=False)
    """Instead of `viewer_id`: any string that identifies the viewer to you."""
    ttl_seconds: int | None = None
    """How long the token can start playback. Default: the smaller of 300 and the caller's limit."""
    allowed_origins: Sequence[str] | None = None
    strict_origin_enforcement: bool = False
    single_use: bool = False
    """The token can start playback once."""
    maximum_resolution: Literal["SD", "HD", "FULL_HD"] | None = None
    ads: AdInsertion | None = None
    require_playback_url: bool = False
    """Rather no token than one without `playback_url`: UnavailableError with `playback_url_unavailable`."""


@dataclass(frozen=True)
class PlaybackToken:
    """A playback token."""

    token: str = field(repr=False)
    """The signed token."""
    expires_at: datetime
    """Until when playback can start."""
    refresh_after: datetime
    """When to request the next token, for playback that starts anew."""
    requires_origin_header: bool
    playback_url: str | None = field(default=None, repr=False)
    """The channel's playback URL with the token. None while IVS has not described the channel."""
    playback_url_retry_after_seconds: int | None = None
    viewer_id: str | None = field(default=None, repr=False)
    viewer_session_version: int | None = None
    server_time: datetime | None = None
    """The time of the response by the service's clock (its header `Date`). `refresh_after - server_time` is a duration
    that does not depend on this machine's clock. None without the header."""


@dataclass(frozen=True)
class Explanation:
    """Whether a token can start playback, and why."""

    outcome: str
    """`allow`, `deny`, `conditional` or `indeterminate`."""
    denied_by: str | None
    reason: str
    unless: list[str]
    message: str
    signed_by: str | None
    rules: list[ExplainedRule]


@dataclass(frozen=True)
class ExplainedRule:
    """What one rule found."""

    rule: str
    result: str
    reason: str
    message: str
    remedy: str


@dataclass(frozen=True)
class RevocationRequest:
    """End a viewer's sessions in one or more channels. One of `channel_arn` and `channel_arns`, and one of `viewer_id`
    and `subject`, is required."""

    _: KW_ONLY
    channel_arn: str | None = None
    channel_arns: Sequence[str] | None = None
    viewer_id: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)
    issued_before: datetime | None = None
    """End only sessions of tokens that were issued before this time, and deny no new tokens."""
    deny_seconds: int | None = None
    """How long the viewer gets no tokens. Default: until `readmit_after`; with `issued_before`, not at all."""
    reason: str = ""


@dataclass(frozen=True)
class AcceptedRevocation:
    """A durably stored revocation: it will be delivered to IVS."""

    id: str
    state: str
    readmit_after: datetime
    """When the viewer may return."""


@dataclass(frozen=True)
class RevocationTarget:
    """The delivery to IVS for one viewer of one channel."""

    channel_arn: str
    viewer_id: str = field(repr=False)
    viewer_session_versions_less_than_or_equal_to: int
    state: str
    """`queued`, `sent`, `failed` or `cancelled`."""
    attempts: int
    finished_at: datetime | None
    code: str | None
    message: str | None


@dataclass(frozen=True)
class Revocation:
    """A revocation and the delivery of each of its targets."""

    id: str
    state: str
    """`queued` while any target is queued, else `failed` if any failed, else `sent` or `cancelled`."""
    caller: str
    reason: str
    accepted_at: datetime
    readmit_after: datetime
    targets: list[RevocationTarget]


@dataclass(frozen=True)
class DenialRequest:
    """Deny a viewer new tokens for a while; its sessions continue. One of each pair is required: `channel_arn` and
    `channel_arns`, `viewer_id` and `subject`, `until` and `deny_seconds`."""

    _: KW_ONLY
    channel_arn: str | None = None
    """The channel, or `*` for all."""
    channel_arns: Sequence[str] | None = None
    viewer_id: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)
    until: datetime | None = None
    deny_seconds: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Denial:
    """A denial in force."""

    id: str
    channel_arn: str
    until: datetime
    reason: str
    caller: str
    created_at: datetime


@dataclass(frozen=True)
class KeyPlacement:
    """A key in one account and region."""

    account: str
    region: str
    state: str
    """`prepared`, `active`, `retiring`, `retired` or `compromised`."""
    since: datetime
    age_seconds: int
    arn: str
    imported_at: datetime
    activated_at: datetime | None
    retiring_at: datetime | None
    drains_at: datetime | None
    retired_at: datetime | None
    compromised_at: datetime | None
    longest_ttl_seconds: int
    fingerprint_differs: bool


@dataclass(frozen=True)
class Key:
    """A key pair of the deployment."""

    id: str
    fingerprint: str
    created_at: datetime
    compromised_at: datetime | None
    damage: str | None
    placements: list[KeyPlacement]


@dataclass(frozen=True)
class KeyStep:
    """One step in the life of a key."""

    step: str
    region: str | None
    reason: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None


@dataclass(frozen=True)
class StaleWorker:
    """A worker that may not have loaded the newest keys yet."""

    worker_id: str
    host: str
    pid: int
    last_heartbeat_at: datetime
    until: datetime


@dataclass(frozen=True)
class KeyDetail(Key):
    """A key pair, its history, and the workers that are not in sync or cannot use it."""

    history: list[KeyStep]
    stale_workers: list[StaleWorker]
    workers_unable_to_decrypt: list[str]
