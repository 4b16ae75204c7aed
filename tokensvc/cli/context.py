"""How the commands against viewers name them, and what they act with.

Rules of the file
- Whoever runs a command may do everything that the store's settings let them: channel patterns are for callers.
- A refusal names the option, where a request's would name the field.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, NamedTuple

import typer

from tokensvc.callers.policy import ALL_CHANNELS, Caller, CallerPolicy
from tokensvc.container.service import open_revocation_service, open_configured_store
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.revocations.denials import DenialService
from tokensvc.revocations.service import RevocationService
from tokensvc.settings import Settings, read_settings
from tokensvc.storage.store import Store

COMMAND_LINE = "the command line"
"""Who asked, in the lists; no caller can have this name."""
Viewer = Annotated[str | None, typer.Option(help="The viewer, as its tokens name it.")]
Subject = Annotated[str | None, typer.Option(help="The viewer, in your own words, instead of --viewer.")]
Namespace = Annotated[str, typer.Option(help="Of the subject: that of the caller who asks for its tokens.")]
Reason = Annotated[str, typer.Option(help="For whoever reads the list; no personal data.")]

_OPTIONS_BY_FIELD = {
    "channelArn": "--channel",
    "channelArns": "--channel",
    "viewerId": "--viewer",
    "subject": "--subject",
    "issuedBefore": "--issued-before",
    "denySeconds": "--deny",
    "until": "--until",
    "reason": "--reason",
    "state": "--state",
    "maxResults": "--max-results",
    "nextToken": "--next-token",
}
"""By the field of the request. What is not here names an option, an argument or a variable already."""


class AdminContext(NamedTuple):
    """A store to act on, and as whom."""

    settings: Settings
    store: Store
    revocations: RevocationService
    denials: DenialService
    caller: Caller


@contextmanager
def admin_context(namespace: str = "default", **options: str) -> Iterator[AdminContext]:
    """The store that the settings name; refusals name options, `options` those that differ here by field."""
    settings = read_settings(os.environ)
    store = open_configured_store(settings)
    try:
        caller = Caller(COMMAND_LINE, CallerPolicy((ALL_CHANNELS,), namespace=namespace))
        revocations = open_revocation_service(settings, store)
        denials = DenialService(
            store=store.denials,
            subjects=revocations.subjects,
            clock=revocations.clock,
            regions=revocations.regions,
        )
        yield AdminContext(settings, store, revocations, denials, caller)
    except InvalidRequest as refused:
        if not refused.errors:
            raise
        names = _OPTIONS_BY_FIELD | options
        raise InvalidRequest([to_option_error(error, names) for error in refused.errors]) from None
    finally:
        store.close()


def to_option_error(error: FieldError, names: Mapping[str, str] = _OPTIONS_BY_FIELD) -> FieldError:
    """A bad field as the option that gave it; where one option is two fields, neither is the other's alternative."""
    plain = error.field.partition("[")[0]
    option, alternative = names.get(plain, plain), names.get(error.alternative, error.alternative)
    return error._replace(
        field=option,
        alternative="" if alternative == option else alternative,
        excluded_by=names.get(error.excluded_by, error.excluded_by),
    )
