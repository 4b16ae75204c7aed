"""`tokensvc tokens issue`: what `POST /v1/tokens` does, against a running service or on the store."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from typing import Annotated, Any

import typer

from tokensvc.audit.requester import Requester
from tokensvc.callers.policy import ALL_CHANNELS, Caller, CallerPolicy
from tokensvc.cli.context import COMMAND_LINE, Namespace, Subject, Viewer
from tokensvc.cli.durations import duration_option
from tokensvc.cli.error_codes import FAILED, REJECTED, WRONG_USAGE
from tokensvc.cli.help import examples
from tokensvc.cli.operator import operator_actor
from tokensvc.cli.output import AsJson, print_error, print_progress, print_result
from tokensvc.cli.remedies import field_error_text
from tokensvc.cli.tokens.options import named_options, option_errors
from tokensvc.cli.tokens.remote import RemoteProblem, read_api_key, request_token
from tokensvc.errors import FieldError, InvalidRequest, PlaybackUrlUnavailable
from tokensvc.settings import read_settings
from tokensvc.tokens.request import parse_token_request

_OPTIONS = {
    "channelArn": "--channel",
    "viewerId": "--viewer",
    "subject": "--subject",
    "ttlSeconds": "--ttl",
    "allowedOrigins": "--origin",
    "strictOriginEnforcement": "--strict-origin-enforcement",
    "singleUse": "--single-use",
    "maximumResolution": "--maximum-resolution",
    "ads": "--ads-json",
}


class Output(StrEnum):
    """What is printed."""

    TOKEN = "token"  # noqa: S105 - the name of a choice
    URL = "url"
    JSON = "json"


@examples(
    (
        "Issue a token on the store that the settings name",
        'tokensvc tokens issue --channel "$CHANNEL" --viewer viewer-17',
    ),
    (
        "Print the playback URL, for one web page",
        'tokensvc tokens issue --channel "$CHANNEL" --viewer viewer-17 --origin https://app.example.com --output url',
    ),
    (
        "Request it from a running service, as one of its callers",
        'echo "$KEY" | tokensvc tokens issue --url "$TOKENS" --api-key-file - --channel "$CHANNEL" --viewer viewer-17',
    ),
)
def issue(
    channel: Annotated[str, typer.Option(metavar="ARN", help="ARN of the channel to be played.")],
    viewer: Viewer = None,
    subject: Subject = None,
    ttl: Annotated[
        int | None,
        duration_option(help="How long the token can start playback. Default: 5m, or the limit."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web origin that may play; may be repeated. Default: any origin."),
    ] = None,
    strict_origin_enforcement: Annotated[
        bool, typer.Option("--strict-origin-enforcement", help="Reject every request without an allowed Origin header.")
    ] = False,
    single_use: Annotated[bool, typer.Option("--single-use", help="The token can start playback once.")] = False,
    maximum_resolution: Annotated[
        str | None, typer.Option(metavar="RESOLUTION", help="Highest rendition that is offered: SD, HD or FULL_HD.")
    ] = None,
    ads_json: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='Server-side ad insertion, as in the HTTP API: {"optOut": true}.'),
    ] = None,
    namespace: Namespace = "default",
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="URL of a running service to request the token from. Default: none, the store."
        ),
    ] = None,
    api_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File with the caller's API key; - reads standard input. Only with --url."),
    ] = None,
    output: Annotated[Output, typer.Option(metavar="FORM", help="What to print: token, url or json.")] = Output.TOKEN,
    as_json: AsJson = False,
) -> None:
    """Issue a playback token, as `POST /v1/tokens` does, and print it.

    With --url, a running service issues it for the caller that the API key belongs to, by that caller's policy.
    Without, the command signs it with the active key of the store that the settings name, for every channel of the
    deployment; the deployment's limits and denials apply, and an audit record names you.

    A token is a credential until it expires. Without --viewer or --subject it cannot be revoked.

    Exits with 4 if the token is refused.
    """
    given: dict[str, Any] = {
        "channelArn": channel,
        "viewerId": viewer,
        "subject": subject,
        "ttlSeconds": ttl,
        "allowedOrigins": origin or None,
        "strictOriginEnforcement": strict_origin_enforcement or None,
        "singleUse": single_use or None,
        "maximumResolution": maximum_resolution,
        "ads": _ads(ads_json),
    }
    fields = {name: value for name, value in given.items() if value is not None}
    if (url is None) != (api_key_file is None):
        missing, present = ("--api-key-file", "--url") if api_key_file is None else ("--url", "--api-key-file")
        raise InvalidRequest([FieldError(missing, f"is required with {present}")])
    form = Output.JSON if as_json else output
    if url is not None and api_key_file is not None:
        response = request_token(url, read_api_key(api_key_file), fields)
        if isinstance(response, RemoteProblem):
            _print_problem(response, form is Output.JSON)
            raise typer.Exit(_exit_code(response.status))
    else:
        response = _issued_here(fields, namespace)
    _print_token(response, form)


def _issued_here(fields: dict[str, Any], namespace: str) -> dict[str, Any]:
    from tokensvc.container.command_issuer import issue_token  # loads the store's libraries

    policy = CallerPolicy((ALL_CHANNELS,), allow_anonymous_viewers=True, namespace=namespace)
    with named_options(_OPTIONS):
        request = parse_token_request(fields)
        return issue_token(
            read_settings(os.environ), Caller(COMMAND_LINE, policy), request, Requester(operator_actor())
        )


def _ads(text: str | None) -> object:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest([FieldError("--ads-json", "must be JSON")]) from None
    if not isinstance(value, dict):
        raise InvalidRequest([FieldError("--ads-json", "must be a JSON object")])
    return value


def _print_token(response: dict[str, Any], form: Output) -> None:
    if form is Output.URL and "playbackUrl" not in response:
        raise PlaybackUrlUnavailable("the playback URL of this channel is not known yet; retry")
    shown = response["playbackUrl"] if form is Output.URL else response["token"]
    print_result(response, form is Output.JSON, shown)
    if form is not Output.JSON:
        print_progress(f"Playback can start until {response.get('expiresAt')}.")


def _print_problem(problem: RemoteProblem, as_json: bool) -> None:
    errors = option_errors(problem.errors, _OPTIONS)
    message = "; ".join(map(field_error_text, errors)) or problem.detail
    print_error(problem.code, message if as_json else f"{problem.code}: {message}", as_json)


def _exit_code(status: int) -> int:
    """As for the same error on the store: the request is wrong, refused, or cannot be fulfilled now."""
    if status in (400, 413, 422):
        return WRONG_USAGE
    return REJECTED if status in (401, 403, 404, 409) else FAILED
