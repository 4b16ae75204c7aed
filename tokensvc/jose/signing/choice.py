"""Chooses the signer: by name, or the fastest one that works here and passes its self-test.

Invariants
- No signer is used that has not signed a moment ago, on this machine, what another library verified.
- A signer that is named and does not work stops the start; `auto` takes the next one and says why.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tokensvc.errors import FieldError, SettingsError
from tokensvc.jose import es384, keypair
from tokensvc.jose.signing.signer import Signer, NoMetrics
from tokensvc.log import structlog
from tokensvc.metrics import SigningMetrics

_LACKS_INSTRUCTIONS = "this processor lacks AVX-512 IFMA"
_PROBE = b"tokensvc self-test"
_PROCESSOR = Path("/proc/cpuinfo")
_log = structlog.get_logger(__name__)


class SignerUnsupported(Exception):
    """A signer that this machine or this installation lacks something for: nothing is broken."""


class SignerChoice(NamedTuple):
    """The signer, and why a faster one was not taken; "" when it is the fastest there is."""

    signer: Signer[Any]
    fallback_reason: str

    def describe(self) -> str:
        """For people: the signer's name and, in parentheses, why it is not a faster one."""
        return f"{self.signer.name} ({self.fallback_reason})" if self.fallback_reason else self.signer.name


SignerLoader = Callable[[SigningMetrics], Signer[Any]]


def _multibuffer(metrics: SigningMetrics) -> Signer[Any]:
    """Raises CannotSignHere with what is missing; RuntimeError or ValueError for what it signs wrongly."""
    try:
        from tokensvc.jose.signing import _multibuffer as extension
    except ImportError:
        raise SignerUnsupported(_why_no_extension()) from None
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
"""By name, fastest first. Loading is deferred: a library that is not chosen is not imported."""


def choose_signer(wanted: str, metrics: SigningMetrics | None = None, signers: Mapping[str, SignerLoader] = SIGNERS) -> SignerChoice:
    """The signer of that name, or with `auto` the first that works. Raises SettingsError when none does."""
    reasons: list[str] = []
    for name in signers if wanted == "auto" else [wanted]:
        try:
            signer = signers[name](metrics or NoMetrics())
            _self_test(signer)
        except SignerUnsupported as lacking:
            reasons.append(f"{name}: {lacking}")
        except Exception as problem:  # noqa: BLE001 - a native library may fail in any way; the next one is tried
            reasons.append(f"{name}: {problem}")
            _log.warning("signer failed its self-test", signer=name, reason=str(problem))
        else:
            return SignerChoice(signer, "; ".join(reasons) if wanted == "auto" else _as_named(wanted))
    raise SettingsError([FieldError("signer", f"no signer can be used ({'; '.join(reasons)})")])


def _as_named(name: str) -> str:
    return "" if name == next(iter(SIGNERS)) else f"{name} is configured"


def _self_test(signer: Signer[Any]) -> None:
    """One by one and many at once, with two keys in turns: `cryptography` verifies each."""
    private_keys = [keypair.generate(), keypair.generate()]
    prepared = [signer.prepare(private_key) for private_key in private_keys]
    messages = [_PROBE + bytes([number]) for number in range(16)]
    requests = [(prepared[number % 2], es384.digest(message)) for number, message in enumerate(messages)]
    signatures = [*signer.sign_many(requests), *(key.sign(digest) for key, digest in requests[:2])]
    for number, (message, signature) in enumerate(zip([*messages, *messages[:2]], signatures, strict=True)):
        if not es384.verify(private_keys[number % 2].public_key(), message, signature):
            raise ValueError("its signature does not verify")
    if problem := signer.problem():
        raise ValueError(problem)


def _why_no_extension() -> str:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "it is for x86-64 processors on Linux"
    if " avx512ifma " not in f"{_cpu_flags()} ":
        return _LACKS_INSTRUCTIONS
    return (
        "this processor could sign several times faster, but this installation has no C extension: install a C "
        "compiler and Python's headers, then install tokensvc again"
    )


def _cpu_flags() -> str:
    try:
        text = _PROCESSOR.read_text("utf-8", "replace")
    except OSError:
        return ""
    return next((line for line in text.splitlines() if line.startswith("flags")), "")
