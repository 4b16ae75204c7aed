"""The seed file of a local IVS: what an account has from the start, as TOML.

    [channels.main]
    authorized = true
    live = true
    tags = { team = "web" }
    restriction_policy = "europe"

    [playback_key_pairs.backend]
    public_key = \"\"\"
    -----BEGIN PUBLIC KEY-----
    …
    -----END PUBLIC KEY-----
    \"\"\"

    [restriction_policies.europe]
    allowed_countries = ["DE", "FR"]

Invariants
- A file is valid as a whole or not at all. Every error has the file, its line, the member and the rule, and never
  repeats a value.
- It holds public keys only. A private key is refused, since the file is committed beside tests.
- Rules of IVS, such as which names a channel may have, are left to the operations that create the resources
  (`seeding.py`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tokensvc.errors import FieldError, InvalidKey, SettingsError
from tokensvc.local_ivs.resources.playback_key_pairs import strict_der
from tokensvc.printable import printable
from tokensvc.toml_positions import line_of
from tokensvc.validation_errors import MAX_ERRORS, field_errors, shown_path

MAX_BYTES = 1024 * 1024
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def _require_public_key(material: str) -> str:
    """The one PEM block, without the line ends that TOML puts around it."""
    try:
        strict_der(material)
    except InvalidKey as problem:
        raise ValueError(problem.message) from None
    return material.strip() + "\n"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class ChannelSeed(_Table):
    """A channel; its table's name is the channel's."""

    authorized: bool = False
    """Whether it is private: playback needs a token."""
    live: bool | None = None
    """Whether it is live: true starts its stream, false stops it, None leaves it live or not."""
    tags: dict[str, str] = Field(default_factory=dict)
    restriction_policy: str | None = None
    """The name of a policy of the same file."""


class KeyPairSeed(_Table):
    """A playback key pair."""

    public_key: Annotated[str, AfterValidator(_require_public_key)]
    """The public key as PEM, as `openssl ec -pubout` writes it."""
    tags: dict[str, str] = Field(default_factory=dict)


class RestrictionPolicySeed(_Table):
    """A playback restriction policy."""

    allowed_countries: list[str] = Field(default_factory=list)
    allowed_origins: list[str] = Field(default_factory=list)
    strict_origin_enforcement: bool = False
    tags: dict[str, str] = Field(default_factory=dict)


class Seed(_Table):
    """The resources of a seed file, by name."""

    region: str | None = None
    """None: the default region of the server that applies the file."""
    channels: dict[str, ChannelSeed] = Field(default_factory=dict)
    playback_key_pairs: dict[str, KeyPairSeed] = Field(default_factory=dict)
    restriction_policies: dict[str, RestrictionPolicySeed] = Field(default_factory=dict)


class SeedFile(NamedTuple):
    """A seed file that has been read."""

    path: str
    text: str
    seed: Seed

    def error(self, path: Sequence[str | int], rule: str) -> FieldError:
        """The error that what is at this path breaks the rule, with its line."""
        return FieldError(f"{self.path}:{line_of(self.text, path)}: {shown_path(path)}", rule)


def read_seed_file(file: str | PathLike[str]) -> SeedFile:
    """Read and check a seed file. Raises SettingsError naming every error."""
    path = printable(str(file))
    text = _read(file, path)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as invalid:
        raise SettingsError([_syntax_error(path, invalid)]) from None
    try:
        seed = Seed.model_validate(document)
    except ValidationError as invalid:
        raise SettingsError(_located(path, text, invalid)) from None
    found = SeedFile(path, text, seed)
    if errors := [found.error(location, rule) for location, rule in _inconsistencies(seed)]:
        raise SettingsError(errors)
    return found


def _read(file: str | PathLike[str], path: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise SettingsError([FieldError(path, f"is larger than {MAX_BYTES // 1024} KiB")])
        return content.decode()
    except UnicodeDecodeError as invalid:
        line = content.count(b"\n", 0, invalid.start) + 1
        raise SettingsError([FieldError(f"{path}:{line}", "is not UTF-8")]) from None
    except (OSError, ValueError) as problem:  # ValueError: the name contains NUL
        reason = problem.strerror if isinstance(problem, OSError) else "not a file name"
        raise SettingsError([FieldError(path, f"cannot be read: {reason}")]) from None


def _syntax_error(path: str, invalid: Exception) -> FieldError:
    if not isinstance(invalid, tomllib.TOMLDecodeError):
        return FieldError(path, "is nested too deeply, or a number has too many digits")
    found = _AT_LINE.search(str(invalid))
    if found is None:
        return FieldError(path, f"is not TOML: {invalid}")
    return FieldError(f"{path}:{found[1]}", f"is not TOML: {str(invalid)[: found.start()]}")


def _located(path: str, text: str, invalid: ValidationError) -> list[FieldError]:
    """pydantic's errors with their lines, in the order of these, and how many more there are."""
    locations = [error["loc"] for error in invalid.errors(include_url=False, include_input=False)][:MAX_ERRORS]
    errors, lines = field_errors(invalid), [line_of(text, location) for location in locations]
    ordered = sorted(zip(lines, errors, strict=False), key=lambda pair: pair[0])
    first = [FieldError(f"{path}:{line}: {error.field}", error.message) for line, error in ordered]
    return first + errors[len(first) :]


def _inconsistencies(seed: Seed) -> Iterator[tuple[Sequence[str | int], str]]:
    """Where the file contradicts itself: the path and the rule of each place."""
    for name, channel in seed.channels.items():
        policy = channel.restriction_policy
        if policy is not None and policy not in seed.restriction_policies:
            yield ("channels", name, "restriction_policy"), "must name one of the file's restriction_policies"
    first: dict[str, str] = {}
    for name, pair in seed.playback_key_pairs.items():
        owner = first.setdefault("".join(pair.public_key.split()), name)
        if owner != name:
            yield ("playback_key_pairs", name, "public_key"), f"is that of {owner} too, and must be imported only once"
