"""`tokensvc demo`: the service, the local IVS and its edge in one process, with everything needed to try them.

Invariants
- It is the only command that chooses the local control plane by itself.
- It works in any directory that its user may write to, and one demo runs in a directory at a time.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.cli.config_option import reads_no_settings
from tokensvc.cli.help import examples
from tokensvc.cli.media_option import DEFAULT_MEDIA, Media
from tokensvc.cli.output import print_progress
from tokensvc.errors import Conflict, FieldError, SettingsError

FOLDER, KEYS = Path(".demo"), Path("keys")
"""Where the state is, and where the private keys are."""


@reads_no_settings
@examples(
    ("Start the demo on port 8080, with its state in this directory", "tokensvc demo"),
    ("On another port, without IVS's rate limits", "tokensvc demo --port 9000 --no-rate-limits"),
    ("Open its page in the browser once it runs", "tokensvc demo --open"),
    ("With a test picture instead of colour bars; needs tokensvc[media]", "tokensvc demo --media picture"),
)
def demo(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 picks a free one.")
    ] = 8080,
    no_rate_limits: Annotated[bool, typer.Option("--no-rate-limits", help="Do not enforce IVS's rate limits.")] = False,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the demo's page in the browser once it is ready.")
    ] = False,
    media: Media = DEFAULT_MEDIA,
) -> None:
    """Start the service with a local IVS, a live channel, a key and a caller, and print four commands to try.

    Its state is in .demo and keys in the current directory; remove both to start anew.
    """
    started_at = time.monotonic()
    with _single_demo_lock():
        print_progress(f"Starting the demo in {Path.cwd()}; Ctrl-C stops it.")
        from tokensvc.cli.demo_service import run_demo  # loads the whole service
        from tokensvc.supervisor import ignore_signals

        ignore_signals(sighup_stops=True)
        run_demo(port, media, rate_limits=not no_rate_limits, open_browser=open_browser, started_at=started_at)


@contextmanager
def _single_demo_lock() -> Iterator[None]:
    """Allow one demo per folder: two would overwrite each other's caller and files. The lock ends with the process."""
    handle = _open_lock()
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("a demo is already running in this folder; stop it with Ctrl-C in its shell") from None
        yield
    finally:
        os.close(handle)


def _open_lock() -> int:
    """Create the folders that are missing, for their owner only, and open the lock file. Raises SettingsError."""
    try:
        for folder in (FOLDER, KEYS):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)  # git creates `keys` with the umask's mode
        return os.open(FOLDER / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        rule = (
            f"must be one in which you may create {FOLDER} and {KEYS} ({error.filename}: {error.strerror}); "
            "change to an empty directory of yours"
        )
        raise SettingsError([FieldError("the current directory", rule)]) from None
