"""What `denials` and `revocations` share: the options that name a viewer, and the services they call.

Invariants
- An administrator on the command line may act on every channel: channel patterns restrict callers only.
- An error names the option, where the error of an HTTP request would name the field.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, NamedTuple

import typer

from tokensvc.audit.requester import Requester
from tokensvc.callers.policy import ALL_CHANNELS, Caller, CallerPolicy
from tokensvc.cli.operator import operator_actor
from tokensvc.container.revocations import open_revocation_service
from tokensvc.container.store import open_configured_store
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.revocations.denials import DenialService
from tokensvc.revocations.service import RevocationService
from tokensvc.settings import Settings, read_settings
from tokensvc.storage.store import Store

COMMAND_LINE = "the command line"
"""The caller shown in lists; no real caller can have this name, since it contains spaces."""
Viewer = Annotated[str | None, typer.Option(metavar="ID", help="The viewer id, as in its tokens.")]
Subject = Annotated[
    str | None,
    typer.Option(
        metavar="SUBJECT", help="The viewer's id in your own system; tokensvc derives the viewer id. Not with --viewer."
    ),
]
Namespace = Annotated[
    str,
    typer.Option(metavar="NAME", help="Namespace of --subject: that of the caller that requests the viewer's tokens."),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Note shown in lists. Do not include personal data.")]

_OPTIONS_BY_FIELD = {
    "channelArn": "--channel",
    "channelArns": "--channel",
    "viewerId": "--viewer",
    "subject": "--subject",
    "issuedBefore": "--issued-before",
    "denySeconds": "--deny-for",
    "until": "--until",
    "reason": "--reason",
    "state": "--state",
    "maxResults": "--max-results",
    "nextToken": "--next-token",
}
"""Option by request field. A field that is not listed is already the name of an option, argument or variable."""


class AdminContext(NamedTuple):
    """The store, the services on it, and the caller on whose behalf they act."""

    settings: Settings
    store: Store
    revocations: RevocationService
    denials: DenialService
    caller: Caller
    requester: Requester


@contextmanager
def admin_context(namespace: str = "default", **options: str) -> Iterator[AdminContext]:
    """Open the store that the settings name.

    An InvalidRequest raised inside names options instead of fields; `options` overrides the option of a field.
    """
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
            digest_viewer=revocations.digest_viewer,
        )
        yield AdminContext(settings, store, revocations, denials, caller, Requester(operator_actor()))
    except InvalidRequest as invalid:
        if not invalid.errors:
            raise
        names = _OPTIONS_BY_FIELD | options
        raise InvalidRequest([to_option_error(error, names) for error in invalid.errors]) from None
    finally:
        store.close()


def to_option_error(error: FieldError, names: Mapping[str, str] = _OPTIONS_BY_FIELD) -> FieldError:
    """The same error for the option that set the field. Where one option sets two fields, neither is an alternative."""
    plain = error.field.partition("[")[0]
    option, alternative = names.get(plain, plain), names.get(error.alternative, error.alternative)
    return error._replace(
        field=option,
        alternative="" if alternative == option else alternative,
        excluded_by=names.get(error.excluded_by, error.excluded_by),
    )
