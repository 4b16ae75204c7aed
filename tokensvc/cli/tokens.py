"""`tokensvc tokens …`: why a token is refused."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from tokensvc.aws.arn import Arn, AccountRegion, channel_of_path, parse_arn
from tokensvc.cli.output import AsJson, print_result, format_table
from tokensvc.errors import FieldError, InvalidRequest
from tokensvc.jose import keypair
from tokensvc.local_ivs.edge.errors import token_parameters
from tokensvc.tokens.claims import CHANNEL_ARN
from tokensvc.tokens.validation import PlaybackAttempt, Outcome, RuleStatus, ValidationResult, validate

app = typer.Typer(help="Playback tokens.", no_args_is_help=True, add_completion=False)


@app.callback()
def _tokens() -> None:
    pass


@app.command()
def explain(
    token: Annotated[
        str, typer.Argument(help="The token, or a playback URL that has one; - reads it from standard input.")
    ],
    channel: Annotated[
        str | None, typer.Option(help="The channel's ARN that is to be played; without it, the URL's.")
    ] = None,
    origin: Annotated[str | None, typer.Option(help='The Origin header that the player sends; "" for none.')] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="PEM of a public half that IVS holds there; may be repeated. Without it, the keys of the store that "
            "the settings name.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a token by the edge's rules, one by one, without asking IVS. Anybody's token; never needs a private key.

    Exits with 0 when it would be admitted, also when that depends on what only IVS knows or on what was not supplied;
    with 4 when a rule refuses it.
    """
    text, played = _extract_token(sys.stdin.read() if token == "-" else token)  # noqa: S105 - a dash is no password
    keys = [keypair.read_public_pem(path.read_bytes()) for path in public_key] if public_key else None
    attempt = PlaybackAttempt(text, time.time(), _parse_channel(channel) or played, keys, origin)
    verdict, signed_by = validate(attempt), None
    if _signature_is_unknown(verdict):
        verdict, signed_by = _validate_with_own_keys(attempt, verdict)
    data = {
        "outcome": verdict.outcome.value,
        "deniedBy": verdict.denied_by,
        "reason": verdict.failed_rule.reason.value if verdict.failed_rule else "",
        "unless": verdict.unless,
        "message": verdict.message,
        "signedBy": signed_by,
        "rules": [
            {"rule": f.rule, "result": f.result.value, "reason": f.reason.value, "message": f.message}
            for f in verdict.rule_results
        ],
    }
    rows = [(f.rule, f.result.value.replace("_", " "), f.message) for f in verdict.rule_results]
    is_conditional = verdict.outcome is Outcome.CONDITIONAL
    words = verdict.message if is_conditional else f"{verdict.outcome.value}: {verdict.message}"
    print_result(data, as_json, *format_table(("RULE", "RESULT", "FOUND"), rows), "", words)
    if verdict.outcome is Outcome.DENY:
        raise typer.Exit(4)


def _extract_token(pasted: str) -> tuple[str, Arn | None]:
    """The token, and the channel that is played when a playback URL was given. Raises InvalidRequest."""
    url, _, _ = pasted.strip().partition("#")
    path, mark, query = url.partition("?")
    if not mark and "://" not in path:
        return pasted.strip(), None
    tokens = token_parameters(query)
    if len(tokens) > 1:
        raise InvalidRequest([FieldError("TOKEN", f"is a URL with {len(tokens)} token parameters; IVS takes one")])
    return (tokens[0] if tokens else ""), channel_of_path(urlsplit(path).path)


def _signature_is_unknown(verdict: ValidationResult) -> bool:
    """Whether the signature could not be verified for want of a public key."""
    return any(f.rule == "signature" and f.result is RuleStatus.UNKNOWN for f in verdict.rule_results)


def _validate_with_own_keys(attempt: PlaybackAttempt, verdict: ValidationResult) -> tuple[ValidationResult, str | None]:
    """The verdict with the keys of the store that the settings name, and the id of the key that signed the token."""
    place = _account_region(attempt, verdict)
    if place is None or not {"TOKENSVC_DATABASE_URL", "TOKENSVC_DATABASE_URL_FILE"} & os.environ.keys():
        return _with_signature_message(verdict, _NO_KEYS), None
    from tokensvc.cli.key_lookup import find_signing_key, read_key_records  # loads the store's libraries

    records = read_key_records()
    if records is None:
        return _with_signature_message(verdict, _NO_KEYS), None
    signer = find_signing_key(attempt, place, records)
    if signer is None:
        return _with_signature_message(verdict, _NOT_OURS), None
    made_by = f"made by key {signer.key_id} of this deployment"
    if signer.placement is None:
        message = f"{made_by}, which it has not imported into {place.region} of account {place.account}"
        return _with_signature_message(verdict, message), signer.key_id
    if not signer.placement.is_imported:
        message = f"{made_by}, which IVS no longer holds in {place.region}"
        return _with_signature_message(validate(attempt._replace(keys=[])), message), signer.key_id
    message = f"{made_by}, {signer.placement.state} in {place.region}"
    return _with_signature_message(validate(attempt._replace(keys=[signer.key])), message), signer.key_id


_NO_KEYS = "the public halves that IVS holds there are not known here; give --public-key, or the deployment's settings"
_NOT_OURS = "no key of this deployment made this signature; give --public-key for key pairs that others imported"


def _account_region(attempt: PlaybackAttempt, verdict: ValidationResult) -> AccountRegion | None:
    """The account and region whose keys count: those of the channel that is played, else of the one that is claimed."""
    if attempt.channel is not None:
        return attempt.channel.account_region
    try:
        return parse_arn(str(verdict.claims.get(CHANNEL_ARN)), "channel").account_region
    except ValueError:
        return None


def _with_signature_message(verdict: ValidationResult, message: str) -> ValidationResult:
    """The same verdict, saying more of the signature."""
    (before,) = (f.message for f in verdict.rule_results if f.rule == "signature")
    findings = tuple(f._replace(message=message) if f.rule == "signature" else f for f in verdict.rule_results)
    return verdict._replace(rule_results=findings, message=message if verdict.message == before else verdict.message)


def _parse_channel(text: str | None) -> Arn | None:
    try:
        return parse_arn(text, "channel") if text else None
    except ValueError as rule:
        raise InvalidRequest([FieldError("--channel", str(rule))]) from None
