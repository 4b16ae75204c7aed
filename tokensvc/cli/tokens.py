"""`tokensvc tokens …`: explains why a token is allowed or denied."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tokensvc.aws.arn import AccountRegion, Arn, channel_of_path, parse_arn
from tokensvc.cli.help import Commands, examples
from tokensvc.cli.output import AsJson, format_table, print_result
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.jose import keypair
from tokensvc.local_ivs.edge.errors import token_parameters
from tokensvc.tokens.claims import CHANNEL_ARN
from tokensvc.tokens.validation import Outcome, PlaybackAttempt, RuleStatus, ValidationResult, validate

app = Commands("Inspect playback tokens.")


@app.callback()
def _tokens() -> None:
    pass


@app.command()
@examples(
    (
        "Explain a token, as if it were played from a web page",
        'tokensvc tokens explain "$TOKEN" --channel "$CHANNEL" --origin https://app.example.com',
    ),
    ("Explain a playback URL, which names the channel", 'tokensvc tokens explain "$PLAYBACK_URL"'),
    (
        "Verify the signature with a public key, without a store",
        'tokensvc tokens explain "$TOKEN" --public-key public.pem',
    ),
)
def explain(
    token: Annotated[
        str,
        typer.Argument(metavar="TOKEN", help="The token, or a playback URL that contains it; - reads standard input."),
    ],
    channel: Annotated[
        str | None,
        typer.Option(metavar="ARN", help="ARN of the channel to be played. Default: the channel of the playback URL."),
    ] = None,
    origin: Annotated[
        str | None, typer.Option(metavar="ORIGIN", help='The Origin header of the player\'s request; "" for none.')
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="PEM file of a public key that is imported in the channel's account and region; may be repeated. "
            "Default: the keys in the configured store.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a token against every rule of the IVS edge, without calling IVS.

    Works for any issuer's token and never needs a private key.

    Exits with 4 if a rule denies the token; with 0 also if facts are missing or known only to IVS.
    """
    text, played = _extract_token(sys.stdin.read() if token == "-" else token)  # noqa: S105 - a dash is no password
    keys = [keypair.read_public_pem(path.read_bytes()) for path in public_key] if public_key else None
    attempt = PlaybackAttempt(text, time.time(), _parse_channel(channel) or played, keys, origin)
    validation, signed_by = validate(attempt), None
    if _signature_is_unknown(validation):
        validation, signed_by = _validate_with_own_keys(attempt, validation)
    data = {
        "outcome": validation.outcome.value,
        "deniedBy": validation.denied_by,
        "reason": validation.failed_rule.reason.value if validation.failed_rule else "",
        "unless": validation.unless,
        "message": validation.message,
        "signedBy": signed_by,
        "rules": [
            {"rule": r.rule, "result": r.status.value, "reason": r.reason.value, "message": r.message}
            for r in validation.rule_results
        ],
    }
    rows = [(r.rule, r.status.value.replace("_", " "), r.message) for r in validation.rule_results]
    is_conditional = validation.outcome is Outcome.CONDITIONAL
    summary = validation.message if is_conditional else f"{validation.outcome.value}: {validation.message}"
    print_result(data, as_json, *format_table(("RULE", "RESULT", "DETAIL"), rows), "", summary)
    if validation.outcome is Outcome.DENY:
        raise typer.Exit(4)


def _extract_token(pasted: str) -> tuple[str, Arn | None]:
    """The token, and the channel of the playback URL if one was given. Raises InvalidRequest."""
    url, _, _ = pasted.strip().partition("#")
    path, mark, query = url.partition("?")
    if not mark and "://" not in path:
        return pasted.strip(), None
    tokens = token_parameters(query)
    if len(tokens) > 1:
        raise InvalidRequest([FieldError("TOKEN", f"is a URL with {len(tokens)} token parameters; IVS accepts one")])
    return (tokens[0] if tokens else ""), channel_of_path(urlsplit(path).path)


def _signature_is_unknown(validation: ValidationResult) -> bool:
    """Whether the signature could not be verified because no public key was supplied."""
    return any(r.rule == "signature" and r.status is RuleStatus.UNKNOWN for r in validation.rule_results)


def _validate_with_own_keys(
    attempt: PlaybackAttempt, validation: ValidationResult
) -> tuple[ValidationResult, str | None]:
    """Validate with the keys of the configured store; returns the id of the key that signed the token, too."""
    account_region = _account_region(attempt, validation)
    if account_region is None or not {"TOKENSVC_DATABASE_URL", "TOKENSVC_DATABASE_URL_FILE"} & os.environ.keys():
        return _with_signature_message(validation, _NO_KEYS), None
    from tokensvc.cli.key_lookup import find_signing_key, read_key_records  # loads the store's libraries

    records = read_key_records()
    if records is None:
        return _with_signature_message(validation, _NO_KEYS), None
    match = find_signing_key(attempt, account_region, records)
    if match is None:
        return _with_signature_message(validation, _NOT_OURS), None
    signed_by, region = f"signed by key {match.key_id} of this deployment", account_region.region
    if match.placement is None:
        message = f"{signed_by}, which was never imported in {region} of account {account_region.account}"
        return _with_signature_message(validation, message), match.key_id
    if not match.placement.is_imported:
        message = f"{signed_by}, which is no longer in IVS in {region}"
        return _with_signature_message(validate(attempt._replace(keys=[])), message), match.key_id
    message = f"{signed_by}, {match.placement.state} in {region}"
    return _with_signature_message(validate(attempt._replace(keys=[match.key])), message), match.key_id


_NO_KEYS = "the public keys imported in IVS are unknown here: pass --public-key, or set the deployment's settings"
_NOT_OURS = "not signed by a key of this deployment: pass --public-key for key pairs that others imported"


def _account_region(attempt: PlaybackAttempt, validation: ValidationResult) -> AccountRegion | None:
    """The account and region whose keys apply: those of the channel to be played, else of the channel claimed."""
    if attempt.channel is not None:
        return attempt.channel.account_region
    try:
        return parse_arn(str(validation.claims.get(CHANNEL_ARN)), "channel").account_region
    except ValueError:
        return None


def _with_signature_message(validation: ValidationResult, message: str) -> ValidationResult:
    """The same result with another message for the signature rule."""
    (previous,) = (r.message for r in validation.rule_results if r.rule == "signature")
    results = tuple(r._replace(message=message) if r.rule == "signature" else r for r in validation.rule_results)
    summary = message if validation.message == previous else validation.message
    return validation._replace(rule_results=results, message=summary)


def _parse_channel(text: str | None) -> Arn | None:
    try:
        return parse_arn(text, "channel") if text else None
    except ValueError as rule:
        raise InvalidRequest([FieldError("--channel", str(rule))]) from None
