"""A tokensvc whose caller's policy has claim rules and limits, and whose tokens are all on record.

Invariants
- It gets the same requests as any other, and all of them succeed: no limit is reached.
- Its tokens are as long as others but for one claim, so that a difference in cost is that of deciding and recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks import servers
from tokensvc.audit.record import Actor, ActorKind, AuditEvent
from tokensvc.callers.policy import CallerPolicy
from tokensvc.callers.policy_document import parse_policy
from tokensvc.container.api_keys import new_api_key
from tokensvc.storage.store import open_store

_NEVER_REACHED = {"per_minute": 10_000_000, "burst": 1_000_000}
_EVENT = AuditEvent(Actor(ActorKind.SYSTEM, "benchmark"), "test")


def strict_policy(*, audit_tokens: bool) -> CallerPolicy:
    """Channel patterns, a lifetime, a forced claim, all three limits."""
    return parse_policy(
        {
            "channels": [f"arn:aws:ivs:{servers.ACCOUNT_REGION.region}:*:channel/*"],
            "max_ttl_seconds": 3600,
            "force": {"maximum_resolution": "HD"},
            "limits": dict.fromkeys(("caller", "viewer", "channel"), _NEVER_REACHED),
            "audit_tokens": audit_tokens,
        }
    )


@contextmanager
def strict_service(folder: Path, *, audit_tokens: bool) -> Iterator[servers.RunningService]:
    """It, running, on a store in this folder; with audit records on a stream of their own, too."""
    environ, _ = servers.create_deployment(folder)
    api_key, secret = new_api_key()
    with closing(open_store(environ["TOKENSVC_DATABASE_URL"])) as store:
        store.callers.add("strict", strict_policy(audit_tokens=audit_tokens), secret, _EVENT)
    environ["TOKENSVC_AUDIT_LOG"] = str(folder / "audit.jsonl")
    with servers.run_service(folder, environ, api_key) as running:
        yield running
