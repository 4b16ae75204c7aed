"""Chooses what signs: by name, or the first that proves itself.

Rules of the file
- The proof is a round trip: one library signs, another verifies. A signer that cannot be imported or whose signature
  does not verify is passed over, with the reason in the log.
"""

from __future__ import annotations

from collections.abc import Callable

from tokensvc.core import es384, keypair
from tokensvc.errors import FieldError, SettingsError
from tokensvc.logger import structlog
from tokensvc.ports.signer import SignerMaker

_PROBE = b"tokensvc self-test"
_log = structlog.get_logger(__name__)


def _aws_lc() -> SignerMaker:
    from tokensvc.adapters.awslc import AwsLcSigner

    return AwsLcSigner


def _openssl() -> SignerMaker:
    from tokensvc.adapters.openssl import OpenSslSigner

    return OpenSslSigner


SIGNERS: dict[str, Callable[[], SignerMaker]] = {"aws-lc": _aws_lc, "openssl": _openssl}
"""By name, fastest first. Loading is deferred: a library that is not chosen is not imported."""


def choose_signer(wanted: str, signers: dict[str, Callable[[], SignerMaker]] = SIGNERS) -> tuple[str, SignerMaker]:
    """The signer of that name, or with `auto` the first that passes. Raises SettingsError when none does."""
    reasons = []
    for name in signers if wanted == "auto" else [wanted]:
        try:
            maker = signers[name]()
            _self_test(maker)
        except Exception as problem:  # noqa: BLE001 - a native library may fail in any way; the next one is tried
            reasons.append(f"{name}: {problem}")
            _log.warning("signer passed over", signer=name, reason=str(problem))
        else:
            return name, maker
    raise SettingsError([FieldError("TOKENSVC_SIGNER", f"no signer passed its self-test ({'; '.join(reasons)})")])


def _self_test(maker: SignerMaker) -> None:
    private_key = keypair.generate()
    signature = maker(private_key).sign(es384.digest(_PROBE))
    if not es384.verify(private_key.public_key(), _PROBE, signature):
        raise ValueError("its signature does not verify")
