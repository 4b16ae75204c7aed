"""The explanation of a token on the watch page, with what to change, as `POST /v1/tokens/explain` renders it."""

from __future__ import annotations

from typing import Any

from tokensvc.tokens.explain_request import ExplanationView
from tokensvc.tokens.explanation import DeploymentFacts, explain
from tokensvc.tokens.validation import PlaybackAttempt


def explain_attempt(attempt: PlaybackAttempt) -> dict[str, Any]:
    """Every rule in order. The attempt has all that the edge knows, so nothing of a deployment is added."""
    explanation = explain(attempt, DeploymentFacts(), keys=attempt.keys)
    return ExplanationView.of(explanation).model_dump(mode="json")
