"""Who runs a command: the user of the operating system, as the audit records name them."""

from __future__ import annotations

import os
import pwd

from tokensvc.audit.record import Actor, ActorKind

_LONGEST = 200
"""Characters of a name that a record holds."""


def operator_actor() -> Actor:
    """The user who runs this process: by login name, or `uid:N` where the system knows no name for the user id.

    The name is that of the process's user id. `LOGNAME`, `USER` and `SUDO_USER` are not read: anybody can set them.
    """
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid:{os.getuid()}"
    return Actor(ActorKind.OPERATOR, name[:_LONGEST])
