"""Settings from `TOKENSVC_…` environment variables, read once; all errors are reported together.

Invariants
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
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from tokensvc.callers.policy import MAX_CONFIGURABLE_TTL_SECONDS
from tokensvc.errors import FieldError, SettingsError
from tokensvc.secret_files import InsecureFile, read_setting_file
from tokensvc.validation_errors import field_errors

PREFIX = "TOKENSVC_"
PASSPHRASE_MIN_CHARS = 12
SIMILARITY_MIN = 0.62
"""How similar a setting's name must be to be suggested: between PROXIES for TRUSTED_PROXIES, which is right, and
REDIS_URL for DATABASE_URL, which is wrong."""
_REPEATABLE = re.compile(r"[A-Za-z0-9.:/_*-]{1,20}|(?=.*[.:/])[0-9a-fA-F.:/]{1,50}")
"""The list entries that a message may repeat: short names and addresses. Passphrases and keys are longer."""


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(dict.fromkeys(filter(None, map(str.strip, value.split(",")))))


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
    problems = [problem for number, entry in enumerate(entries, 1) if (problem := _proxy_problem(entry, number))]
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
    return url


_DATABASE = re.compile(r"(postgres|postgresql|postgresql\+psycopg|sqlite|sqlite\+pysqlite)://")


def _require_length(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value) < PASSPHRASE_MIN_CHARS:
        raise ValueError(f"must have at least {PASSPHRASE_MIN_CHARS} characters")
    return value


_Regions = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_require_regions)]
_Proxies = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_require_proxies)]
_DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_require_database)]


def _matching(pattern: str, rule: str) -> AfterValidator:
    """A pattern whose message is the rule instead of the pattern."""

    def check(value: str | None) -> str | None:
        if value is not None and not re.fullmatch(pattern, value):
            raise ValueError(rule)
        return value

    return AfterValidator(check)


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
    _matching(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+",
        "must be the ARN of a KMS key: arn:aws:kms:REGION:ACCOUNT:key/ID",
    ),
]
_Vault = Annotated[
    str | None, _matching(r"store|(shared-)?file:.+", "must be `store`, `file:DIR` or `shared-file:DIR`")
]


class Settings(BaseModel):
    """Every setting with its default and description."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True, extra="forbid")

    control_plane: Literal["aws", "local"] | None = Field(
        None,
        description="The IVS to use: `aws` or `local`. No default, so that production never runs on the local IVS by "
        "accident",
    )
    database_url: _DatabaseUrl = Field(
        None, description="URL of the store: `postgresql://…` or `sqlite:////absolute/path.db`. No default"
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on: `0.0.0.0` and `::` are all of IPv4 and of IPv6"
    )
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="If set, `/metrics`, `/v1/status` and `/v1/keys…` are served only on this port, on loopback; "
        "`/livez`, `/readyz` and `/openapi.json` are served on both. 0 picks a free one",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Number of worker processes. A process signs on one core: use one for each core that tokensvc may "
        "have",
    )
    background_tasks: bool = Field(
        True,
        description="Whether `tokensvc serve` also rotates keys, dispatches revocations to IVS and prunes old rows; "
        "set `false` if `tokensvc worker` runs for that",
    )
    regions: _Regions = Field(
        (), description="AWS regions to import keys into, comma-separated. Default: boto3's region"
    )
    vault: _Vault = Field(
        None,
        description="Where private keys are stored: `store`, `file:DIR`, or `shared-file:DIR` for a directory that all "
        "machines share. Default: `store` with PostgreSQL, `file:keys` with SQLite",
    )
    passphrase: _Passphrase = Field(
        None,
        description="Encrypts every private key, unless `TOKENSVC_KMS_KEY_ARN` is set. Use 32 random bytes as hex: "
        "`openssl rand -hex 32`. No default",
    )
    kms_key_arn: _KmsKeyArn = Field(
        None,
        description="A symmetric AWS KMS key that encrypts every private key; a passphrase that is also set then only "
        "decrypts",
    )
    previous_passphrase: _Passphrase = Field(
        None, description="The former passphrase, for decryption only, until `tokensvc keys rewrap` has finished"
    )
    previous_kms_key_arn: _KmsKeyArn = Field(
        None, description="The former KMS key, for decryption only, until `tokensvc keys rewrap` has finished"
    )
    max_ttl_seconds: _Ceiling = Field(
        None,
        ge=1,
        description="The longest lifetime of any token. Stored in the database (initially 3600) by `tokensvc db "
        "upgrade`",
    )
    key_propagation_seconds: _PropagationSeconds = Field(
        None,
        ge=0,
        description="How long to wait after importing a key into IVS before it signs, because AWS documents no "
        "propagation delay; 0 only with the local IVS. Stored in the database (initially 30) by `tokensvc db upgrade`",
    )
    key_max_age_days: _MaxAge = Field(
        None,
        ge=0,
        description="Age at which a key is rotated automatically; 0: only on request. Stored in the database "
        "(initially 0) by `tokensvc db upgrade`",
    )
    key_standby: bool | None = Field(
        None,
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
        description="How long the first token request for an unknown channel waits for its playback URL; without one "
        "by then, the response has none. 0: do not wait",
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
        description="IP addresses and networks (`10.0.0.0/8`) whose `X-Forwarded-For` is trusted, comma-separated, "
        "for the client's address in the access log; `*` trusts every client",
    )
    access_log: bool = Field(
        True, description="Whether to log one line for each request, except successful probes and scrapes"
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="Format of log lines: `json`, or `console` for people"
    )


_SECRETS = frozenset(name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation))
"""Settings whose files other users must not be able to read."""


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError with an error for each bad variable."""
    values, errors = _collect(environ)
    try:
        settings = Settings(**values)
    except ValidationError as invalid:
        errors += [FieldError(variable_name(e.field.partition("[")[0]), e.rule) for e in field_errors(invalid)]
    if errors:
        raise SettingsError(errors)
    return settings


def sources(environ: Mapping[str, str]) -> dict[str, str]:
    """For each setting, the source of its value: the variable's name, or `default`."""
    return {
        name: next((v for v in (variable_name(name), variable_name(name) + "_FILE") if v in environ), "default")
        for name in Settings.model_fields
    }


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


def _collect(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[FieldError]]:
    known = {variable_name(name): name for name in Settings.model_fields}
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for given in sorted(v for v in environ if v.startswith(PREFIX)):
        plain = given.removesuffix("_FILE")
        if given in known:
            values[known[given]] = environ[given]
        elif plain in known and plain in environ:
            errors.append(FieldError(given, "must be left out", excluded_by=plain))
        elif plain in known:
            try:
                content = read_setting_file(Path(environ[given]), secret=known[plain] in _SECRETS)
                values[known[plain]] = content.decode("utf-8").rstrip("\r\n")
            except InsecureFile as insecure:
                errors.append(FieldError(given, f"names an insecure file: {insecure}"))
            except (OSError, UnicodeDecodeError) as problem:
                errors.append(FieldError(given, f"names a file that cannot be read: {problem}"))
        else:
            errors.append(FieldError(given, "is not a setting" + _suggestion(given)))
    return values, errors


def _suggestion(unknown: str) -> str:
    """A suggestion of the setting with the most similar name, if there is one."""
    name = unknown.removeprefix(PREFIX).upper().removesuffix("_FILE").removesuffix("_FILE")
    known = [field.upper() for field in Settings.model_fields]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=SIMILARITY_MIN)
    return f"; did you mean {PREFIX}{nearest[0]}?" if nearest else ""
