"""The signer on this machine, for benchmarks whose targets depend on it.

Invariants
- The service is measured as shipped, with the signer that it chooses, and again with AWS-LC, which runs everywhere.
- Targets for the multi-buffer signer apply where it is used, elsewhere those for AWS-LC.
"""

from __future__ import annotations

from collections.abc import Mapping

from tokensvc.jose.signing.choice import choose_signer

_chosen = choose_signer("auto")
SIGNER = _chosen.signer.name
"""The name of the signer that the service chooses on this machine."""
IS_MULTIBUFFER = SIGNER == "multibuffer"
WITH_AWS_LC: Mapping[str, str] = {"TOKENSVC_SIGNER": "aws-lc"}


def skipped(label: str) -> dict[str, str]:
    """Why the targets for the multi-buffer signer do not apply here; empty where they do."""
    return {} if IS_MULTIBUFFER else {label: _chosen.fallback_reason}
