"""The reference of the settings, from `tokensvc/settings.py`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from docs.generator.markdown import code, table, unwrap
from tokensvc.cli.policy_values import POLICY_SETTINGS
from tokensvc.cli.setting_groups import GROUPS, Group
from tokensvc.jose.signing.choice import SIGNERS
from tokensvc.jose.signing.multibuffer import MIN_BATCH, VERIFY_EVERY, VERIFY_FIRST, VERIFY_PER_SECOND
from tokensvc.settings import PASSPHRASE_MIN_CHARS, Settings, UpperLimit, variable_name

EVERYTHING = "every command that opens the store"
WORKERS = "`serve`, `worker`"
WITH_KEYS = (
    "`serve`, `worker`, `doctor`, and every `keys` command except `list` without `--ivs`, `show`, `public` and `rewrap`"
)
WITH_SECRETS = (
    "`serve`, `worker`, `doctor`, every `keys` command except `list` without `--ivs`, `show` and `public`; "
    "`revocations` and `denials` with `--subject`"
)
ABOUT: Mapping[str, str] = {
    "Store and keys": (
        "Every process of a deployment has the same values. Where private keys are stored and how the passphrase is "
        "changed: [change the passphrase](../how-to/change-the-passphrase.md)."
    ),
    "Rate limits": "The limits are in the policies of the callers: [limit callers](../how-to/limit-callers.md).",
    "Policy hook": "What is asked, and how to answer: [decide in a policy hook](../how-to/policy-hook.md).",
    "Authorizing a proxy's requests": "How to set it up: [authorize a proxy's requests](../how-to/authorize.md).",
    "Limits of the deployment": (
        "`tokensvc db upgrade` stores these in the database, where they hold for every process. A value that any other "
        "command is given has no effect; `tokensvc settings` and `tokensvc doctor` report one that differs from the "
        "stored value."
    ),
    "Logs": "What the log contains: [log events](log-events.md).",
    "Traces": "What is traced, and with which collectors: [trace requests](../how-to/tracing.md).",
}
"""What precedes the settings of a group."""
USED_BY: Mapping[str, str] = {
    "control_plane": WITH_KEYS,
    "database_url": f"{EVERYTHING}; `tokens explain`, `tokens issue --url` and `settings` also work without it",
    "store_timeout_seconds": EVERYTHING,
    "vault": WITH_SECRETS.partition(";")[0],
    "passphrase": WITH_SECRETS,
    "kms_key_arn": WITH_SECRETS,
    "previous_passphrase": WITH_SECRETS,
    "previous_kms_key_arn": WITH_SECRETS,
    "host": "`serve`",
    "port": "`serve`",
    "admin_port": f"{WORKERS}; `health` asks there",
    "admin_host": f"{WORKERS}; `health` asks there",
    "admin_routes": WORKERS,
    "workers": "`serve`",
    "trusted_proxies": "`serve`",
    "shutdown_delay_seconds": "`serve`",
    "snapshot_lease_seconds": "`serve`; commands that calculate drains and denials use the longest lease that a worker "
    "has reported, or their own setting if that is longer",
    "signer": "`serve`; `doctor` and `settings` show what it selects",
    "regions": f"{WITH_KEYS}; `revocations` and `denials`",
    "channel_lookup_timeout_seconds": "`serve`",
    "channel_calls_per_second": "`serve`",
    "revocation_rate_fraction": "`serve`, `worker`; `revocations watch` estimates with it",
    **dict.fromkeys(POLICY_SETTINGS, "`db upgrade`"),
    "background_tasks": "`serve`",
    "access_log": "`serve`",
    "log_format": WORKERS,
    "log_level": WORKERS,
    "tracing": WORKERS,
    "trace_ratio": WORKERS,
    "cors_origins": "`serve`",
    "max_in_flight": "`serve`",
    "max_connections": "`serve`",
    "limiter_url": "`serve`",
    "limiter_fails": "`serve`",
    "authorize": "`serve`",
    "authorize_folders": "`serve`",
    "policy_hook_url": "`serve`",
    "policy_hook_secret": "`serve`",
    "audit_log": "every command that changes the store, `serve` and `worker`",
    "audit_retention_days": WORKERS,
}
ALLOWED: Mapping[str, str] = {
    "database_url": (
        "`postgresql://USER@HOST/DATABASE`, also `postgres://…` and `postgresql+psycopg://…`; "
        "`sqlite:////absolute/path.db`, also `sqlite+pysqlite:///…`. A password in the URL is masked wherever it is "
        "shown"
    ),
    "vault": "`store`, `file:DIR`, `shared-file:DIR`; not `file:DIR` with PostgreSQL",
    "passphrase": f"at least {PASSPHRASE_MIN_CHARS} characters",
    "previous_passphrase": f"at least {PASSPHRASE_MIN_CHARS} characters",
    "kms_key_arn": "`arn:aws:kms:REGION:ACCOUNT:key/ID`",
    "previous_kms_key_arn": "`arn:aws:kms:REGION:ACCOUNT:key/ID`",
    "host": "an IP address or a host name",
    "admin_host": "an IP address or a host name",
    "regions": "regions that have Amazon IVS in the installed botocore, comma-separated",
    "trusted_proxies": "IP addresses and networks, comma-separated; or `*` alone",
    "cors_origins": "`scheme://host[:port]`, comma-separated; the host may begin with `*`",
    "limiter_url": "`redis://[:PASSWORD@]HOST[:PORT][/DB]`, or `rediss://…` for TLS",
    "policy_hook_url": "`https://HOST[:PORT]/PATH`, without query; `http://` for loopback addresses only",
    "policy_hook_secret": f"at least {PASSPHRASE_MIN_CHARS} characters",
    "authorize_folders": "`/PATH/=ARN`, comma-separated; each of `{region}`, `{account}` and `{id}` in both or in "
    "neither",
    "audit_log": "`stdout`, `stderr` or a path",
}
MORE: Mapping[str, str] = {
    "admin_port": "What is served where: [HTTP API](http-api.md).",
    "trusted_proxies": "See [behind a proxy](../how-to/behind-a-proxy.md).",
    "snapshot_lease_seconds": "See [propagation](../explanation/propagation.md).",
    "revocation_rate_fraction": "Lower it if other applications of the account revoke viewers too.",
    "signer": "See [signers](#signers).",
}
"""What follows the description, for settings that are explained elsewhere."""
UNITS = {"_seconds": "seconds", "_days": "days", "_per_second": "calls per second"}
SIGNER_ROWS: Mapping[str, tuple[str, str]] = {
    "multibuffer": (
        (
            "x86-64 Linux on a processor with AVX-512 IFMA (Ice Lake, Sapphire Rapids, Zen 4 and later), if a C "
            "compiler and Python's headers were present at installation"
        ),
        (
            "eight signatures in little more time than one takes with AWS-LC. Used for batches, and when "
            f"{MIN_BATCH} or more requests arrive together; AWS-LC signs fewer"
        ),
    ),
    "aws-lc": ("everywhere else", "one at a time"),
    "openssl": ("where AWS-LC cannot be loaded", "one at a time, half as fast"),
}


_INITIALLY = re.compile(r"Stored in the database \(initially (\w+)\)")


def page() -> str:
    """The page."""
    groups = [_group(group) for group in GROUPS]
    return unwrap("\n\n".join([_GENERAL, _overview(), *groups, _signers(), _AWS]))


def _overview() -> str:
    rows = [
        (f"[{code(variable_name(name))}](#{variable_name(name).lower()})", _default(name), _first_sentence(name))
        for group in GROUPS
        for name in group.names
    ]
    return f"## All settings\n\n{table(('variable', 'default', 'meaning'), rows)}"


def _group(group: Group) -> str:
    return "\n\n".join(filter(None, [f"## {group.heading}", ABOUT.get(group.heading), *map(_setting, group.names)]))


def _setting(name: str) -> str:
    field = Settings.model_fields[name]
    facts = [("Allowed", _allowed(name, field)), ("Default", _default(name)), ("Unit", _unit(name))]
    facts.append(("Used by", USED_BY[name]))
    lines = [f"- **{label}:** {text}" for label, text in facts if text]
    return "\n\n".join(
        [f"### {code(variable_name(name))}", f"{field.description}. {MORE.get(name, '')}".strip(), "\n".join(lines)]
    )


def _first_sentence(name: str) -> str:
    text, period, _ = str(Settings.model_fields[name].description).partition(". ")
    return text if period else text.rstrip(".")


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if initially := _INITIALLY.search(str(Settings.model_fields[name].description)):
        return f"the stored value, initially {code(initially[1])}"
    if value in (None, ()):
        return {
            "vault": "depends on the store",
            "regions": "boto3's region",
            "admin_routes": "only on a loopback address",
        }.get(name, "none")
    return code(str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else value)


def _unit(name: str) -> str:
    return next((unit for suffix, unit in reversed(UNITS.items()) if name.endswith(suffix)), "")


def _allowed(name: str, field: FieldInfo) -> str:
    if name in ALLOWED:
        return ALLOWED[name]
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind is not type(None)]
    literals = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if literals:
        return ", ".join(map(code, literals))
    if bool in kinds:
        return "`true` or `false`, also `1`/`0`, `yes`/`no`, `on`/`off`"
    return f"{'an integer' if int in kinds else 'a number'} {_limits(_constraints(field.metadata))}"


def _constraints(metadata: list[Any]) -> dict[type, float]:
    """The limits of a number by their kind."""
    found: dict[type, float] = {}
    for constraint in metadata:
        match constraint:
            case Ge(ge=limit) | Gt(gt=limit) | Le(le=limit):
                found[type(constraint)] = limit  # type: ignore[assignment] # a number for all of ours
            case AfterValidator(func=check) if isinstance(upper := getattr(check, "__self__", None), UpperLimit):
                found[Le] = upper.limit
    return found


def _limits(limits: Mapping[type, float]) -> str:
    high = f"{limits[Le]:,g}" if limits[Le] < 1 else f"{limits[Le]:,}"
    return f"from {limits[Ge]:,g} to {high}" if Ge in limits else f"greater than {limits[Gt]:g}, {high} at most"


def _signers() -> str:
    rows = [(code(name), *SIGNER_ROWS[name]) for name in SIGNERS]
    return f"""## Signers

With `TOKENSVC_SIGNER=auto` a worker uses the first of these libraries that works on its machine and passes a
self-test at start:

{table(("signer", "where", "what"), rows)}

A signer that is selected by name but cannot work stops the start, with the reason. Which one is in use, and why no
faster one is, is shown by
`tokensvc settings`, `tokensvc doctor`, `/v1/status`, the log line [`serving`](log-events.md#serving) and the metric
[`tokensvc_signer_info`](metrics.md#tokensvc_signer_info).

The multi-buffer code is verified while it runs: AWS-LC verifies the first {VERIFY_FIRST} signatures of each key and
then one in {VERIFY_EVERY}, at most
{VERIFY_PER_SECOND} a second. A signature that does not verify is replaced before it is returned; AWS-LC signs from
then on in that process, and `/readyz`, the log
([`multi-buffer signing switched off: invalid
signature`](log-events.md#multi-buffer-signing-switched-off-invalid-signature)) and the metrics
([`tokensvc_signer_verifications_total`](metrics.md#tokensvc_signer_verifications_total)) report it. To install
without the extension:
`pip install --config-settings native=off .`."""


_GENERAL = """# Settings

tokensvc is configured by environment variables that begin with `TOKENSVC_`, and by a settings file; the environment
takes precedence. Both are read once, when a process starts; a change takes effect with a restart. How to set them up:
[configure tokensvc](../how-to/configure.md).

- **Effective values:** `tokensvc settings` shows each setting with its value and its source. Secrets are masked; in
  a database URL, the password is.
- **Errors:** all invalid settings are reported together, and the command exits with 2. A value that could be a
  secret is not repeated.
- **Unknown names:** a `TOKENSVC_…` variable or a key of the settings file that is not a setting is an error, which
  names the setting with the most similar name.
- **Needed settings:** a setting without a default is required only by the commands that use it; each of them names
  what is missing.
- **Commands with settings of their own:** `tokensvc demo` ignores the settings of the shell, and `tokensvc ivs
  serve` has options only.
- **Lists** are separated by commas in a variable, and an array in the settings file; white space around entries is
  ignored.

## Settings file

`--config FILE`, before or after a command, or the variable `TOKENSVC_CONFIG` names a file in TOML; the option takes
precedence. `tokensvc settings --example` prints one that has every setting in comments.

- **Keys** are the names of the variables in lower case, without `TOKENSVC_`: `port`. They are at the top of the file:
  there are no tables.
- **Values** have TOML's types: `port = 8080`, `access_log = false`, `host = "::"`, `regions = ["us-east-1"]`.
- **Values in other files:** `x_file` names a file that contains the value of `x`, as `TOKENSVC_X_FILE` does.
- **Errors** name the file, the line, the key and the rule, and come together with those of the environment.
- **Secrets:** the file belongs to the process's user or to root, and no other user can write to it. If it holds a
  passphrase, a secret or a URL with a password, it must not be accessible to every user, not even if root owns it.
- **Relative paths**, in the file as in variables, are relative to the directory in which the process is started, not to
  the file.
- **Limits:** UTF-8, at most 64 KiB. The file may be a pipe, such as `<(command)`, to which something is written within
  30 seconds.

## Values from files

Instead of any variable `TOKENSVC_X`, `TOKENSVC_X_FILE` may name a file that contains the
value, in UTF-8; line feeds at its end are
dropped. Setting both is an error. The file may be a pipe, such as `<(command)`. A regular file is accepted only if:

- it belongs to the process's user or to root;
- no other user, not even one of its group, can write to it;
- if it holds a passphrase or the database URL: it is not accessible to every user, unless it belongs to root, as
  Docker and Kubernetes mount secrets.

The message for a file that is rejected ends with the `chown` or `chmod` that fixes it. A secret file that is named
by an **option** (the passphrase of
`tokensvc keys import`, an unencrypted private key) must be accessible to its owner alone."""

_AWS = """## Variables of AWS and of the system

Region, credentials and endpoints are boto3's own: `AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_PROFILE`,
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`, shared configuration files, container and instance roles. `AWS_ENDPOINT_URL_IVS` points boto3
at a local IVS. The endpoint that boto3 chooses must fit
[`TOKENSVC_CONTROL_PLANE`](#tokensvc_control_plane): a host of AWS for `aws`, any other for `local`.

With several workers, metrics are shared in a directory below `TMPDIR`, see [metrics](metrics.md#several-workers)."""
