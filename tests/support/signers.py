"""The signers that this machine and build support, fastest first, and why tests of the extension are skipped."""

from __future__ import annotations

import pytest

from tokensvc.errors import SettingsError
from tokensvc.jose.signing.choice import SIGNERS, choose_signer


def _unavailable_reason(name: str) -> str:
    try:
        choose_signer(name)
    except SettingsError as error:
        return error.message
    return ""


MULTIBUFFER_UNAVAILABLE_REASON = _unavailable_reason("multibuffer")
AVAILABLE_SIGNERS = [name for name in SIGNERS if name != "multibuffer" or not MULTIBUFFER_UNAVAILABLE_REASON]

needs_multibuffer = pytest.mark.skipif(bool(MULTIBUFFER_UNAVAILABLE_REASON), reason=MULTIBUFFER_UNAVAILABLE_REASON)
