"""Changes the log's level while a process runs: TOKENSVC_LOG_LEVEL is read again when the process is asked to.

Invariants
- Nothing else of the settings is read: their other files may be pipes, which can be read once only.
- A request never waits. The level is read on a thread, since its file may be on a file system that hangs.
- A level that cannot be read changes nothing, and the log says why.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue

from tokensvc.container.logs import LEVELS, set_level
from tokensvc.errors import SettingsError
from tokensvc.log import structlog
from tokensvc.settings import read_setting

_log = structlog.get_logger(__name__)


class LogLevelReloader:
    """Reads the level again on request, on a thread of its own."""

    def __init__(
        self,
        level: str,
        environ: Mapping[str, str] = os.environ,
        on_read: Callable[[str], None] = lambda _level: None,
    ) -> None:
        """`level` is the present one. `on_read` is called with each level that was read, also with an equal one."""
        self.level = level
        self._environ = environ
        self._on_read = on_read
        self._requests: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=self._run, name="log-level", daemon=True).start()

    def request(self) -> None:
        """Read the level soon. Returns immediately; a signal handler may call it."""
        self._requests.put(None)

    def reload(self) -> None:
        """Read the level now, and apply it."""
        try:
            level = str(read_setting(self._environ, "log_level"))
        except SettingsError as invalid:
            _log.error("log level not changed", error=invalid.operator_message)
            return
        previous, self.level = self.level, level
        is_more = LEVELS.index(level) < LEVELS.index(previous)
        if is_more:
            set_level(level)
        _log.info("log level read", log_level=level, previous=previous)
        if not is_more:  # the line above is still written under the previous level
            set_level(level)
        self._on_read(level)

    def _run(self) -> None:
        while True:
            self._requests.get()
            self.reload()
