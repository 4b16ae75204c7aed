"""Chooses the signer: by name, or the fastest one that works here and passes its self-test.

Invariants
- Every signer is tested before it is used: it signs on this machine, and another library verifies the signatures.
- If the configured signer does not work, the start fails. `auto` falls back to the next one and gives the reason.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokensvc.errors import FieldError, SettingsError
from tokensvc.jose import es384, keypair
from tokensvc.jose.signing.signer import NoMetrics, Signer
from tokensvc.log import structlog
from tokensvc.metrics import SigningMetrics

_LACKS_INSTRUCTIONS = "this processor lacks AVX-512 IFMA"
_PROBE = b"tokensvc self-test"
_PROCESSOR = Path("/proc/cpuinfo")
_log = structlog.get_logger(__name__)


class SignerUnsupported(Exception):
    """This machine or this installation does not support the signer. Nothing is broken."""


class SignerChoice(NamedTuple):
    """The chosen signer, and why it is not a faster one; empty if it is the fastest."""

    signer: Signer[Any]
    fallback_reason: str

    def describe(self) -> str:
        """The signer's name and, in parentheses, why it is not a faster one."""
        return f"{self.signer.name} ({self.fallback_reason})" if self.fallback_reason else self.signer.name


SignerLoader = Callable[[SigningMetrics], Signer[Any]]


def _multibuffer(metrics: SigningMetrics) -> Signer[Any]:
    """Raises SignerUnsupported, saying what is missing, or RuntimeError or ValueError for a wrong signature."""
    try:
        from tokensvc.jose.signing import _multibuffer as extension
    except ImportError:
        raise SignerUnsupported(_reason_for_missing_extension()) from None
    from tokensvc.jose.signing.multibuffer import MultiBufferSigner, check_lanes

    if not extension.supported():
        raise SignerUnsupported(_LACKS_INSTRUCTIONS)
    extension.self_test()
    check_lanes(extension)
    return MultiBufferSigner(extension, metrics)


def _aws_lc(_metrics: SigningMetrics) -> Signer[Any]:
    from tokensvc.jose.signing.aws_lc import AwsLcSigner

    return AwsLcSigner()


def _openssl(_metrics: SigningMetrics) -> Signer[Any]:
    from tokensvc.jose.signing.openssl import OpenSslSigner

    return OpenSslSigner()


SIGNERS: Mapping[str, SignerLoader] = {"multibuffer": _multibuffer, "aws-lc": _aws_lc, "openssl": _openssl}
"""By name, fastest first. A library that is not chosen is not imported."""


def choose_signer(
    configured: str, metrics: SigningMetrics | None = None, signers: Mapping[str, SignerLoader] = SIGNERS
) -> SignerChoice:
    """The signer with this name or, for `auto`, the first one that works. Raises SettingsError if none does."""
    reasons: list[str] = []
    for name in signers if configured == "auto" else [configured]:
        try:
            signer = signers[name](metrics or NoMetrics())
            _self_test(signer)
        except SignerUnsupported as unsupported:
            reasons.append(f"{name}: {unsupported}")
        except Exception as error:  # noqa: BLE001 - a native library may raise anything; the next signer is tried
            reasons.append(f"{name}: {error}")
            _log.warning("signer failed its self-test", signer=name, reason=str(error))
        else:
            return SignerChoice(signer, "; ".join(reasons) if configured == "auto" else _reason_for_configured(name))
    raise SettingsError([FieldError("signer", f"no signer can be used ({'; '.join(reasons)})")])


def _reason_for_configured(name: str) -> str:
    return "" if name == next(iter(SIGNERS)) else f"{name} is configured"


def _self_test(signer: Signer[Any]) -> None:
    """Sign one by one and many at once, with two alternating keys. `cryptography` verifies each signature."""
    private_keys = [keypair.generate(), keypair.generate()]
    prepared = [signer.prepare(private_key) for private_key in private_keys]
    messages = [_PROBE + bytes([number]) for number in range(16)]
    requests = [(prepared[number % 2], es384.digest(message)) for number, message in enumerate(messages)]
    signatures = [*signer.sign_many(requests), *(key.sign(digest) for key, digest in requests[:2])]
    for number, (message, signature) in enumerate(zip([*messages, *messages[:2]], signatures, strict=True)):
        if not es384.verify(private_keys[number % 2].public_key(), message, signature):
            raise ValueError("its signature is invalid")
    if problem := signer.problem():
        raise ValueError(problem)


def _reason_for_missing_extension() -> str:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "it supports only x86-64 processors on Linux"
    if " avx512ifma " not in f"{_cpu_flags()} ":
        return _LACKS_INSTRUCTIONS
    return (
        "this processor could sign several times faster, but the C extension is not installed: install a C compiler "
        "and Python's headers, then reinstall tokensvc"
    )


def _cpu_flags() -> str:
    try:
        text = _PROCESSOR.read_text("utf-8", "replace")
    except OSError:
        return ""
    return next((line for line in text.splitlines() if line.startswith("flags")), "")
