"""structlog, loaded without rich. Whoever logs takes it from here, so that nothing loads it another way.

Rules of the file
- Where rich is installed, structlog loads it for tracebacks in colours. No line of ours has any, and each worker would
  pay for it at its start.
- What is None in `sys.modules` cannot be imported (The Python Language Reference, 5.3.1). rich is hidden only while
  structlog is loaded: the commands use it.
"""

from __future__ import annotations

import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_rich = _modules.get("rich")
_modules["rich"] = None
try:
    import structlog
finally:
    _modules["rich"] = _rich
    if _rich is None:
        del _modules["rich"]

__all__ = ["structlog"]
