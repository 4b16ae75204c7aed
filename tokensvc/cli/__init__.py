"""The `tokensvc` command line: one module per command or command group.

Invariants
- A command parses its arguments, calls a use case and prints the result; it contains no rules of its own.
- Exit codes: 0 done or nothing to do (3 for the latter with --detailed-exit-code), 1 failed, 2 wrong usage or settings,
  4 rejected by a rule.
- A command's module is imported when the command is run; `serve` imports none of them.
- A library that only some commands need is loaded inside the functions that need it (tests/cli/test_imports.py).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from tokensvc import log_default
from tokensvc.errors import SettingsError, TokensvcError
from tokensvc.settings_file import CONFIG_VARIABLE

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""
TERMINATED = 143
"""128 + SIGTERM."""


def main() -> None:
    """Run the command line and exit with its code."""
    _open_standard_descriptors()
    _stop_on_sigterm_as_first_process()
    log_default.to_stderr = True
    # pydantic would read the metadata of every installed package for plugins, which nothing here uses.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        match sys.argv[1:]:  # this starts faster, and keeps no command-line module in memory
            case ["serve"]:
                _serve()
            case ["--config", file, "serve"] | ["serve", "--config", file]:
                os.environ[CONFIG_VARIABLE] = file
                _serve()
        from tokensvc.cli.main import app

        app()
    except TokensvcError as failure:
        sys.exit(_print_failure(failure))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _serve() -> NoReturn:
    from tokensvc.supervisor import serve_from_env

    sys.exit(serve_from_env(os.environ))


def _open_standard_descriptors() -> None:
    """Open standard descriptors that were closed at start, and the streams of standard input and output.

    Otherwise a socket or database file could get descriptor 1 or 2 and be written to as standard output or error, and
    commands would have no input or output. Standard error stays without a stream: the log counts lines that go nowhere.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)


def _stop_on_sigterm_as_first_process() -> None:
    """Make SIGTERM end a container's first process, which the kernel protects from signals without a handler.

    What serves installs its own handler, once it has something to finish.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(TERMINATED))


def _print_failure(failure: TokensvcError) -> int:
    """Print why the command failed; returns the exit code."""
    from tokensvc.cli import output
    from tokensvc.cli.error_codes import exit_code
    from tokensvc.cli.remedies import failure_text
    from tokensvc.container.logs import mask_secrets

    message = mask_secrets(failure_text(failure))
    layout = "\n" if isinstance(failure, SettingsError) else ""  # one line per setting
    output.print_error(failure.code, message, "--json" in sys.argv, layout=layout)
    return exit_code(type(failure))
