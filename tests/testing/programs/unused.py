"""Tests that use nothing of the plugin, which is there nevertheless."""

from __future__ import annotations

import sys
import threading

import pytest


def test_nothing_is_loaded_or_started_unless_a_fixture_is_used(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.hasplugin("tokensvc"), "it is loaded by its entry point"
    assert {name for name in sys.modules if name.split(".")[0] in ("tokensvc", "boto3", "starlette", "uvicorn")} == {
        "tokensvc",
        "tokensvc.testing",
        "tokensvc.testing.plugin",
    }
    assert threading.active_count() == 1
