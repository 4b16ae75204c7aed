"""What signs here, for benchmarks whose lines depend on it.

Rules of the file
- The service is measured as shipped, with the signer that it chooses, and once more with AWS-LC, which is everywhere.
- Targets for the multi-buffer signer hold where it signs; elsewhere those for AWS-LC do.
"""

from __future__ import annotations

from collections.abc import Mapping

from tokensvc.jose.signing.choice import choose_signer

_chosen = choose_signer("auto")
SIGNER = _chosen.signer.name
"""Of the service as shipped, on this machine."""
IS_MULTIBUFFER = SIGNER == "multibuffer"
WITH_AWS_LC: Mapping[str, str] = {"TOKENSVC_SIGNER": "aws-lc"}


def skipped(what: str) -> dict[str, str]:
    """Why lines for the multi-buffer signer are not judged here; nothing where they are."""
    return {} if IS_MULTIBUFFER else {what: _chosen.fallback_reason}
