"""What the environment may say: `TOKENSVC_…` variables, read once, all faults reported at once.

Rules of the file
- Every setting may also come from a file: `TOKENSVC_X_FILE` names one that holds the value. Giving both is a fault, and
  so is a file that another user controls (`secret_files.py`).
- An unknown `TOKENSVC_…` variable is a fault: a typing error never goes unnoticed. One that resembles a setting is
  answered with that setting's name.
- A message repeats a value only where it can be no secret that was put into the wrong variable.
- What a command cannot do without has no default here; `require` names what is missing.
- AWS's own variables (region, credentials, endpoint) are boto3's and are not repeated here.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from tokensvc.callers.policy import MAX_CONFIGURABLE_TTL_SECONDS
from tokensvc.errors import FieldError, SettingsError
from tokensvc.secret_files import InsecureFile, read_setting_file
from tokensvc.validation_errors import field_errors

PREFIX = "TOKENSVC_"
PASSPHRASE_MIN_CHARS = 12
SIMILARITY_MIN = 0.62
"""How similar a known setting's name must be to be suggested: between PROXIES for TRUSTED_PROXIES, which is right, and
REDIS_URL for DATABASE_URL, which is not."""
_REPEATABLE = re.compile(r"[A-Za-z0-9.:/_*-]{1,20}|(?=.*[.:/])[0-9a-fA-F.:/]{1,50}")
"""What may be repeated of a list's entry: short names and addresses. Passphrases and keys are longer."""


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
        verb = "is no region" if len(unknown) == 1 else "are no regions"
        known = ", ".join(sorted(ivs_regions()))
        raise ValueError(f"{', '.join(unknown)} {verb} of Amazon IVS by the installed botocore; these are: {known}")
    return regions


def _require_proxies(entries: tuple[str, ...]) -> tuple[str, ...]:
    """uvicorn takes anything else for a literal name, which equals the address of no TCP client."""
    if entries == ("*",):
        return entries
    problems = [problem for number, entry in enumerate(entries, 1) if (problem := _proxy_problem(entry, number))]
    if problems:
        raise ValueError("; ".join(problems))
    return entries


def _proxy_problem(entry: str, number: int) -> str:
    """Why this is no address or network of a proxy; "" when it is one."""
    if entry == "*":
        return "* must stand alone: it trusts every client"
    try:
        ipaddress.ip_network(entry) if "/" in entry else ipaddress.ip_address(entry)
    except ValueError:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return f"{_named(entry, number)} is neither an IP address nor a network (10.0.0.0/8)"
        return f"{_named(entry, number)} has host bits set; the network is {network}"
    return ""


def _named(entry: str, number: int) -> str:
    return entry if _REPEATABLE.fullmatch(entry) else f"entry {number}"


def _require_database(url: SecretStr | None) -> SecretStr | None:
    if url is not None and not _DATABASE.match(url.get_secret_value()):
        raise ValueError("must begin with postgresql:// or sqlite:///")
    return url


_DATABASE = re.compile(r"(postgres|postgresql|postgresql\+psycopg|sqlite|sqlite\+pysqlite)://")


def _long_enough(value: SecretStr | None) -> SecretStr | None:
    if value is not None and len(value) < PASSPHRASE_MIN_CHARS:
        raise ValueError(f"must have at least {PASSPHRASE_MIN_CHARS} characters")
    return value


_Regions = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_require_regions)]
_Proxies = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_require_proxies)]
_DatabaseUrl = Annotated[SecretStr | None, AfterValidator(_require_database)]


def _at_most(limit: int, rule: str) -> AfterValidator:
    """An upper bound that is refused with the rule behind it."""

    def check(value: float | None) -> float | None:
        if value is not None and value > limit:
            raise ValueError(f"must be at most {limit}: {rule}")
        return value

    return AfterValidator(check)


_Ceiling = Annotated[
    int | None,
    _at_most(
        MAX_CONFIGURABLE_TTL_SECONDS,
        "a week, since a key pair stays in IVS until the longest token that it signed has ended, and IVS holds three",
    ),
]
_Lead = Annotated[float | None, _at_most(86_400, "a day, since no new key signs before that time has passed")]
_MaxAge = Annotated[float | None, _at_most(3650, "ten years; 0 replaces keys only when asked")]
_Passphrase = Annotated[SecretStr | None, AfterValidator(_long_enough)]
_KmsKeyArn = Annotated[str | None, Field(pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$")]


class Settings(BaseModel):
    """Every setting, its default and what it means."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True, extra="forbid")

    control_plane: Literal["aws", "local"] | None = Field(
        None,
        description="Where keys live: `aws` or `local`. No default: production never runs on the local IVS by accident",
    )
    database_url: _DatabaseUrl = Field(
        None, description="The store: `postgresql://…` or `sqlite:////absolute/path.db`. No default"
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one")
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="When set, `/metrics`, `/v1/status` and `/v1/keys…` are served there, on loopback, and no longer "
        "on the main port; `/livez`, `/readyz` and `/openapi.json` are on both",
    )
    workers: int = Field(1, ge=1, le=256, description="Processes that serve; one a core is a good number")
    background_tasks: bool = Field(
        True,
        description="Whether `tokensvc serve` also rotates keys and dispatches revocations; `false` where "
        "`tokensvc worker` does",
    )
    regions: _Regions = Field(
        (), description="AWS regions to hold keys in, comma-separated; without it, boto3's own region"
    )
    vault: str | None = Field(
        None,
        pattern=r"^(store|(shared-)?file:.+)$",
        description="Where private keys rest: `store`, `file:DIR`, or `shared-file:DIR`, a directory that all machines "
        "share. Without it `store` with PostgreSQL, `file:keys` with SQLite",
    )
    passphrase: _Passphrase = Field(
        None,
        description="Wraps every private key, unless `TOKENSVC_KMS_KEY_ARN` does. Best 32 random bytes as hex: "
        "`openssl rand -hex 32`. No default",
    )
    kms_key_arn: _KmsKeyArn = Field(
        None,
        description="A symmetric AWS KMS key that wraps every private key; a passphrase beside it then only opens "
        "what it wrapped before",
    )
    previous_passphrase: _Passphrase = Field(
        None, description="Opens what it wrapped before, until `tokensvc keys rewrap` is done"
    )
    previous_kms_key_arn: _KmsKeyArn = Field(
        None, description="Opens what it wrapped before, until `tokensvc keys rewrap` is done"
    )
    max_ttl_seconds: _Ceiling = Field(
        None,
        ge=1,
        description="The ceiling for every token's life; kept in the store (first 3600), set by `tokensvc db upgrade`",
    )
    key_propagation_seconds: _Lead = Field(
        None,
        ge=0,
        description="How long IVS holds a new key before it signs; its propagation delay is not documented; 0 for the "
        "local IVS alone. Kept in the store (first 30), set by `tokensvc db upgrade`",
    )
    key_max_age_days: _MaxAge = Field(
        None,
        ge=0,
        description="After so long the next key takes over by itself; 0: only when asked. Kept in the store (first 0), "
        "set by `tokensvc db upgrade`",
    )
    key_standby: bool | None = Field(
        None,
        description="Whether a prepared key stands ready in IVS wherever a slot is free. Kept in the store (first "
        "true), set by `tokensvc db upgrade`",
    )
    snapshot_lease_seconds: float = Field(
        900.0, ge=2, le=86_400, description="How long a worker goes on signing without having reached its store"
    )
    store_timeout_seconds: float = Field(5.0, gt=0, le=60, description="How long one question to the store may take")
    channel_lookup_timeout_seconds: float = Field(
        0.3, ge=0, le=5, description="How long the first ask for an unknown channel waits for its playback URL"
    )
    channel_calls_per_second: float = Field(
        1.0, gt=0, le=5, description="BatchGetChannel calls a second, for the whole deployment in one region"
    )
    revocation_rate_fraction: float = Field(
        0.8,
        gt=0,
        le=1,
        description="How much of IVS's rates for revocations is ours; what else uses the AWS account has the rest",
    )
    signer: Literal["auto", "multibuffer", "aws-lc", "openssl"] = Field(
        "auto", description="What signs: multibuffer, aws-lc, openssl, or with auto the first of them that works here"
    )
    shutdown_delay_seconds: float = Field(
        5.0,
        ge=0,
        le=15,
        description="How long a worker that was told to stop goes on serving, unready, so that balancers notice",
    )
    trusted_proxies: _Proxies = Field(
        (),
        description="IP addresses and networks (`10.0.0.0/8`) whose `X-Forwarded-For` is trusted, comma-separated; `*` "
        "alone trusts every client",
    )
    access_log: bool = Field(True, description="One line a request in the log, but for probes and scrapes that succeed")
    log_format: Literal["json", "console"] = Field("json", description="How log lines look")


_SECRETS = frozenset(name for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation))
"""What other users must not read."""


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError listing every bad variable."""
    values, errors = _collect(environ)
    try:
        settings = Settings(**values)
    except ValidationError as invalid:
        errors += [FieldError(variable_name(e.field.partition("[")[0]), e.rule) for e in field_errors(invalid)]
    if errors:
        raise SettingsError(errors)
    return settings


def sources(environ: Mapping[str, str]) -> dict[str, str]:
    """For each setting, where its value is from: the variable's name, or `default`."""
    return {
        name: next((v for v in (variable_name(name), variable_name(name) + "_FILE") if v in environ), "default")
        for name in Settings.model_fields
    }


def variable_name(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def require(settings: Settings, *fields: str) -> None:
    """Raise SettingsError naming those of these settings that are missing."""
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
                errors.append(FieldError(given, f"names a file that is not safe: {insecure}"))
            except (OSError, UnicodeDecodeError) as problem:
                errors.append(FieldError(given, f"names a file that cannot be read: {problem}"))
        else:
            errors.append(FieldError(given, "is not a setting" + _suggestion(given)))
    return values, errors


def _suggestion(unknown: str) -> str:
    """The setting whose name this resembles, if there is one."""
    name = unknown.removeprefix(PREFIX).upper().removesuffix("_FILE").removesuffix("_FILE")
    known = [field.upper() for field in Settings.model_fields]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=SIMILARITY_MIN)
    return f"; the nearest one is {PREFIX}{nearest[0]}" if nearest else ""
