"""`/v1/keys…`: what the commands on keys do, for other programs.

Rules of the file
- A route stores what is wished and answers; whoever performs does it. Only the first transaction of a compromise is
  done here: it must not wait for anybody.
- Keys belong to the whole deployment, so a scope is what a caller needs; channel patterns say nothing of them.
- What is named in a path is never repeated in an answer that refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope

from tokensvc.deployment.versions import Versions
from tokensvc.deployment.workers import Workers
from tokensvc.errors import FieldError, InvalidRequest, KeyNotFound
from tokensvc.http.json_response import json_response
from tokensvc.http.problem_details import Response
from tokensvc.keys.commands import mark_compromised, preview_compromise, replacement_keys, request_rotation
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
from tokensvc.validation_errors import field_errors
from tokensvc.web.authentication import RequestAuthenticator
from tokensvc.web.context import RequestContext
from tokensvc.web.query_parameters import read_model, reject_parameters

READ, ADMIN = "keys:read", "keys:admin"
REQUEST_MAX_BYTES = 16 * 1024
HISTORY = 50
_Asked = TypeVar("_Asked", bound=BaseModel)


class KeyRoutes:
    """The five routes, and what they ask."""

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
        """The keys_context with the store's clock as it is now; it is asked in a thread."""
        self._workers = workers
        self._versions = versions
        self._regions = regions
        """Those that keys are to be held in."""

    async def page(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/keys`."""
        self._authenticator.caller(scope, context, READ)
        query = read_model(scope, KeyQuery)

        def read() -> KeyPage:
            keys_context = self._make_context()
            records, following = page_of(keys_context.keys.list(), query, lambda record: record.id)
            at = _moment(keys_context)
            return KeyPage(keys=[key_view(record, at) for record in records], next_token=following)

        return json_response(await self._authenticator.run_in_thread(read))

    async def show(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/keys/{id}`."""
        self._authenticator.caller(scope, context, READ)
        reject_parameters(scope)

        def read() -> BaseModel:
            keys_context = self._make_context()
            record, at = _named(keys_context, scope), _moment(keys_context)
            workers_unable_to_decrypt = [
                w.heartbeat.worker_id for w in self._workers.list() if record.id in w.heartbeat.undecryptable
            ]
            history = keys_context.journal.history(record.id, HISTORY)
            return key_detail_view(record, at, history, self._unheard(at), workers_unable_to_decrypt)

        return json_response(await self._authenticator.run_in_thread(read))

    async def rotate(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/keys/rotate`: the wish is kept; whoever performs hears of it at once."""
        caller, body = await self._authenticator.caller_and_body(scope, receive, context, ADMIN, REQUEST_MAX_BYTES)
        ask = _read(RotateKeysRequest, body)

        def request() -> RotationView:
            keys_context = self._make_context()
            wish = request_rotation(keys_context, self._chosen(keys_context, ask.regions), f"caller {caller.name}")
            return rotation_view(wish, replacement_keys(keys_context.keys.list(), wish))

        kept = await self._authenticator.run_in_thread(request)
        return json_response(kept, 202, more=((b"location", f"/v1/keys/rotations/{kept.id}".encode()),))

    async def rotation(self, scope: Scope, _receive: Receive, context: RequestContext) -> Response:
        """`GET /v1/keys/rotations/{id}`."""
        self._authenticator.caller(scope, context, READ)
        reject_parameters(scope)

        def read() -> BaseModel:
            keys_context = self._make_context()
            wish = keys_context.rotations.get(scope["path_params"]["id"])
            return rotation_view(wish, replacement_keys(keys_context.keys.list(), wish))

        return json_response(await self._authenticator.run_in_thread(read))

    async def compromise(self, scope: Scope, receive: Receive, context: RequestContext) -> Response:
        """`POST /v1/keys/{id}/compromise`: the key signs no more when this is answered; its pairs are deleted next."""
        _, body = await self._authenticator.caller_and_body(scope, receive, context, ADMIN, REQUEST_MAX_BYTES)
        ask = _read(CompromiseRequest, body)

        def act() -> BaseModel:
            keys_context = self._make_context()
            record = _named(keys_context, scope)
            foreseen = preview_compromise(keys_context, record.id, include_standby=ask.include_standby)
            after = mark_compromised(keys_context, record.id, include_standby=ask.include_standby)
            at = _moment(keys_context)
            return CompromiseView(
                id=record.id,
                compromised_at=rfc3339_of(after.compromised_at or at.now),
                regions=[compromise_impact_view(record, prospect) for prospect in foreseen],
                stale_workers=[stale_worker_view(u) for u in self._unheard(at)],
            )

        return json_response(await self._authenticator.run_in_thread(act), 202)

    def _chosen(self, keys_context: KeysContext, regions: Sequence[str] | None) -> Sequence[str]:
        """The regions that were asked for, or all. Raises InvalidRequest for one that no keys are held in."""
        held = {there.account_region.region for record in keys_context.keys.list() for there in record.placements}
        known = self._regions or sorted(held)
        errors = [
            FieldError(f"regions[{position}]", f"must be one of {', '.join(known)}")
            for position, region in enumerate(regions or ())
            if region not in known
        ]
        if errors:
            raise InvalidRequest(errors)
        return list(dict.fromkeys(regions or known))

    def _unheard(self, at: ReferenceTime) -> list[StaleWorker]:
        return find_stale_workers(self._workers.list(), self._versions.read().keys, at.now)


def _moment(keys_context: KeysContext) -> ReferenceTime:
    return ReferenceTime(keys_context.now(), keys_context.policy())


def _named(keys_context: KeysContext, scope: Scope) -> KeyRecord:
    key_id = scope["path_params"]["id"]
    record = next((record for record in keys_context.keys.list() if record.id == key_id), None)
    if record is None:
        raise KeyNotFound("there is no such key")
    return record


def _read(model: type[_Asked], fields: dict[str, object]) -> _Asked:
    try:
        return model.model_validate(fields)
    except ValidationError as invalid:
        raise InvalidRequest(field_errors(invalid)) from None
