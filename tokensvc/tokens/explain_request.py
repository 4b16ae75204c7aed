"""What is to be explained: the request of `POST /v1/tokens/explain`, which the command line uses too, and the response.

Invariants
- A private key that was pasted into any field is refused before anything else is read of the request: the message
  names the field, and neither it nor a log contains the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote_plus, urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema

from tokensvc.aws.arn import Arn, channel_of_path
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.jose.private_key_text import contains_private_key
from tokensvc.json_models import RequestModel, ViewModel, read_as
from tokensvc.timestamps import unix_seconds
from tokensvc.tokens.explanation import Explanation
from tokensvc.tokens.request import ChannelArn
from tokensvc.tokens.validation import TOKEN_PARAMETER, Outcome, RuleStatus
from tokensvc.validation_errors import shown_name

PRIVATE_KEY_RULE = (
    "contains a private key, which was not read: only the token is needed. A private key that was pasted somewhere "
    "should be replaced"
)


class ExplainRequest(RequestModel):
    """A token, and how it is used."""

    token: str = Field(
        description="The token, or the playback URL that contains it, which names the channel, too. Any issuer's"
    )
    channel_arn: ChannelArn | None = Field(
        None, description="The channel to be played. Default: that of the playback URL, else the one that is claimed"
    )
    origin: str | None = Field(
        None,
        description="The `Origin` header that the player sends; an empty string for a player that sends none. Default: "
        "unknown",
    )
    country: Annotated[str | None, Field(pattern="^[A-Z]{2}$")] = Field(
        None, description="The viewer's country: two upper-case letters (ISO 3166-1 alpha-2). Default: not considered"
    )
    at: Annotated[
        int | None,
        BeforeValidator(lambda value: None if value is None else unix_seconds(value)),
        WithJsonSchema({"type": "string", "format": "date-time"}, mode="validation"),
    ] = Field(None, description="When playback starts. Default: now")


class RuleView(ViewModel):
    """What one rule found."""

    rule: str = Field(description="The rule's name; the rules are in the order in which they are applied")
    result: RuleStatus = Field(description="Whether the token passes the rule")
    reason: str = Field(description="Which mistake it is, for programs; an empty string where the rule's name says it")
    message: str = Field(description="What was found, for people. Never contains the token or a viewer id")
    remedy: str = Field(description="What to change; an empty string where there is nothing to change")


class ExplanationView(ViewModel):
    """Whether a token can start playback, and why."""

    outcome: Outcome = Field(
        description="`conditional`: allowed unless one of `unless` holds, which only IVS knows. `indeterminate`: a "
        "fact is missing, such as the player's origin"
    )
    denied_by: str | None = Field(description="The first rule that failed")
    reason: str = Field(description="The reason of that rule; an empty string where its name says it")
    unless: list[str] = Field(description="With `conditional`: the conditions")
    message: str = Field(description="The outcome in words")
    signed_by: str | None = Field(description="The id of this deployment's key that signed the token")
    rules: list[RuleView] = Field(description="Every rule in order, also those after the first that failed")

    @classmethod
    def of(cls, explanation: Explanation) -> ExplanationView:
        """The view of an explanation."""
        validation = explanation.validation
        return cls(
            outcome=validation.outcome,
            denied_by=validation.denied_by,
            reason=explanation.reason.value,
            unless=list(validation.unless),
            message=validation.message,
            signed_by=explanation.signed_by,
            rules=[
                RuleView(rule=r.rule, result=r.status, reason=r.reason.value, message=r.message, remedy=remedy)
                for r, remedy in explanation.rules
            ],
        )


class Pasted(NamedTuple):
    """A token, and the channel of the playback URL if it was in one."""

    token: str
    channel: Arn | None


def read_explain_request(fields: Mapping[str, Any]) -> ExplainRequest:
    """Read a request from decoded JSON. Raises InvalidRequest naming every bad field, and those with a private key
    alone."""
    refuse_private_keys(fields)
    return read_as(ExplainRequest, fields)


def refuse_private_keys(fields: Mapping[str, Any]) -> None:
    """Raise InvalidRequest naming each field that contains a private key."""
    texts = {name: f'"{name}": {_flattened(value)}' for name, value in fields.items()}
    found = [name for name, text in texts.items() if contains_private_key(text)]
    if not found and contains_private_key(" ".join(texts.values())):  # the members of a JWK
        found = [*fields]
    if found:
        raise InvalidRequest([FieldError(shown_name(name), PRIVATE_KEY_RULE) for name in found])


def _flattened(value: object) -> str:
    """The names and strings of a JSON value, however deep it is."""
    texts, pending = [], [value]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            texts += [f'"{name}":' for name in part]
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return " ".join(texts)


def read_pasted(text: str, field: str = "token") -> Pasted:
    """The token of a pasted token or playback URL. Raises InvalidRequest if a URL has more than one."""
    url, _, _ = text.strip().partition("#")
    path, mark, query = url.partition("?")
    if not mark and "://" not in path:
        return Pasted(text.strip(), None)
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    tokens = [unquote_plus(value) for name, _, value in pairs if unquote_plus(name) == TOKEN_PARAMETER]
    if len(tokens) > 1:
        rule = f"is a URL with {len(tokens)} token parameters; IVS accepts one"
        raise InvalidRequest([FieldError(field, rule)])
    try:
        channel = channel_of_path(urlsplit(path).path)
    except ValueError:  # no valid URL, such as one with half an IPv6 address
        channel = None
    return Pasted(tokens[0] if tokens else "", channel)
