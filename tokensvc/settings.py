"""Settings from `TOKENSVC_…` environment variables and a settings file, read once; all errors are reported together.

Invariants
- The environment precedes the settings file (`settings_file.py`) that `TOKENSVC_CONFIG` names. A key of the file is a
  setting's name in lower case, without prefix.
- Every setting may also come from a file: `TOKENSVC_X_FILE` names a file that contains the value. Setting both is an
  error, and so is a file that another user controls (`secret_files.py`).
- An unknown `TOKENSVC_…` variable is an error, so that a typing error never goes unnoticed. The message suggests the
  setting with a similar name.
- A message repeats a value only if it cannot be a secret that was put into the wrong variable.
- A setting that only some commands need has no default here; `require` names what is missing.
- AWS's own variables (region, credentials, endpoint) belong to boto3 and are not duplicated here.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from tokensvc.callers.issuer_urls import check_issuer_url
from tokensvc.callers.policy import MAX_CONFIGURABLE_TTL_SECONDS
from tokensvc.errors import FieldError, SettingsError
from tokensvc.origins import check_origin
from tokensvc.secret_files import InsecureFile, read_setting_file
from tokensvc.settings_file import CONFIG_VARIABLE, SettingsFile, read_settings_file
from tokensvc.tokens.channel_folders import DEFAULT_FOLDERS, check_entry
from tokensvc.validation_errors import field_errors, matching

PREFIX = "TOKENSVC_"
PASSPHRASE_MIN_CHARS = 12
SIMILARITY_MIN = 0.62
"""How similar a setting's name must be to be suggested: between PROXIES for TRUSTED_PROXIES, which is right, and
REDIS_URL for DATABASE_URL, which is wrong."""
_REPEATABLE = re.compile(r"[A-Za-z0-9.:/_*-]{1,20}|(?=.*[.:/])[0-9a-fA-F.:/]{1,50}")
"""The list entries that a message may repeat: short names and addresses. Passphrases and keys are longer."""


def _split(value: object) -> object:
    """The entries of a list: separated by commas in a variable, an array in the settings file."""
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, str) for entry in entries):
        return value
    return tuple(dict.fromkeys(filter(None, map(str.strip, entries))))


def _require_regions(regions: tuple[str, ...]) -> tuple[str, ...]:
    if not regions:
        return regions
    from tokensvc.aws.ivs import ivs_regions  # botocore loads slowly, and most deployments have one region

    unknown = [_named(region, number) for number, region in enumerate(regions, 1) if region not in ivs_regions()]
    if unknown:
        verb = "is not a region" if len(unknown) == 1 else "are not regions"
        known = ", ".join(sorted(ivs_regions()))
        raise ValueError(f"{', '.join(unknown)} {verb} of Amazon IVS in the installed botocore, which has: {known}")
    return regions


def _require_proxies(entries: tuple[str, ...]) -> tuple[str, ...]:
    """uvicorn treats anything else as a literal name, which never matches a TCP client's address."""
    if entries == ("*",):
        return entries
    return _require_each(_proxy_problem, entries)


def _require_each(problem_of: Callable[[str, int], str], entries: tuple[str, ...]) -> tuple[str, ...]:
    """The entries, if none has a problem; those of all are reported. `problem_of` gets an entry and its number."""
    problems = [problem for number, entry in enumerate(entries, 1) if (problem := problem_of(entry, number))]
    if problems:
        raise ValueError("; ".join(problems))
    return entries


def _proxy_problem(entry: str, number: int) -> str:
    """Why this is not an address or network; "" if it is one."""
    if entry == "*":
        return "* must be the only entry, because it trusts every client"
    try:
        ipaddress.ip_network(entry) if "/" in entry else ipaddress.ip_address(entry)
    except ValueError:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return f"{_named(entry, number)} is not an IP address or a network such as 10.0.0.0/8"
        return f"{_named(entry, number)} has host bits set; the network is {network}"
    return ""


def _named(entry: str, number: int) -> str:
    return entry if _REPEATABLE.fullmatch(entry) else f"entry {number}"


def _require_database(url: SecretStr | None) -> SecretStr | None:
    if url is not None and not _DATABASE.match(url.get_secret_value()):
        raise ValueError("must begin with postgresql:// or sqlite:///")
    if url is not None and url.get_secret_value().startswith("postgres"):
        _require_extra("postgres", "psycopg")
    return url


def _require_extra(extra: str, module: str) -> None:
    """Check that an extra of the package is installed, without loading it."""
    try:
        is_installed = find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that contains it
        is_installed = False
    if not is_installed:
        raise ValueError(f"needs the extra {extra}, which is not installed: pip install 'tokensvc[{extra}]'")


_DATABASE = re.compile(r"(postgres|postgresql|postgresql\+psycopg|sqlite|sqlite\+pysqlite)://")


def _require_length(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value) < PASSPHRASE_MIN_CHARS:
        raise ValueError(f"must have at least {PASSPHRASE_MIN_CHARS} characters")
    return value


def _origin_problem(entry: str, number: int) -> str:
    """Why this is not the origin of a page; "" if it is one."""
    if entry == "*":
        return "* would admit every page; list the origins"
    try:
        check_origin(entry)
    except ValueError as rule:
        return f"{_named(entry, number)} {rule}"
    return ""


def _folder_problem(entry: str, number: int) -> str:
    """Why this is not a folder of channels; "" if it is one."""
    try:
        check_entry(entry)
    except ValueError as rule:
        return f"entry {number} {rule}"
    return ""


def _require_otel(tracing: bool) -> bool:
    if tracing:
        _require_extra("otel", "opentelemetry.sdk")
        _require_extra("otel", "opentelemetry.exporter.otlp.proto.http")
    return tracing


def _require_limiter(url: SecretStr | None) -> SecretStr | None:
    if url is not None and not re.match(r"rediss?://.", url.get_secret_value()):
        raise ValueError("must begin with redis:// or rediss://")
    if url is not None:
        _require_extra("redis", "redis")
    return url


_Regions = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_require_regions)]
_Proxies = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_require_proxies)]
_CorsOrigins = Annotated[
    tuple[str, ...], BeforeValidator(_split), AfterValidator(partial(_require_each, _origin_problem))
]
_Folders = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(partial(_require_each, _folder_problem))]
_LimiterUrl = Annotated[SecretStr | None, AfterValidator(_require_limiter)]
_PolicyHookUrl = Annotated[str | None, AfterValidator(lambda url: url and check_issuer_url(url))]
_DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_require_database)]


class UpperLimit(NamedTuple):
    """An upper limit whose message includes the reason."""

    limit: int
    reason: str

    def check(self, value: float | None) -> float | None:
        if value is not None and value > self.limit:
            raise ValueError(f"must be at most {self.limit}: {self.reason}")
        return value


def _at_most(limit: int, reason: str) -> AfterValidator:
    return AfterValidator(UpperLimit(limit, reason).check)


_Ceiling = Annotated[
    int | None,
    _at_most(
        MAX_CONFIGURABLE_TTL_SECONDS,
        "a week, because a key pair stays in IVS until its last token has expired, and IVS holds only three",
    ),
]
_PropagationSeconds = Annotated[float | None, _at_most(86_400, "a day, because no new key signs before that time")]
_MaxAge = Annotated[float | None, _at_most(3650, "ten years; set 0 to rotate keys only on request")]
_Passphrase = Annotated[SecretStr | None, AfterValidator(_require_length)]
_KmsKeyArn = Annotated[
    str | None,
    matching(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+",
        "must be the ARN of a KMS key: arn:aws:kms:REGION:ACCOUNT:key/ID",
    ),
]
_Vault = Annotated[str | None, matching(r"store|(shared-)?file:.+", "must be `store`, `file:DIR` or `shared-file:DIR`")]


class Settings(BaseModel):
    """Every setting with its default, or else an example, and its description."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True, extra="forbid")

    control_plane: Literal["aws", "local"] | None = Field(
        None,
        examples=["aws"],
        description="The IVS to use: `aws` or `local`. No default, so that production never runs on the local IVS by "
        "accident",
    )
    database_url: _DatabaseUrl = Field(
        None,
        examples=["postgresql://tokensvc@db.example.com/tokensvc"],
        description="URL of the store: `postgresql://…` or `sqlite:////absolute/path.db`. No default",
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on: `0.0.0.0` and `::` are all of IPv4 and of IPv6"
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    admin_port: int | None = Field(
        None,
        examples=[9090],
        ge=0,
        le=65535,
        description="If set, `/metrics`, `/v1/status`, `/v1/audit` and `/v1/keys…` are served only on this port; "
        "`/livez`, `/readyz` and `/openapi.json` are served on both. 0 picks a free one",
    )
    admin_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address of the admin listener. On an address that is not loopback, it serves `/metrics`, `/livez` "
        "and `/readyz` alone, unless `TOKENSVC_ADMIN_ROUTES` is `true`",
    )
    admin_routes: bool | None = Field(
        None,
        examples=[False],
        description="Whether the admin listener serves `/v1/status`, `/v1/audit`, `/v1/keys…` and `/openapi.json`, "
        "besides metrics and probes. Default: only on a loopback address",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Number of worker processes. A process signs on one core: use one for each core that tokensvc may "
        "use",
    )
    background_tasks: bool = Field(
        True,
        description="Whether `tokensvc serve` also rotates keys, dispatches revocations to IVS and prunes old rows; "
        "set `false` if `tokensvc worker` does that instead",
    )
    regions: _Regions = Field(
        (),
        examples=[("us-east-1", "eu-west-1")],
        description="AWS regions to import keys into, comma-separated. Default: boto3's region",
    )
    vault: _Vault = Field(
        None,
        examples=["store"],
        description="Where private keys are stored: `store`, `file:DIR`, or `shared-file:DIR` for a directory that all "
        "machines share. Default: `store` with PostgreSQL, `file:keys` with SQLite",
    )
    passphrase: _Passphrase = Field(
        None,
        examples=["the output of openssl rand -hex 32"],
        description="Encrypts every private key, unless `TOKENSVC_KMS_KEY_ARN` is set. Use 32 random bytes as hex: "
        "`openssl rand -hex 32`. No default",
    )
    kms_key_arn: _KmsKeyArn = Field(
        None,
        examples=["arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
        description="A symmetric AWS KMS key that encrypts every private key; a passphrase that is also set then only "
        "decrypts",
    )
    previous_passphrase: _Passphrase = Field(
        None,
        examples=["the passphrase before this one"],
        description="The former passphrase, for decryption only, until `tokensvc keys rewrap` has finished",
    )
    previous_kms_key_arn: _KmsKeyArn = Field(
        None,
        examples=["arn:aws:kms:us-east-1:123456789012:key/0987dcba-09fe-87dc-65ba-ab0987654321"],
        description="The former KMS key, for decryption only, until `tokensvc keys rewrap` has finished",
    )
    max_ttl_seconds: _Ceiling = Field(
        None,
        examples=[3600],
        ge=1,
        description="The longest lifetime of any token. Stored in the database (initially 3600) by `tokensvc db "
        "upgrade`",
    )
    key_propagation_seconds: _PropagationSeconds = Field(
        None,
        examples=[30],
        ge=0,
        description="How long to wait after importing a key into IVS before it signs, because AWS documents no "
        "propagation delay; 0 only with the local IVS. Stored in the database (initially 30) by `tokensvc db upgrade`",
    )
    key_max_age_days: _MaxAge = Field(
        None,
        examples=[90],
        ge=0,
        description="Age at which a key is rotated automatically; 0: only on request. Stored in the database "
        "(initially 0) by `tokensvc db upgrade`",
    )
    key_standby: bool | None = Field(
        None,
        examples=[True],
        description="Whether to keep a prepared standby key in IVS wherever a slot is free. Stored in the database "
        "(initially true) by `tokensvc db upgrade`",
    )
    snapshot_lease_seconds: float = Field(
        900.0,
        ge=2,
        le=86_400,
        description="How long a worker continues to sign while it cannot reach the store. A retiring key drains for "
        "this long in addition to the longest token lifetime",
    )
    store_timeout_seconds: float = Field(5.0, gt=0, le=60, description="Timeout of one request to the store")
    channel_lookup_timeout_seconds: float = Field(
        0.3,
        ge=0,
        le=5,
        description="How long the first token request for an unknown channel waits for its playback URL; if that is "
        "not known by then, the response has none. 0: do not wait",
    )
    channel_calls_per_second: float = Field(
        1.0, gt=0, le=5, description="BatchGetChannel calls per second and region, for the whole deployment"
    )
    revocation_rate_fraction: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Fraction of the AWS account's IVS revocation rate limits that tokensvc may use",
    )
    signer: Literal["auto", "multibuffer", "aws-lc", "openssl"] = Field(
        "auto",
        description="Signing library: `multibuffer`, `aws-lc` or `openssl`; `auto` uses the first of them that works "
        "on the machine",
    )
    shutdown_delay_seconds: float = Field(
        5.0,
        ge=0,
        le=15,
        description="How long a stopping worker continues to serve while `/readyz` reports not ready, so that load "
        "balancers remove it",
    )
    trusted_proxies: _Proxies = Field(
        (),
        examples=[("10.0.0.0/8",)],
        description="IP addresses and networks (`10.0.0.0/8`) whose `X-Forwarded-For` is trusted, comma-separated. The "
        "client's address is used in logs, for the limit on failed authentications, as the address of an API key's "
        "last use, and in requests to a policy hook; with `*`, every client can choose its own address",
    )
    max_in_flight: int = Field(
        512,
        ge=16,
        le=100_000,
        description="How many requests each worker handles at once; more are rejected with `overloaded`, and "
        "nothing is issued or changed for them",
    )
    max_connections: int = Field(
        4096,
        ge=16,
        le=1_000_000,
        description="How many connections each worker keeps open; for further ones it closes those that have been idle "
        "longest. Connections with a request in flight stay open: if all have one, further ones wait to be accepted",
    )
    cors_origins: _CorsOrigins = Field(
        (),
        examples=[("https://app.example.com",)],
        description="Web origins whose pages may request tokens from a browser, comma-separated, such as "
        "`https://app.example.com`. Default: none",
    )
    limiter_url: _LimiterUrl = Field(
        None,
        examples=["redis://redis.example.com:6379/0"],
        description="`redis://…` or `rediss://…`: applies rate limits exactly across all workers and machines. "
        "Default: each worker counts for itself",
    )
    limiter_fails: Literal["open", "closed"] = Field(
        "open",
        description="What happens while the shared rate limiter does not respond: `open` accepts requests, `closed` "
        "rejects them with `limiter_unavailable`",
    )
    policy_hook_url: _PolicyHookUrl = Field(
        None,
        examples=["https://policy.example.com/decide"],
        description="URL of a service that is asked before each token is issued, and can deny or restrict it; "
        "`https://…`, or `http://…` on a loopback address. Default: none",
    )
    policy_hook_secret: _Passphrase = Field(
        None,
        examples=["the output of openssl rand -hex 32"],
        description="The secret that signs requests to the policy hook; required with `TOKENSVC_POLICY_HOOK_URL`",
    )
    authorize: bool = Field(
        False,
        description="Whether the public listener serves `/authorize`, which a proxy asks before it serves a file to a "
        "player",
    )
    authorize_folders: _Folders = Field(
        (),
        examples=[("/hls/{id}/=arn:aws:ivs:us-east-1:123456789012:channel/{id}",)],
        description="Which channel a path belongs to, for `/authorize`: entries `/PATH/=ARN`, comma-separated, of "
        "which the first that matches decides. `{region}`, `{account}` and `{id}` in a path stand for those of the "
        f"ARN. Default: `{DEFAULT_FOLDERS[0]}`",
    )
    audit_log: str | None = Field(
        None,
        examples=["/var/log/tokensvc/audit.jsonl"],
        min_length=1,
        description="File that audit records are appended to as JSON lines, `stdout` or `stderr`; the store has them "
        "in any case. Default: none",
    )
    audit_retention_days: int = Field(90, ge=1, le=3650, description="How long the store keeps audit records")
    access_log: bool = Field(
        True, description="Whether to log one line for each request, except successful probes and scrapes"
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="Format of log lines: `json`, or `console` for people"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="The lowest level of log lines that are written: `debug`, `info`, `warning` or `error`. Read again "
        "on SIGHUP, so it can be changed without a restart if it comes from a file",
    )
    tracing: Annotated[bool, AfterValidator(_require_otel)] = Field(
        False,
        description="Whether to export OpenTelemetry traces; needs the extra `otel`. Destination and format are set "
        "with OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`",
    )
    trace_ratio: float = Field(
        0.0,
        ge=0,
        le=1,
        description="With tracing, the fraction of requests without a trace, and of runs of background tasks, that "
        "start one. A request with a sampled `traceparent` is part of that trace in any case",
    )


_SECRETS = frozenset(name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation))
"""Settings whose files other users must not be able to read."""


class Configuration(NamedTuple):
    """The settings of this process, and where each was given."""

    settings: Settings
    places: Mapping[str, _Place]

    def source(self, name: str) -> str:
        """The source of a setting: a variable, a key of the settings file with its line, or `default`."""
        return self.places[name].describe() if name in self.places else "default"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError with an error for each bad variable or key."""
    return read_configuration(environ).settings


def read_configuration(environ: Mapping[str, str]) -> Configuration:
    """Read the settings and their sources. Raises SettingsError with an error for each bad variable or key."""
    values, places, errors = _collect(environ)
    try:
        settings = Settings(**values)
    except ValidationError as invalid:
        for error in field_errors(invalid):
            name = error.field.partition("[")[0]
            errors.append(places[name].error(error.rule) if name in places else FieldError(name, error.rule))
    if errors:
        raise SettingsError(sorted(errors, key=_line_of_error))
    return Configuration(settings, places)


def read_chosen_settings(environ: Mapping[str, str], *names: str) -> tuple[Any, ...]:
    """Read these settings alone, as they are given now; the files of others are not opened. Raises SettingsError."""
    values, places, errors = _collect(environ, only=names)
    if not errors:
        try:
            settings = Settings(**values)
            return tuple(getattr(settings, name) for name in names)
        except ValidationError as invalid:
            errors = [places[error.field.partition("[")[0]].error(error.rule) for error in field_errors(invalid)]
    raise SettingsError(errors)


def example_value(name: str) -> Any:
    """The default of a setting, or a value to replace where there is none."""
    field = Settings.model_fields[name]
    return field.examples[0] if field.examples else field.default


def variable_name(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def require(settings: Settings, *fields: str) -> None:
    """Raise SettingsError naming each of these settings that is missing."""
    missing = [f for f in fields if getattr(settings, f) is None]
    if missing:
        raise SettingsError(
            [FieldError(variable_name(f), f"must be set. {Settings.model_fields[f].description}") for f in missing]
        )


class _Place(NamedTuple):
    """Where a setting is given: in a variable, or under a key of the settings file."""

    name: str
    """Of the variable or key."""
    file: SettingsFile | None = None

    def describe(self) -> str:
        """The variable, or file and line; with the key if that names a file with the value."""
        if self.file is None:
            return self.name
        return self.file.place_of(self.name) + (f" ({self.name})" if self.name.endswith(_FILE) else "")

    def error(self, rule: str) -> FieldError:
        return FieldError(self.name, rule) if self.file is None else self.file.error(self.name, rule)


def _collect(
    environ: Mapping[str, str], only: Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, _Place], list[FieldError]]:
    """The values that are given, where each is given, and the errors. The environment precedes the settings file. With
    `only`, nothing is read of other settings, and of their errors those alone that are found on the way."""
    variables = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name != CONFIG_VARIABLE}
    given: dict[str, tuple[_Place, Any]] = {}
    errors: list[FieldError] = []
    if CONFIG_VARIABLE in environ:
        try:
            file = read_settings_file(environ[CONFIG_VARIABLE])
        except SettingsError as failure:
            errors += failure.errors
        else:
            bad = dict(_type_errors(file))
            errors += bad.values()
            keys = {key: (_Place(key, file), value) for key, value in file.values.items() if key not in bad}
            errors += _assign(given, keys, {name: name for name in Settings.model_fields}, _FILE)
    known = {variable_name(name): name for name in Settings.model_fields}
    pairs = {variable: (_Place(variable), variables[variable]) for variable in sorted(variables)}
    errors += _assign(given, pairs, known, _FILE.upper())
    values: dict[str, Any] = {}
    places: dict[str, _Place] = {}
    for name, (place, value) in given.items():
        if only is not None and name not in only:
            continue
        places[name] = place
        if not place.name.lower().endswith(_FILE):
            values[name] = value
            continue
        try:
            content = read_setting_file(Path(value), secret=name in _SECRETS)
            values[name] = content.decode("utf-8").rstrip("\r\n")
        except InsecureFile as insecure:
            errors.append(place.error(f"names an insecure file: {insecure}"))
        except (OSError, ValueError) as problem:  # the name may be a secret that was put into the wrong variable
            reason = problem.strerror if isinstance(problem, OSError) else _reason(problem)
            errors.append(place.error(f"names a file that cannot be read: {reason}"))
    return values, places, errors


def _reason(invalid: ValueError) -> str:
    return "it is not UTF-8" if isinstance(invalid, UnicodeDecodeError) else "not a file name"


def _line_of_error(error: FieldError) -> float:
    """The line of the settings file; errors of variables come after those of the file."""
    found = re.search(r":(\d+): [^:]*$", error.field)
    return int(found[1]) if found else math.inf


def _assign(
    given: dict[str, tuple[_Place, Any]],
    pairs: Mapping[str, tuple[_Place, Any]],
    known: Mapping[str, str],
    suffix: str,
) -> Iterator[FieldError]:
    """Enter variables or keys under the settings that they give, replacing those that are there."""
    for written, (place, value) in pairs.items():
        plain = written.removesuffix(suffix)
        if written in known:
            given[known[written]] = place, value
        elif plain in known and plain in pairs:
            yield place.error("")._replace(rule="must be left out", excluded_by=plain)
        elif plain in known:
            given[known[plain]] = place, value
        else:
            yield place.error("is not a setting" + _suggestion(place))


def _type_errors(file: SettingsFile) -> Iterator[tuple[str, FieldError]]:
    """Keys whose value has another type than their setting, and secrets that every user can read; and the errors."""
    for key, value in file.values.items():
        name = key if key in Settings.model_fields else key.removesuffix(_FILE)
        if name not in Settings.model_fields:
            if isinstance(value, dict):
                yield key, file.error(key, "is a table; settings are keys at the top of the file, such as port = 8080")
            continue
        allowed, rule = _TOML_TYPES[_kind(name)] if name == key else _TOML_TYPES[str]
        is_allowed = type(value) in allowed and (type(value) is not list or all(type(e) is str for e in value))
        if not is_allowed:
            yield key, file.error(key, f"{rule}; this is {file.kind_of(key)}")
        elif name == key and file.is_public and name in _SECRETS and _holds_secret(name, str(value)):
            yield key, file.secret_error(key)


_FILE = "_file"
_TOML_TYPES: Mapping[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "must be true or false, without quotes"),
    int: ((int,), "must be an integer, without quotes"),
    float: ((int, float), "must be a number, without quotes"),
    tuple: ((list,), 'must be an array of strings, such as ["a", "b"]'),
    str: ((str,), "must be a string, in quotes"),
}
"""By the type of a setting: the types of TOML that it can have, and the rule."""


def _kind(name: str) -> type:
    """The type of a setting's value, one of those in `_TOML_TYPES`."""
    annotation = Settings.model_fields[name].annotation
    kinds = {annotation, get_origin(annotation), *get_args(annotation)}
    return next((kind for kind in (bool, int, float, tuple) if kind in kinds), str)


def _holds_secret(name: str, value: str) -> bool:
    """Whether the value of this setting is a secret: of a URL, only a password is."""
    if not name.endswith("_url"):
        return True
    try:
        parts = urlsplit(value)
    except ValueError:
        return True
    return parts.password is not None or value.count("@") > 1 or bool(re.search("(?i)pass|secret|key", parts.query))


def _suggestion(place: _Place) -> str:
    """A suggestion of the setting with the most similar name, if there is one."""
    name = place.name.upper().removeprefix(PREFIX).removesuffix("_FILE").removesuffix("_FILE")
    known = [variable_name(field) for field in Settings.model_fields]
    known += [CONFIG_VARIABLE] if place.file is None else []
    nearest = difflib.get_close_matches(name, [v.removeprefix(PREFIX) for v in known], n=1, cutoff=SIMILARITY_MIN)
    if not nearest:
        return ""
    return f"; did you mean {nearest[0].lower() if place.file is not None else PREFIX + nearest[0]}?"
