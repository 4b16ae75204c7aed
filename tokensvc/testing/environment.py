"""AWS's environment variables for the time of a block.

Invariants
- Exactly the variables that the block changes are restored, to the values that they had before it.
- boto3's default session, which keeps the credentials of its first client, is another one inside the block: an app that
  calls `boto3.client("ivs")` in two tests gets the account of each.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN")
"""Variables with which boto3 would not use the ones that are set here."""
_NO_PROXY = ("NO_PROXY", "no_proxy")


@contextmanager
def aws_environment(endpoint_url: str, region: str, access_key_id: str, secret_access_key: str) -> Iterator[None]:
    """Inside the block, boto3 and every other AWS client of this process and its children use this IVS endpoint."""
    variables = {
        "AWS_ENDPOINT_URL_IVS": endpoint_url,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",  # set, because a profile may say otherwise
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
    }
    before = {name: os.environ.get(name) for name in (*variables, *_UNSET, *_NO_PROXY)}
    session_before = getattr(sys.modules.get("boto3"), "DEFAULT_SESSION", None)
    _set(dict.fromkeys(_UNSET) | variables | {name: _with_loopback(before[name]) for name in _NO_PROXY})
    _set_default_session(None)
    try:
        yield
    finally:
        _set(before)
        _set_default_session(session_before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _with_loopback(hosts: str | None) -> str:
    """A list of hosts that are reached without a proxy, and loopback."""
    return f"{hosts},127.0.0.1" if hosts else "127.0.0.1"


def _set_default_session(session: object) -> None:
    """Set boto3's default session, if boto3 is loaded: an app may load it inside the block."""
    boto3 = sys.modules.get("boto3")
    if boto3 is not None:
        vars(boto3)["DEFAULT_SESSION"] = session
