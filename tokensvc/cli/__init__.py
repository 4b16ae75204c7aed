"""The `tokensvc` command: one file a noun.

Rules of the room
- A command parses, calls a use case and prints; it decides nothing itself.
- Exit codes: 0 done or nothing to do (3 for that, where asked for), 1 failed, 2 wrong use or settings, 4 refused by a
  rule.
- A noun's file is loaded when the noun is asked for; `serve` loads none.
"""

from __future__ import annotations

import os
import sys

from tokensvc.container.logs import mask_secrets
from tokensvc.errors import Conflict, InvalidRequest, NotAllowed, SettingsError, TokensvcError

INTERRUPTED = 130
"""As shells have it."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    _open_standard_descriptors()
    try:
        if sys.argv[1:] == ["serve"]:  # what serves starts at once, and holds nothing of the command line
            from tokensvc.supervisor import serve_from_env

            sys.exit(serve_from_env(os.environ))
        from tokensvc.cli.main import app

        app()
    except TokensvcError as failure:
        sys.exit(_refuse(failure))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _open_standard_descriptors() -> None:
    """Open what was closed before the start, so that no socket or database gets a descriptor that is written to as
    standard output or error."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free is this one


def _refuse(failure: TokensvcError) -> int:
    from tokensvc.cli import output
    from tokensvc.cli.remedies import failure_text

    message = mask_secrets(failure_text(failure))
    keep = "\n" if isinstance(failure, SettingsError) else ""  # a line for each setting
    output.print_error(failure.code, message, "--json" in sys.argv, keep=keep)
    if isinstance(failure, SettingsError | InvalidRequest):
        return 2
    return 4 if isinstance(failure, Conflict | NotAllowed) else 1
