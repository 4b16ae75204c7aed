"""The service that is measured with everything on has everything on, and its requests succeed."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import jwt
import pytest

from benchmarks.http import TOKEN_REQUEST
from benchmarks.strict_deployment import strict_policy, strict_service
from tokensvc.tokens.claims import MAXIMUM_RESOLUTION

pytestmark = pytest.mark.slow


def test_its_policy_has_claim_rules_limits_and_records() -> None:
    policy = strict_policy(audit_tokens=True)
    assert policy.has_claim_rules
    assert policy.audit_tokens
    assert None not in (policy.limits.caller, policy.limits.viewer, policy.limits.channel)


def test_the_measured_request_gets_a_token_with_the_forced_claim(tmp_path: Path) -> None:
    with strict_service(tmp_path, audit_tokens=True) as running:
        request = urllib.request.Request(
            f"{running.url}/v1/tokens",
            json.dumps(TOKEN_REQUEST).encode(),
            {"authorization": f"Bearer {running.api_key}"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            token = json.load(response)["token"]
    assert jwt.decode(token, options={"verify_signature": False})[MAXIMUM_RESOLUTION] == "HD"
