"""Who runs a command: the user of the operating system, as the audit records name them."""

from __future__ import annotations

import getpass
import os

from tokensvc.audit.record import Actor, ActorKind

_LONGEST = 200
"""Characters of a name that a record holds."""


def operator_actor() -> Actor:
    """The user who runs this process: by login name, or `uid:N` where the system knows no name for the user id.

    The name is what the environment says (`LOGNAME`, `USER`), or else the user database: it tells colleagues apart and
    is no proof against somebody who sets another.
    """
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user: KeyError until Python 3.12, OSError since 3.13
        name = f"uid:{os.getuid()}"
    return Actor(ActorKind.OPERATOR, name[:_LONGEST])
