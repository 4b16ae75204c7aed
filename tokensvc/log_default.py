"""Where log lines go in a process that does not configure the log, such as that of a command.

A library leaves that to its application: structlog's own default is standard output. The standard output of a command
is its result. This is a module of its own because most commands need no log, and loading structlog takes long.
"""

from __future__ import annotations

to_stderr = False
"""Set it before `tokensvc.log` is imported."""
