"""What a program does with the package that openapi-python-client generates. mypy --strict checks it, and it is run."""

from __future__ import annotations

import json
import os

from generated import AuthenticatedClient
from generated.api.revocations import get_revocation, list_revocations, revoke_viewer
from generated.api.tokens import issue_token, issue_token_batch
from generated.models import (
    AcceptedRevocation,
    Problem,
    ProblemCode,
    Revocation,
    RevocationPage,
    RevocationRequest,
    RevocationState,
    TokenBatchRequest,
    TokenBatchResponse,
    TokenRequest,
    TokenResponse,
)

CHANNEL = os.environ["CHANNEL"]

with AuthenticatedClient(base_url=os.environ["TOKENS"], token=os.environ["KEY"]) as client:
    token = issue_token.sync(client=client, body=TokenRequest(channel_arn=CHANNEL, viewer_id="ada", ttl_seconds=60))
    assert isinstance(token, TokenResponse)
    assert isinstance(token.playback_url, str)

    problem = issue_token.sync(client=client, body=TokenRequest(channel_arn=CHANNEL, viewer_id=""))
    assert isinstance(problem, Problem)
    assert problem.code is ProblemCode.INVALID_REQUEST
    assert problem.errors

    requests = [TokenRequest(channel_arn=CHANNEL), TokenRequest(channel_arn="x")]
    batch = issue_token_batch.sync(client=client, body=TokenBatchRequest(requests=requests))
    assert isinstance(batch, TokenBatchResponse)
    results = ["token" if isinstance(each, TokenResponse) else each.problem.code.value for each in batch.results]

    page = list_revocations.sync_detailed(client=client, state=RevocationState.QUEUED, max_results=1)
    assert isinstance(page.parsed, RevocationPage)
    viewer = RevocationRequest(channel_arn=CHANNEL, viewer_id="eve")
    accepted = revoke_viewer.sync(client=client, body=viewer, idempotency_key="generated-client")
    assert isinstance(accepted, AcceptedRevocation)
    revocation = get_revocation.sync(accepted.id, client=client)
    assert isinstance(revocation, Revocation)

print(
    json.dumps(
        {
            "playbackUrl": token.playback_url,
            "code": problem.code.value,
            "field": problem.errors[0].field,
            "results": results,
            "pages": page.status_code,
            "isRevoked": revocation.state is not RevocationState.FAILED,
        }
    )
)
