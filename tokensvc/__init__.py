"""tokensvc: playback-authorization tokens for Amazon IVS private channels.

The map: one folder is one subject. A room may import from the rooms to its left, never from those to its right, and
rooms between the same arrows do not import each other unless they are joined by a comma (tests/test_architecture.py
holds this).

    errors, validation_errors, printable, json_models, secret_files, clock, timestamps, log, metrics, problems,
           pagination, outages, runner
           <- aws.arn, aws.control_plane <- jose <- json_objects <- callers <- deployment <- vault <- tokens <- keys <-
           revocations <- background <- diagnostics <- http <- storage | aws.ivs, aws.kms | web | local_ivs <- settings
           <- container <- supervisor <- cli, __main__

    __init__.py   the version and this map
    __main__.py   `python -m tokensvc`
    errors.py     every exception, drawn as a tree
    validation_errors.py   which field of a request is wrong, and why
    printable.py  text of others, made safe to print on one line
    json_models.py   the base classes of models that are read from JSON or rendered as JSON
    secret_files.py  files that hold a secret: read only if nobody else can read them
    clock.py      the clocks of a machine and of the store
    timestamps.py RFC 3339 timestamps
    log.py        structlog
    metrics.py    what is measured, as a protocol
    problems.py   what operators should know of, as codes and parameters
    pagination.py lists in pages: their parameters and their page tokens
    outages.py    one log line when something fails, and one when it works again
    runner.py     background tasks: jitter, back-off, waking
    aws/          ARNs, the control plane and its implementation by boto3, KMS
    jose/         keys, PEM, JWK, JWS with ES384, strict JSON
    jose/signing/ the signers, and the choice of one
    json_objects.py  JSON objects from outside: request bodies, batches, lines of files
    callers/      who may ask for tokens, and for which
    deployment/   what all processes of one store share: its record, leases, versions, workers
    vault/        key-encryption keys, sealed secrets, and where they rest
    tokens/       requests, claims, limits, the keyring, playback validation; issuer.py is THE HOT PATH
    keys/         the lifecycle of signing keys: rotation, import, compromise, retirement
    revocations/  revocations and denials: model, use cases, delivery to IVS
    background/   what a worker does by itself: refresh, heartbeat, pruning
    diagnostics/  the status of the deployment, and problems in words
    http/         what every HTTP interface of ours shares
    storage/      the store, in SQLite or PostgreSQL: one file a subject
    storage/migrations/
    storage/migrations/versions/
                  its schema, one revision per file
    web/          the service over HTTP
    web/endpoints/   its routes, one file a subject
    local_ivs/    the local IVS: the whole API, driven by botocore's model
    local_ivs/resources/
                  channels, stream keys and the other resources: a row and its rules in one file
    local_ivs/streams/
                  live streams, their sessions and events
    local_ivs/edge/  the playback edge, which enforces the tokens
    local_ivs/http/  all of it over HTTP
    settings.py   the environment -> Settings
    container/    Settings -> the service, its background tasks and its metrics
    supervisor.py the worker processes of `tokensvc serve`
    cli/          the `tokensvc` command, one file a noun
    cli/keys/     its commands for keys, one task per file
    cli/checks/   the checks of `tokensvc doctor`
"""

__version__ = "0.1.0"
