"""`tokensvc tokens …`: why a token is refused."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.cli.screen import AsJson, result, table
from tokensvc.core import keypair
from tokensvc.core.arn import Arn, parse_arn
from tokensvc.core.playback import judge
from tokensvc.core.verdict import Attempt, Outcome
from tokensvc.errors import FieldError, InvalidRequest

app = typer.Typer(help="Playback tokens.", no_args_is_help=True)


@app.callback()
def _tokens() -> None:
    pass


@app.command()
def explain(
    token: Annotated[str, typer.Argument(help="The token; - reads it from standard input.")],
    channel: Annotated[str | None, typer.Option(help="The channel's ARN that is to be played.")] = None,
    origin: Annotated[str | None, typer.Option(help='The Origin header that the player sends; "" for none.')] = None,
    public_key: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="PEM of a public half that IVS holds there; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge a token by the edge's rules, one by one, offline. Whoever signed it; never needs a private key.

    Leaves with 0 when it would be admitted or only IVS can tell, 4 when a rule refuses it.
    """
    text = sys.stdin.read().strip() if token == "-" else token.strip()  # noqa: S105 - a dash is no password
    keys = [keypair.read_public_pem(path.read_bytes()) for path in public_key] if public_key else None
    verdict = judge(Attempt(text, time.time(), _channel(channel), keys, origin))
    data = {
        "outcome": verdict.outcome.value,
        "refusedBy": verdict.refused_by,
        "message": verdict.message,
        "rules": [{"rule": f.rule, "result": f.result.value, "message": f.message} for f in verdict.findings],
    }
    rows = [(f.rule, f.result.value.replace("_", " "), f.message) for f in verdict.findings]
    words = f"{verdict.outcome.value}: {verdict.message}"
    result(data, as_json, *table(("RULE", "RESULT", "FOUND"), rows), "", words)
    if verdict.outcome is Outcome.REFUSED:
        raise typer.Exit(4)


def _channel(text: str | None) -> Arn | None:
    try:
        return parse_arn(text, "channel") if text else None
    except ValueError as rule:
        raise InvalidRequest([FieldError("--channel", str(rule))]) from None
