"""The signers that this machine and build support, fastest first, and why tests of the extension are skipped."""

from __future__ import annotations

import pytest

from tokensvc.errors import SettingsError
from tokensvc.jose.signing.choice import SIGNERS, choose_signer


def _why_not(name: str) -> str:
    try:
        choose_signer(name)
    except SettingsError as lacking:
        return lacking.message
    return ""


WHY_NO_MULTIBUFFER = _why_not("multibuffer")
SIGNERS_HERE = [name for name in SIGNERS if name != "multibuffer" or not WHY_NO_MULTIBUFFER]

needs_multibuffer = pytest.mark.skipif(bool(WHY_NO_MULTIBUFFER), reason=WHY_NO_MULTIBUFFER)
