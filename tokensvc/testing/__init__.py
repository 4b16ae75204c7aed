"""The local IVS as a test double: a pytest plugin (`plugin.py`), and `LocalIVS` for other test runners.

    with LocalIVS() as ivs, ivs.new_account() as account:
        channel = account.create_channel()

Invariants
- Importing this package loads no server and no AWS library: pytest imports the plugin for every test run in an
  environment where tokensvc is installed. `LocalIVS` loads them when it is first used.
- Everything is in this process, on loopback and in memory. Only a block that says so changes the environment, and it
  restores it.

docs/how-to/test-with-local-ivs.md shows how to use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokensvc.testing.local_ivs import LocalIVS

__all__ = ["LocalIVS"]


def __getattr__(name: str) -> object:
    if name == "LocalIVS":
        from tokensvc.testing.local_ivs import LocalIVS

        return LocalIVS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
