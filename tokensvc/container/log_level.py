"""Changes the log's level while a process runs: TOKENSVC_LOG_LEVEL is read again when the process is asked to.

Invariants
- Nothing else of the settings is read: their other files may be pipes, which can be read once only.
- A request never waits. The level is read on a thread, since its file may be on a file system that hangs.
- A level that cannot be read changes nothing, and the log says why. That includes a settings file that is a pipe.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue

from tokensvc.container.logs import LEVELS, set_level
from tokensvc.errors import FieldError, SettingsError
from tokensvc.log import structlog
from tokensvc.settings import read_chosen_settings, variable_name
from tokensvc.settings_file import CONFIG_VARIABLE

LEVEL_VARIABLE = variable_name("log_level")
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
            level = self._read()
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

    def _read(self) -> str:
        environ = dict(self._environ)
        if CONFIG_VARIABLE in environ and not stat.S_ISREG(_mode_of(environ[CONFIG_VARIABLE])):
            del environ[CONFIG_VARIABLE]
            if not {LEVEL_VARIABLE, f"{LEVEL_VARIABLE}_FILE"} & environ.keys():
                rule = f"is not a regular file, so it is not read again; set {LEVEL_VARIABLE}_FILE to change the level"
                raise SettingsError([FieldError(CONFIG_VARIABLE, rule)])
        [level] = read_chosen_settings(environ, "log_level")
        return str(level)

    def _run(self) -> None:
        while True:
            self._requests.get()
            self.reload()


def _mode_of(path: str) -> int:
    """The mode of the file; that of a regular file if it is missing, which its reader reports."""
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return stat.S_IFREG
