"""tokensvc: playback-authorization tokens for Amazon IVS private channels.

One folder is one subject. A package may import from packages to its left, never from those to its right. Packages
between the same arrows may import each other if a comma separates them, and may not if a bar does
(tests/test_architecture.py checks this).

    errors, commit, validation_errors, origins, printable, json_models, secret_files, clock, timestamps, log,
           log_default, metrics, problems, pagination, outages, toml_positions, runner
           <- aws.arn, aws.control_plane <- jose <- json_objects <- audit <- callers <- deployment <- vault <- tokens
           <- keys <- revocations <- background <- diagnostics <- http <- storage | aws.ivs, aws.kms | web | local_ivs
           <- settings_file <- settings <- container <- supervisor <- cli, __main__ | client
           <- testing

    __init__.py   the version and this map
    __main__.py   `python -m tokensvc`
    commit.py     the commit that this was built from
    errors.py     every exception, drawn as a tree
    validation_errors.py   pydantic's validation errors as field names and rules
    origins.py    web origins: `scheme://host:port`, and patterns for them
    printable.py  text from outside, escaped for display
    json_models.py   base classes of the models that are parsed from JSON or rendered as JSON
    secret_files.py  which files may hold a secret
    clock.py      the clocks of the machine and of the store
    timestamps.py RFC 3339 timestamps
    log.py        structlog
    log_default.py  where log lines go in commands
    metrics.py    the metrics, as a protocol
    problems.py   problems that operators should know of, as codes with parameters
    pagination.py lists in pages: query parameters and page tokens
    outages.py    when a lasting failure is logged
    toml_positions.py   the line of a value in a TOML file
    runner.py     background tasks: interval, jitter, back-off, waking
    aws/          ARNs, the control plane and its implementation with boto3, AWS KMS
    jose/         key pairs, PEM, JWK, JWS with ES384, strict JSON
    jose/signing/ the signers, and the choice of one
    json_objects.py  JSON objects from outside: request bodies, batches, lines of files
    audit/        audit records: who did what, and what was refused
    callers/      API keys, bearer tokens and policies: who may request which tokens, and how often
    deployment/   what all processes of one store share: the deployment's record, leases, versions, workers
    vault/        key-encryption keys, encrypted secrets, and where they are stored
    tokens/       token requests, claims, authorization, the keyring, playback validation; issuer.py is THE HOT PATH
    keys/         the lifecycle of signing keys: import, rotation, compromise, retirement
    revocations/  revocations and denials: model, use cases, dispatch to IVS
    background/   what a worker does at intervals: refresh, heartbeat, pruning
    diagnostics/  the status of the deployment, and problems as text
    http/         what all HTTP applications of the service share
    storage/      the store, in SQLite or PostgreSQL: one file per subject
    storage/migrations/
    storage/migrations/versions/
                  its schema, one revision per file
    web/          the service over HTTP
    web/endpoints/   its routes, one file per subject
    local_ivs/    the local IVS: the whole API, driven by botocore's model
    local_ivs/resources/
                  channels, stream keys and the other resources: a row and its rules in one file
    local_ivs/streams/
                  live streams, their sessions and events
    local_ivs/edge/  the playback edge, which enforces the tokens
    local_ivs/http/  the local IVS over HTTP
    local_ivs/media/ what the edge plays
    local_ivs/watch/ the watch page: a player in the browser, and what decides about its token
    settings_file.py   the settings file: TOML, with the line of each error
    settings.py   the environment and the settings file -> Settings
    container/    Settings -> the service, its background tasks and its metrics
    supervisor.py the worker processes of `tokensvc serve`
    cli/          the `tokensvc` command, one file per noun
    cli/keys/     its commands for keys, one file per task
    cli/callers/  its commands for callers, and the policy file
    cli/tokens/   its commands for tokens
    cli/checks/   the checks of `tokensvc doctor`
    client/       the Python client of the HTTP API, which nothing else imports and which imports nothing else
    testing/      the local IVS as a test double: a pytest plugin, and a context manager for other test runners
"""

__version__ = "0.1.0"
