"""The interface to the IVS API: one method for all operations and both implementations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class ControlPlane(Protocol):
    """The API of Amazon IVS, or of the local IVS."""

    def call(self, region: str, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation (`ImportPlaybackKeyPair`) once, without retries, and return its modelled response.

        Raises ControlPlaneError. After ControlPlaneUnavailable the operation may or may not have taken effect.
        """
        ...
