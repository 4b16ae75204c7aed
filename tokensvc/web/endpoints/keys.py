"""`/v1/keys…`: the key commands for other programs.

Invariants
- A rotation is stored and acknowledged; the rotation leader carries it out. Only the one transaction of a compromise is
  made here, because it must not wait for anyone.
- Keys belong to the whole deployment, so the scope alone decides what a caller may do; channel patterns do not apply.
- A response never repeats the id in the path of a request that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import BaseModel
from starlette.types import Receive, Scope

from tokensvc.deployment.versions import Versions
from tokensvc.deployment.workers import Workers
from tokensvc.errors import KeyNotFound
from tokensvc.http.json_response import json_response
from tokensvc.http.problem_details import Response
from tokensvc.json_models import read_as
from tokensvc.keys.commands import (
    mark_compromised,
    preview_compromise,
    replacement_keys,
    request_rotation,
    select_regions,
)
from tokensvc.keys.context import KeysContext
from tokensvc.keys.lifecycle import KeyRecord
from tokensvc.keys.requests import CompromiseRequest, KeyQuery, RotateKeysRequest
from tokensvc.keys.stale_workers import StaleWorker, find_stale_workers
from tokensvc.keys.views import (
    CompromiseView,
    KeyPage,
    ReferenceTime,
    RotationView,
    compromise_impact_view,
    key_detail_view,
    key_view,
    rotation_view,
    stale_worker_view,
)
from tokensvc.pagination import page_of
from tokensvc.timestamps import rfc3339_of
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext
from tokensvc.web.query_parameters import read_model, reject_parameters
from tokensvc.web.requesters import requester_of

READ, ADMIN = "keys:read", "keys:admin"
REQUEST_MAX_BYTES = 16 * 1024
HISTORY_MAX_ENTRIES = 50


class KeyRoutes:
    """The five key routes. They read and write the store in threads."""

    def __init__(
        self,
        *,
        authenticator: RequestAuthenticator,
        make_context: Callable[[], KeysContext],
        workers: Workers,
        versions: Versions,
        regions: Sequence[str],
    ) -> None:
        self._authenticator = authenticator
        self._make_context = make_context
        """A context whose clock is the store's at that moment; called in a thread."""
        self._workers = workers
        self._versions = versions
        self._regions = regions
        """The configured regions."""

    async def page(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/keys`."""
        await self._authenticator.caller(scope, context, READ)
        query = read_model(scope, KeyQuery)

        def read() -> KeyPage:
            keys_context = self._make_context()
            records, next_token = page_of(keys_context.keys.list(), query, lambda record: record.id)
            at = _reference_time(keys_context)
            return KeyPage(keys=[key_view(record, at) for record in records], next_token=next_token)

        return json_response(await self._authenticator.run_in_thread(read))

    async def show(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/keys/{id}`."""
        await self._authenticator.caller(scope, context, READ)
        reject_parameters(scope)

        def read() -> BaseModel:
            keys_context = self._make_context()
            record, at = _require_key(keys_context, scope), _reference_time(keys_context)
            workers_unable_to_decrypt = [
                worker.heartbeat.worker_id
                for worker in self._workers.list()
                if record.id in worker.heartbeat.undecryptable
            ]
            history = keys_context.journal.history(record.id, HISTORY_MAX_ENTRIES)
            return key_detail_view(record, at, history, self._stale_workers(at), workers_unable_to_decrypt)

        return json_response(await self._authenticator.run_in_thread(read))

    async def rotate(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/keys/rotate`: store a rotation request; the rotation leader starts on it immediately."""
        caller, body = await self._authenticator.caller_and_body(scope, receive, context, ADMIN, REQUEST_MAX_BYTES)
        fields, requester = read_as(RotateKeysRequest, body), requester_of(caller, context)

        def request() -> RotationView:
            keys_context = replace(self._make_context(), requester=requester)
            regions = select_regions(keys_context, fields.regions, self._regions)
            rotation = request_rotation(keys_context, regions, f"caller {caller.name}")
            return rotation_view(rotation, replacement_keys(keys_context.keys.list(), rotation))

        stored = await self._authenticator.run_in_thread(request)
        return json_response(stored, 202, extra_headers=((b"location", f"/v1/keys/rotations/{stored.id}".encode()),))

    async def rotation(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/keys/rotations/{id}`."""
        await self._authenticator.caller(scope, context, READ)
        reject_parameters(scope)

        def read() -> BaseModel:
            keys_context = self._make_context()
            rotation = keys_context.rotation_requests.get(scope["path_params"]["id"])
            return rotation_view(rotation, replacement_keys(keys_context.keys.list(), rotation))

        return json_response(await self._authenticator.run_in_thread(read))

    async def compromise(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/keys/{id}/compromise`: mark the key in one transaction; its pairs are deleted next."""
        caller, body = await self._authenticator.caller_and_body(scope, receive, context, ADMIN, REQUEST_MAX_BYTES)
        fields, requester = read_as(CompromiseRequest, body), requester_of(caller, context)

        def mark() -> BaseModel:
            keys_context = replace(self._make_context(), requester=requester)
            record = _require_key(keys_context, scope)
            impacts = preview_compromise(keys_context, record.id, include_standby=fields.include_standby)
            compromised = mark_compromised(keys_context, record.id, include_standby=fields.include_standby)
            at = _reference_time(keys_context)
            return CompromiseView(
                id=record.id,
                compromised_at=rfc3339_of(compromised.compromised_at or at.now),
                regions=[compromise_impact_view(record, impact) for impact in impacts],
                stale_workers=[stale_worker_view(worker) for worker in self._stale_workers(at)],
            )

        return json_response(await self._authenticator.run_in_thread(mark), 202)

    def _stale_workers(self, at: ReferenceTime) -> list[StaleWorker]:
        return find_stale_workers(self._workers.list(), self._versions.read().keys, at.now)


def _reference_time(keys_context: KeysContext) -> ReferenceTime:
    return ReferenceTime(keys_context.now(), keys_context.policy())


def _require_key(keys_context: KeysContext, scope: Scope) -> KeyRecord:
    key_id = scope["path_params"]["id"]
    record = next((record for record in keys_context.keys.list() if record.id == key_id), None)
    if record is None:
        raise KeyNotFound("there is no key with this id")
    return record
