"""`tokensvc tokens explain`: why a token is allowed or denied, rule by rule."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.cli.help import examples
from tokensvc.cli.output import AsJson, format_table, print_result
from tokensvc.cli.tokens.options import named_options
from tokensvc.jose import keypair
from tokensvc.tokens.explain_request import ExplanationView, read_explain_request, read_pasted
from tokensvc.tokens.explanation import Explanation, channel_or_none
from tokensvc.tokens.explanation import explain as explain_attempt
from tokensvc.tokens.validation import Outcome, PlaybackAttempt

_OPTIONS = {
    "token": "TOKEN",
    "channelArn": "--channel",
    "origin": "--origin",
    "country": "--country",
    "at": "--at",
}


@examples(
    (
        "Explain a token, as if it were played from a web page",
        'tokensvc tokens explain "$TOKEN" --channel "$CHANNEL" --origin https://app.example.com',
    ),
    ("Explain a playback URL, which names the channel", 'tokensvc tokens explain "$PLAYBACK_URL"'),
    ("Keep the token out of the shell's history", 'echo "$TOKEN" | tokensvc tokens explain -'),
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
    country: Annotated[
        str | None,
        typer.Option(metavar="CC", help="The viewer's country: two upper-case letters of ISO 3166-1, such as DE."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When playback starts, such as 2026-11-21T10:00:00Z. Default: now."),
    ] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="PEM file of a public key that is imported in the channel's account and region; may be repeated. "
            "Default: the keys in the configured store, which also says whom the deployment denies.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a token against every rule of the IVS edge, without calling IVS.

    Works for any issuer's token and never needs a private key. A single-use token is not spent.

    Exits with 4 if a rule denies the token; with 0 also if facts are missing or known only to IVS.
    """
    from tokensvc.cli.key_lookup import StoreFacts  # loads the store's libraries

    given = {"channelArn": channel, "origin": origin, "country": country, "at": at}
    fields = {name: value for name, value in given.items() if value is not None}
    with named_options(_OPTIONS):
        request = read_explain_request({"token": sys.stdin.read() if token == "-" else token, **fields})  # noqa: S105
        pasted = read_pasted(request.token)
    keys = [keypair.read_public_pem(path.read_bytes()) for path in public_key] if public_key else None
    attempt = PlaybackAttempt(
        token=pasted.token,
        now=time.time() if request.at is None else request.at,
        channel=channel_or_none(request.channel_arn) or pasted.channel,
        origin=request.origin,
    )
    with closing(StoreFacts()) as store:
        facts = store.facts() if keys is None else store.no_facts()
        explanation = explain_attempt(attempt, facts, request.country, keys)
    _print(explanation, as_json)
    if explanation.validation.outcome is Outcome.DENY:
        raise typer.Exit(4)


def _print(explanation: Explanation, as_json: bool) -> None:
    validation = explanation.validation
    rows = [(r.rule, r.status.value.replace("_", " "), r.message) for r in validation.rule_results]
    remedies = [f"{result.rule}: {remedy}" for result, remedy in explanation.rules if remedy]
    is_conditional = validation.outcome is Outcome.CONDITIONAL
    summary = validation.message if is_conditional else f"{validation.outcome.value}: {validation.message}"
    table = format_table(("RULE", "RESULT", "DETAIL"), rows)
    advice = ["", "What to change:", *(f"  {line}" for line in remedies)] if remedies else []
    data = ExplanationView.of(explanation).model_dump(mode="json")
    print_result(data, as_json, *table, *advice, "", summary)
