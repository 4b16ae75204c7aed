"""The `tokensvc` command line: one module per command or command group.

Invariants
- A command parses its arguments, calls a use case and prints the result; it contains no rules of its own.
- Exit codes: 0 done or nothing to do (3 for the latter with --detailed-exit-code), 1 failed, 2 wrong usage or settings,
  4 rejected by a rule.
- A command's module is imported when the command is run; `serve` imports none of them.
"""

from __future__ import annotations

import os
import sys

from tokensvc.container.logs import mask_secrets
from tokensvc.errors import SettingsError, TokensvcError

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def main() -> None:
    """Run the command line and exit with its code."""
    _open_standard_descriptors()
    try:
        if sys.argv[1:] == ["serve"]:  # starts faster, and keeps no command-line module in memory
            from tokensvc.supervisor import serve_from_env

            sys.exit(serve_from_env(os.environ))
        from tokensvc.cli.main import app

        app()
    except TokensvcError as failure:
        sys.exit(_print_failure(failure))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _open_standard_descriptors() -> None:
    """Open standard descriptors that were closed at start.

    Otherwise a socket or database file could get descriptor 1 or 2 and be written to as standard output or error.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one


def _print_failure(failure: TokensvcError) -> int:
    """Print why the command failed; returns the exit code."""
    from tokensvc.cli import output
    from tokensvc.cli.error_codes import exit_code
    from tokensvc.cli.remedies import failure_text

    message = mask_secrets(failure_text(failure))
    layout = "\n" if isinstance(failure, SettingsError) else ""  # one line per setting
    output.print_error(failure.code, message, "--json" in sys.argv, layout=layout)
    return exit_code(type(failure))
