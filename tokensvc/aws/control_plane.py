"""The narrow waist to IVS: one method, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class ControlPlane(Protocol):
    """Amazon IVS's API, or the local IVS behind the same wire."""

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Make one attempt at an operation (`ImportPlaybackKeyPair`) and return its modelled answer.

        Raises a ControlPlaneError; `ControlPlaneUnavailable` means that the effect may or may not have happened.
        """
        ...
