"""What each log event and field means, and what is said about the log as a whole: the prose of `log_events.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class EventText(NamedTuple):
    """When an event is written, and what to do then; empty if nothing."""

    when: str
    action: str = ""


_BUG = "Report a bug, and include the line: it contains no input."
_STORE = "See [background-failures](../how-to/alerts/background-failures.md)."
EVENTS: Mapping[str, EventText] = {
    "request": EventText("A request was answered: the access log. Successful probes and scrapes are left out."),
    "audit records are missing in the stream": EventText(
        "`TOKENSVC_AUDIT_LOG` cannot be written: a full disk, a missing directory, a reader that does not read. "
        "Actions still go ahead, and the store has their records. Logged when it starts.",
        "Make it writable again; `GET /v1/audit` has what is missing.",
    ),
    "request failed": EventText(
        "A request was answered with an error whose cause is not in the response, such as the database's message.",
        "Read `detail`; the response's `X-Request-Id` is `request_id`.",
    ),
    "authentication failed": EventText(
        "A request was refused with 401. At most ten lines a second; the response does not contain the `reason`.",
        "Find the caller of `key_id` with `tokensvc callers list`.",
    ),
    "issuer's keys not fetched": EventText(
        "The key set of a bearer token's issuer cannot be fetched. The last good set is used for up to a day.",
        "See `error`; check the issuer and the network path to it.",
    ),
    "internal error": EventText("A request was answered with 500 `internal_error`.", _BUG),
    "internal error on a connection": EventText("A connection was aborted because of a bug.", _BUG),
    "connection setup failed": EventText("One new connection could not be set up, and was closed."),
    "accepting connections failed": EventText(
        "No connection can be accepted, for lack of file descriptors, for example. Open connections are served, "
        "new ones wait, and accepting is tried again after `retry_seconds`.",
        "Raise the limit of open files (`ulimit -n`, `LimitNOFILE`), or lower the number of connections.",
    ),
    "idle connections closed": EventText(
        "A worker has as many connections as `TOKENSVC_MAX_CONNECTIONS` allows, and closes those that have been idle "
        "longest for new ones. `closed` is how many since the last such line.",
        "Raise the limit, or find out who opens so many connections.",
    ),
    "serving": EventText("A worker starts to serve."),
    "running background tasks": EventText("`tokensvc worker` starts."),
    "signal ignored": EventText(
        "The first SIGUSR1 or SIGUSR2, or in `tokensvc ivs serve` the first SIGHUP: nothing is stopped or read again."
    ),
    "log level read": EventText("SIGHUP: `TOKENSVC_LOG_LEVEL` was read again, and applies from now on."),
    "log level not changed": EventText(
        "SIGHUP: the level cannot be read, or is invalid. The previous one still applies.",
        "Correct what `error` reports, and send SIGHUP again.",
    ),
    "traces not exported": EventText(
        "The collector cannot be reached, or does not accept spans. Nothing else is affected. Once a minute while it "
        "lasts.",
        "Check `OTEL_EXPORTER_OTLP_ENDPOINT` and the collector; see [trace requests](../how-to/tracing.md).",
    ),
    "traces are exported again": EventText("The problem above has ended."),
    "IVS request": EventText("One request to IVS, and its result in `code`."),
    "background task run": EventText("A background task has done something. Runs with nothing to do are left out."),
    "worker exited and will be restarted": EventText(
        "A worker process ended by itself or was killed.",
        "If it repeats, look for what killed it: memory limits, for example.",
    ),
    "worker not started": EventText(
        "The system made no worker process: there are too many processes or open files, or too little memory. The "
        "other workers serve, and it is tried again after 0.5 to 10 s.",
        "Read `errno`; raise the limit (`TasksMax`, `LimitNOFILE`, memory).",
    ),
    "metrics directory cannot be used": EventText(
        "The directory in which workers share their metrics, or a file in it, cannot be read or written. Workers serve "
        "all the same; metrics may be missing, or those of one worker only.",
        "Make the directory for temporary files (`TMPDIR`) writable, and keep others from deleting "
        "`tokensvc-metrics-…` in it.",
    ),
    "worker cannot start": EventText(
        "A worker process ended with a known error.", "Follow `error`; run `tokensvc doctor`."
    ),
    "worker failed": EventText("A worker process ended because of a bug.", _BUG),
    "uncaught exception": EventText("An exception that no code handles.", _BUG),
    "python warning": EventText("Python or a library warns, for example of a deprecation."),
    "store unavailable": EventText(
        "The store does not respond. One line for all tasks of the process; another immediately for each new cause.",
        _STORE,
    ),
    "store still unavailable": EventText("Once a minute while the store does not respond.", _STORE),
    "store available again": EventText("The store responds again."),
    "background task failed": EventText("A background task fails; it is retried with back-off.", _STORE),
    "background task still failing": EventText("Once a minute while a background task fails.", _STORE),
    "background task recovered": EventText("A background task works again."),
    "the store was replaced or restored; reloading everything": EventText(
        "The versions in the store are not those that this process has seen.",
        "None after a restore. Otherwise find out who replaced the database.",
    ),
    "the store's clock was set back; reloading all denials": EventText(
        "The database server's clock has gone backwards.",
        "Check the clock of the database's machine.",
    ),
    "ignoring a row of the store that cannot be read": EventText(
        "A row is damaged. Everything else is served.", "Run `tokensvc doctor`."
    ),
    "a row of the store that could not be read is repaired or deleted": EventText(
        "The row above is no longer a problem."
    ),
    "public key in the store cannot be read": EventText("A key's record is damaged.", "Run `tokensvc doctor`."),
    "signing key cannot be decrypted": EventText(
        "This worker cannot decrypt a private key; it signs with another key where it can, and tries again.",
        "Run `tokensvc doctor` with the worker's settings.",
    ),
    "undecryptable signing key is decrypted or no longer needed": EventText("The problem above has ended."),
    "signer failed its self-test": EventText(
        "A signing library does not work here; with `auto` the next one is used.", _BUG
    ),
    "multi-buffer signing switched off: invalid signature": EventText(
        "A signature did not verify. It was replaced before it was returned; AWS-LC signs from now on in this process.",
        "See [signer-verifications](../how-to/alerts/signer-verifications.md).",
    ),
    "acquired the rotation lease": EventText("This process is the rotation leader now."),
    "rotation step": EventText("The rotation leader reports a step of a rotation."),
    "rotation failed in a region": EventText(
        "The steps in a region could not be completed; they are retried with back-off.",
        "See [rotation-problems](../how-to/alerts/rotation-problems.md).",
    ),
    "rotation recovered in a region": EventText("The region was completed."),
    "tokens cannot be issued or are rejected by IVS": EventText(
        "No key is active, or IVS does not hold the active key. Once a minute while it lasts.",
        "Run `tokensvc doctor`, which lists the steps; see [rotation-problems](../how-to/alerts/rotation-problems.md).",
    ),
    "tokens can be issued and are accepted by IVS again": EventText("The problem above has ended."),
    "now dispatching revocations to IVS": EventText("This process dispatches the revocations of a region now."),
    "IVS did not accept every revocation": EventText(
        "IVS failed, throttled or rejected revocations. Once a minute while it lasts.",
        "See [revocation-errors](../how-to/alerts/revocation-errors.md).",
    ),
    "IVS accepts revocations again": EventText("A revocation was sent after failures."),
    "IVS returned an error for a channel": EventText(
        "BatchGetChannel has returned an error other than “not found”. One channel is named as an example.",
        "Check the permission `ivs:BatchGetChannel`.",
    ),
    "IVS returns channels without errors again": EventText("The problem above has ended."),
    "log lines dropped": EventText(
        "Lines were dropped since the last such line.",
        "See [log-lines-dropped](../how-to/alerts/log-lines-dropped.md).",
    ),
    "log line not rendered": EventText("A line could not be formatted.", _BUG),
    "store of the local IVS failed": EventText("The local IVS's database failed.", "Check the disk; see `detail`."),
    "request to the local IVS failed": EventText("A request to the local IVS was answered with 500.", _BUG),
    "store of the playback edge failed": EventText(
        "The local edge's database failed.", "Check the disk; see `detail`."
    ),
    "request to the playback edge failed": EventText("A request to the local edge was answered with 500.", _BUG),
    "request to the watch page failed": EventText("A request to the watch page was answered with 500.", _BUG),
}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Requests and connections": (
        "request",
        "request failed",
        "internal error",
        "internal error on a connection",
        "connection setup failed",
        "accepting connections failed",
        "idle connections closed",
    ),
    "Authentication": ("authentication failed", "issuer's keys not fetched"),
    "Processes": (
        "serving",
        "running background tasks",
        "signal ignored",
        "log level read",
        "log level not changed",
        "traces not exported",
        "traces are exported again",
        "worker exited and will be restarted",
        "worker not started",
        "metrics directory cannot be used",
        "worker cannot start",
        "worker failed",
        "uncaught exception",
        "python warning",
    ),
    "Store and background tasks": (
        "store unavailable",
        "store still unavailable",
        "store available again",
        "background task failed",
        "background task still failing",
        "background task recovered",
        "background task run",
        "the store was replaced or restored; reloading everything",
        "the store's clock was set back; reloading all denials",
        "ignoring a row of the store that cannot be read",
        "a row of the store that could not be read is repaired or deleted",
    ),
    "Keys and rotation": (
        "tokens cannot be issued or are rejected by IVS",
        "tokens can be issued and are accepted by IVS again",
        "acquired the rotation lease",
        "rotation step",
        "rotation failed in a region",
        "rotation recovered in a region",
        "public key in the store cannot be read",
        "signing key cannot be decrypted",
        "undecryptable signing key is decrypted or no longer needed",
        "signer failed its self-test",
        "multi-buffer signing switched off: invalid signature",
    ),
    "Amazon IVS and revocations": (
        "now dispatching revocations to IVS",
        "IVS did not accept every revocation",
        "IVS accepts revocations again",
        "IVS returned an error for a channel",
        "IVS returns channels without errors again",
        "IVS request",
    ),
    "The log itself": (
        "log lines dropped",
        "log line not rendered",
        "audit records are missing in the stream",
    ),
    "Local IVS": (
        "store of the local IVS failed",
        "request to the local IVS failed",
        "store of the playback edge failed",
        "request to the playback edge failed",
        "request to the watch page failed",
    ),
}
FIELDS: Mapping[str, str] = {
    "admin_host": "the address of the admin listener; null without one",
    "admin_port": "the port of the admin listener; null without one",
    "caller": "the caller's name; empty if the request was not authenticated",
    "category": "the class of a Python warning",
    "causes": "the types of the exceptions that caused this one",
    "channel": "a channel's ARN",
    "client": "the client's IP address, behind a trusted proxy the one that it forwards; `-` if that is not an address",
    "closed": "the number of connections closed since the previous such line",
    "code": "an [error code](error-codes.md), a problem's code or IVS's; for a success `issued`, `batch` or `ok`; "
    "empty for an unknown route",
    "codes": "the number of failed revocations by IVS's error code",
    "control_plane": "`aws` or `local`",
    "detail": "the cause, such as the database's message; it is not in the response",
    "duration_ms": "how long the request, the call or the run took, in milliseconds",
    "errno": "the operating system's error number",
    "error": "what went wrong; for an exception its type, never its message",
    "exit_code": "the exit code of a process; negative: the signal that ended it",
    "failures": "the number of failures since the outage began",
    "fallback_reason": "why no faster signer is used; empty for the fastest",
    "frames": "the last frames of an exception: file, line and function",
    "host": "the address to listen on",
    "key_id": "a key's id",
    "lane": "the lane of the multi-buffer signer whose signature was invalid",
    "lines": "the number of dropped lines, for all reasons",
    "log_level": "the level of the log from now on",
    "max_connections": "how many connections the worker keeps open",
    "method": "the request's method",
    "operation": "an operation of the IVS API",
    "path": "the route, with `{id}` for ids and without the query; `-` for an unknown route",
    "pid": "a process's id",
    "port": "the port to listen on",
    "previous": "the level of the log before",
    "queue_full": "lines dropped because the queue was full; absent if none",
    "reason": "why it happened",
    "region": "an AWS region",
    "render_failed": "lines dropped because they could not be formatted; absent if none",
    "request_id": "the `X-Request-Id` of the response",
    "retry_seconds": "seconds until the next attempt",
    "row": "which row of the store cannot be read, and why",
    "seconds": "how long the outage has lasted, or did last",
    "signal": "a signal's name",
    "signer": "the signer's name",
    "spans": "how many spans were dropped this time",
    "status": "the HTTP status",
    "step": "a step of a rotation, in words",
    "task": "the background task's name, as in `tokensvc_background_failures_total`",
    "thread": "a thread's name",
    "trace_id": "the trace that the request, or the run of a background task, belongs to",
    "where": "a file and a line of source code",
    "write_failed": "lines dropped because they could not be written; absent if none",
}
"""Every field in alphabetical order."""
OPENING = """# Log events

Every process writes its log to standard error, one line per event. Nothing is logged elsewhere.

| `TOKENSVC_LOG_FORMAT` | lines |
| --- | --- |
| `json` (default) | one JSON object each |
| `console` | text for people, with printable characters only, without colours |

`tokensvc demo` and `tokensvc ivs serve` always write `console`. Every line begins with `timestamp` (RFC 3339, UTC, with
milliseconds), `level` and `event`; a line that belongs to a request continues with `request_id` and, if the request is
part of a [trace](../how-to/tracing.md), `trace_id`. A line of the access log:

```json
EXAMPLE
```

`TOKENSVC_ACCESS_LOG=false` turns only these lines off.

## Level

`TOKENSVC_LOG_LEVEL` is `debug`, `info` (default), `warning` or `error`: lines of that level and above are written.
Lines of the access log have the level `info`. Libraries log only from `warning` up, even at `debug`: below that, some
of them log requests with their credentials.

The level can be changed without a restart where it is in a file, named by `TOKENSVC_LOG_LEVEL_FILE`, or as
`log_level` in the settings file: change the file and send SIGHUP to the process that was started, which tells its
workers. A change of any other setting needs a restart. SIGHUP never stops tokensvc, so a closed terminal does no harm.
[Observe](../how-to/observe.md) has an example.

## What is never logged

Tokens, API keys, passphrases, private keys, viewer ids and subjects, queries, bodies and headers of requests are
never logged, nor are messages of exceptions, which may quote any of them. Exceptions are logged as types and frames.
What looks like a token, an API key or a private key is replaced by `***` in any case.

**Outages** are logged when they begin, immediately for each new cause, once a minute while they last, and when they
end, with their duration in `seconds`."""
READER = """## Lines of libraries

uvicorn, asyncio and other libraries write warnings and errors to the same log, in the same format. For a library
that handles connections, only the text in its source is written, without values; each such line at most once in ten
seconds, with the number of those left out in `suppressed`.

## When the log is not read

Logging never waits for the reader of the log. Each process queues up to 50,000 request lines and 8 MiB of other
lines, drops further ones, and reports their number (`log lines dropped`) once the log is read again;
`tokensvc_log_lines_dropped_total` counts them. On exit, a process writes its queue for two seconds at most."""
