"""Opens the deployment that the settings name, and writes to it those that concern all of it.

Invariants
- boto3 is loaded by `open_deployment` alone: a command that only needs the store does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokensvc.audit.requester import Requester
from tokensvc.container.store import open_configured_store
from tokensvc.container.vault import make_cipher, required_kek_settings, vault_location
from tokensvc.deployment.record import Deployment, RotationPolicy
from tokensvc.errors import InvalidRotationPolicy, RowUnreadable
from tokensvc.keys.rotation_policy import PROPAGATION_SECONDS, check_policy, max_staleness_seconds
from tokensvc.settings import Settings, require
from tokensvc.storage.store import Store
from tokensvc.vault.cipher import SecretCipher

if TYPE_CHECKING:
    from tokensvc.aws.ivs import AwsControlPlane, CallObserver


def deployment_max_staleness(settings: Settings, store: Store) -> float:
    """max_staleness of the deployment in seconds: the largest of this process's and those of the last day's workers."""
    own = max_staleness_seconds(settings.snapshot_lease_seconds, settings.store_timeout_seconds)
    heartbeats = (worker.heartbeat for worker in store.workers.list())
    return max(
        [
            own,
            *(
                max_staleness_seconds(heartbeat.lease_seconds, heartbeat.store_timeout_seconds)
                for heartbeat in heartbeats
            ),
        ]
    )


def apply_deployment_settings(settings: Settings, store: Store, requester: Requester) -> Deployment:
    """Write the settings that concern the whole deployment to the store; settings that are not given stay unchanged.

    Raises InvalidRotationPolicy, in which case nothing was changed.
    """
    deployment = store.deployment.read()
    max_ttl_seconds = deployment.max_ttl_seconds if settings.max_ttl_seconds is None else settings.max_ttl_seconds
    if max_ttl_seconds < 1:
        raise RowUnreadable(
            f"{deployment.damage}; set it again with: TOKENSVC_MAX_TTL_SECONDS=3600 tokensvc db upgrade"
        )
    propagation_seconds = (
        deployment.key_propagation_seconds
        if settings.key_propagation_seconds is None
        else settings.key_propagation_seconds
    )
    standby = deployment.key_standby if settings.key_standby is None else settings.key_standby
    max_age = deployment.key_max_age_seconds
    if settings.key_max_age_days is not None:
        max_age = settings.key_max_age_days * 86_400 or None
    policy = RotationPolicy(
        propagation_seconds=propagation_seconds,
        max_staleness_seconds=deployment_max_staleness(settings, store),
        max_age_seconds=max_age,
        standby=standby,
    )
    check_policy(policy, max_ttl_seconds)
    if propagation_seconds == 0 and "aws" in (settings.control_plane, deployment.control_plane):
        raise InvalidRotationPolicy(
            "a propagation delay of 0 s is allowed only with the local IVS: workers need up to "
            f"{PROPAGATION_SECONDS:g} s to load a new key, and AWS needs time to distribute it"
        )
    event = requester.event("settings.update")
    store.deployment.set_max_ttl_seconds(max_ttl_seconds, event=event)
    return store.deployment.set_rotation(
        propagation_seconds=propagation_seconds, max_age_seconds=max_age, standby=standby, event=event
    )


def open_deployment(
    settings: Settings, observe: CallObserver | None = None
) -> tuple[AwsControlPlane, Store, SecretCipher]:
    """Open IVS, the store bound to it, and the cipher, for everything that signs or stores keys. Endpoint and vault are
    checked first, so that a store is never bound to a control plane that boto3 would not call."""
    from tokensvc.container.control_plane import make_control_plane

    require(settings, "control_plane", "database_url", *required_kek_settings(settings))
    vault_location(settings)
    control_plane = make_control_plane(settings, observe)
    store = open_configured_store(settings)
    try:
        store.deployment.bind(str(settings.control_plane))
        return control_plane, store, make_cipher(settings, store)
    except BaseException:
        store.close()
        raise
