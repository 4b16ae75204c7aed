"""A log writer that writes to memory, for tests that read log lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokensvc.container.log_writer import LogWriter


class CapturedLog(LogWriter):
    """Writes to memory, in the test's own thread, when the test reads the text."""

    def __init__(self, **options: Any) -> None:
        self.written = bytearray()
        self.fails_with: list[Exception] = []
        """Exceptions that the next writes raise."""
        self.accepts: list[int] = []
        """The maximum number of bytes of each of the next writes."""
        super().__init__(self._write_bytes, _report, **options)

    def start(self) -> None:
        """Does not start a thread."""

    @property
    def text(self) -> str:
        self.write_queued()
        return self.written.decode()

    def _write_bytes(self, data: memoryview) -> int:
        if self.accepts:
            data = data[: self.accepts.pop(0)]
        elif self.fails_with:
            raise self.fails_with.pop(0)
        self.written += data
        return len(data)


def _report(dropped: Mapping[str, int]) -> str:
    return json.dumps({"event": "log lines dropped", **dropped}) + "\n"
