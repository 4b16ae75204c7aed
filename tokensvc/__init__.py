"""tokensvc: playback-authorization tokens for Amazon IVS private channels.

The map. A room may import from the rooms to its left, never from those to its right; `web` and `adapters` never
import each other (tests/test_architecture.py holds this).

    errors, json_models <- core <- json_objects, pagination <- ports
           <- admit, issue, wrap, subjects, rotate, rewrap, revoke, revocations, keys, ivs <- logger, edge, loops
           <- diagnostics <- web | adapters <- settings <- vaulting, performing, duties, wiring
           <- app, serving, cli, __main__

    __init__.py   the version and this map
    __main__.py   `python -m tokensvc`
    errors/       the tree of failures
    json_models.py   the base classes of models read from JSON or rendered as JSON
    core/         the law: ARNs, claims, ES384, key pairs, the ring, policy, the rules of playback. Pure
    json_objects.py  JSON objects from outside: request bodies, batches, lines of files
    pagination.py lists in pages: their parameters and their page tokens
    ports/        the seams: one Protocol per file
    admit.py      caller + ask -> a grant, or a typed refusal
    issue.py      ask + grant + snapshots + now -> token. THE HOT PATH
    wrap.py       secrets under their wrapping keys: wrapped by the current one, opened by the one they name
    subjects.py   a subject -> every viewer id that it was ever given
    rotate/       the lifecycle of a key, performed step by step
    rewrap.py     every secret moved to the current wrapping key
    revoke.py     revocations: accepted durably, then told to IVS at the pace it allows
    revocations/  revocations and denials: requests, use cases, views
    keys/         keys: requests and views
    ivs/          the IVS API as data, and the local IVS on top of it
    edge/         the local playback edge
    logger.py     structlog, without what it would load for nothing
    loops/        background duties
    diagnostics/  the status of the deployment, and problems in words
    web/          HTTP: decode -> use case -> encode. The only async code
    web/local/    the local IVS over HTTP: its API, its edge, its management
    adapters/     one technology per file: boto3, KMS, key files, logs, metrics
    adapters/signing/
                  the ES384 signers, and the choice of one
    adapters/sql/ the store, in SQLite or PostgreSQL
    adapters/sql/migrations/
    adapters/sql/migrations/versions/
                  its schema, one revision per file
    settings.py   what the environment may say
    vaulting.py   settings -> wrapping keys and vault
    performing.py the performer of the lifecycle, put together
    duties.py     what goes on by itself, put together
    wiring.py     assemble(settings) -> Service
    app.py        Service -> the ASGI application
    serving.py    the worker processes of `tokensvc serve`
    cli/          the `tokensvc` command
    cli/keys/     its commands for keys, one task per file
"""

__version__ = "0.1.0"
