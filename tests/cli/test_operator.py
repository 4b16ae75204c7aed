"""The operator in audit records is the user of the process, whatever the environment says."""

from __future__ import annotations

import os
import pwd

import pytest

from tokensvc.audit.record import ActorKind
from tokensvc.cli.operator import operator_actor


def test_the_name_is_that_of_the_user_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(variable, "somebody-else")
    actor = operator_actor()
    assert (actor.kind, actor.name) == (ActorKind.OPERATOR, pwd.getpwuid(os.getuid()).pw_name)


def test_a_user_id_without_a_name_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    assert operator_actor().name == "uid:4000000001"
