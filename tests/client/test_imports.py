"""What a program that uses the client loads: httpx, what httpx itself requires, and nothing of the service."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

_LIST = "import sys; import tokensvc.client; print(*sorted(sys.modules))"


def _modules() -> set[str]:
    done = subprocess.run([sys.executable, "-c", _LIST], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def _required_by(distribution: str) -> set[str]:
    """A distribution and all that it requires, with its extras."""
    found: set[str] = set()
    pending = [distribution]
    while pending:
        name = canonicalize_name(pending.pop())
        if name not in found:
            found.add(name)
            try:
                pending += [Requirement(each).name for each in requires(name) or ()]
            except ModuleNotFoundError:  # an extra that is not installed
                continue
    return found


def test_the_client_loads_httpx_and_no_other_library_of_the_service() -> None:
    names = {module.partition(".")[0] for module in _modules()} - sys.stdlib_module_names - {"tokensvc"}
    distributions = packages_distributions()
    loaded = {canonicalize_name(each) for name in names for each in distributions.get(name, ())}
    assert "httpx" in loaded
    assert loaded <= _required_by("httpx") | {"sniffio", "setuptools", "tokensvc"}


def test_the_client_loads_no_other_module_of_tokensvc() -> None:
    ours = {name for name in _modules() if name.startswith("tokensvc.")}
    assert all(name.startswith("tokensvc.client") for name in ours)
    assert "tokensvc.client.sync_client" in ours
