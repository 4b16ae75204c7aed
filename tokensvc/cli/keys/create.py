"""`tokensvc keys generate`, `import`, `adopt`: creates keys, or takes over existing ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.aws.arn import parse_arn
from tokensvc.cli.durations import duration_option
from tokensvc.cli.help import KEY_ID, examples
from tokensvc.cli.keys.context import KeyId, KeysSession, open_for_write, reference_time, require_configured_regions
from tokensvc.cli.output import NOTHING_TO_DO, AsJson, DetailedExitCode, print_progress, print_result
from tokensvc.errors import FieldError, InvalidRequest, WrongPassphrase
from tokensvc.keys import commands, importing
from tokensvc.keys.key_import import MAX_BYTES, ParsedKey, parse_private_key
from tokensvc.keys.lifecycle import KeyRecord, KeyState, require_key
from tokensvc.keys.views import key_view
from tokensvc.secret_files import InsecureFile, check_private, read_private_file

Arns = Annotated[
    list[str] | None,
    typer.Option(
        "--arn",
        metavar="ARN",
        help="ARN of a key pair of this key that is already in IVS; may be repeated, once per region.",
    ),
]


@examples(
    ("Create the first key, or a standby", "tokensvc keys generate"),
)
def generate(as_json: AsJson = False) -> None:
    """Create a P-384 key pair, store the private key encrypted and import the public key into IVS.

    Where no key is active the new key becomes active, and a standby is created too (TOKENSVC_KEY_STANDBY).
    Elsewhere it stays prepared until a rotation uses it.
    """
    with open_for_write() as opened:
        before = {record.id for record in opened.context.keys.list()}
        record = commands.generate(opened.context, opened.regions)
        standbys = [k for k in opened.context.keys.list() if k.id not in before and k.id != record.id]
        _print_key(opened, record, as_json, "", *map(_describe_standby, standbys))


@examples(
    ("Import a private key from a file", "tokensvc keys import private.pem"),
    (
        "An encrypted one that IVS knows, with tokens of up to 6 hours",
        'tokensvc keys import encrypted.pem --passphrase-file passphrase.txt --arn "$KEY_PAIR" --longest-ttl 6h',
    ),
    ("From standard input", "openssl pkey -in private.pem | tokensvc keys import -"),
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File with the private key; - reads standard input.")],
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File with the passphrase of an encrypted key. Default: prompt on a terminal."
        ),
    ] = None,
    arn: Arns = None,
    longest_ttl: Annotated[
        int,
        duration_option(
            at_most=365 * 86_400,
            show_default="0s",
            help="Maximum lifetime of tokens that other applications have signed with the key.",
        ),
    ] = 0,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Import an existing P-384 private key: PEM or DER, SEC1 or PKCS#8, encrypted, escaped or base64-encoded.

    Where its public key is already in IVS, that key pair is adopted; elsewhere it is imported.
    The key is then prepared: `tokensvc keys activate` makes it the active one.
    """
    parsed = _read_key_file(file, passphrase_file)
    print_progress(f"found {parsed.description}")
    with open_for_write() as opened:
        arns = _validated_arns(arn or [], opened.regions)
        before = opened.context.keys.list()
        record = importing.import_key(opened.context, parsed.private_key, opened.regions, arns, longest_ttl)
        _print_key(opened, record, as_json, parsed.description)
    if detailed_exit_code and record in before:
        raise typer.Exit(NOTHING_TO_DO)


@examples(
    ("Adopt a key pair that another application imported", f'tokensvc keys adopt {KEY_ID} --arn "$KEY_PAIR"'),
)
def adopt(
    key_id: KeyId,
    arn: Arns = None,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Adopt key pairs of this key that are already in IVS: they are tagged and recorded."""
    if not arn:
        raise InvalidRequest([FieldError("--arn", "is required: the key pair to adopt")])
    with open_for_write() as opened:
        arns = _validated_arns(arn, opened.regions)
        before = require_key(opened.context.keys.list(), key_id)
        record = importing.adopt_pairs(opened.context, key_id, arns)
        _print_key(opened, record, as_json, "")
    if detailed_exit_code and record == before:
        raise typer.Exit(NOTHING_TO_DO)


def _read_key_file(file: Path, passphrase_file: Path | None) -> ParsedKey:
    """The key in the file; prompts for a passphrase on a terminal if the key needs one.

    An unencrypted key is rejected if other users can access its file. The file of an encrypted key is not checked, that
    of its passphrase is.
    """
    if str(file) == "-":
        data, status = sys.stdin.buffer.read(MAX_BYTES + 1), None
    else:
        with _as_parameter_error("FILE"), file.open("rb") as opened:
            data, status = opened.read(MAX_BYTES + 1), os.fstat(opened.fileno())
    try:
        parsed = parse_private_key(data)
    except WrongPassphrase as failure:
        return parse_private_key(data, _read_passphrase(passphrase_file, failure))
    if status is not None:
        with _as_parameter_error("FILE"):
            check_private(file, status)
    return parsed


def _read_passphrase(file: Path | None, needed: WrongPassphrase) -> bytes:
    if file is not None:
        with _as_parameter_error("--passphrase-file"):
            return read_private_file(file).rstrip(b"\r\n")
    if not sys.stdin.isatty():
        raise WrongPassphrase(f"{needed.message}; pass --passphrase-file")
    passphrase: str = typer.prompt("Passphrase of the private key", hide_input=True, err=True)
    return passphrase.encode()


@contextmanager
def _as_parameter_error(parameter: str) -> Iterator[None]:
    """Turn the error of an insecure or unreadable file into one of this parameter. Raises InvalidRequest."""
    try:
        yield
    except InsecureFile as insecure:
        raise InvalidRequest([FieldError(parameter, f"names an insecure file: {insecure}")]) from None
    except OSError as problem:
        raise InvalidRequest([FieldError(parameter, f"names a file that cannot be read: {problem}")]) from None


def _validated_arns(arns: list[str], regions: tuple[str, ...]) -> list[str]:
    """The same ARNs. Raises InvalidRequest naming each that is malformed or not in a configured region."""
    errors, seen = [], set()
    for arn in arns:
        try:
            region = parse_arn(arn, "playback-key").account_region.region
            require_configured_regions(regions, [region])
        except ValueError as rule:
            errors.append(FieldError("--arn", str(rule)))
        except InvalidRequest as invalid:
            errors.append(invalid.errors[0]._replace(field="--arn"))
        else:
            if region in seen:
                errors.append(FieldError("--arn", f"names two key pairs in {region}"))
            seen.add(region)
    if errors:
        raise InvalidRequest(errors)
    return arns


def _describe_standby(record: KeyRecord) -> str:
    """One line about a standby key, which was created without being requested."""
    states = (
        ", ".join(f"{placement.state} in {placement.account_region.region}" for placement in record.placements)
        or "not imported yet"
    )
    return f"Key {record.id} is {states}: a standby for the next rotation (TOKENSVC_KEY_STANDBY)."


def _print_key(opened: KeysSession, record: KeyRecord, as_json: bool, description: str, *more: str) -> None:
    shown = key_view(record, reference_time(opened.settings, opened.store))
    lines = [f"Key {record.id} is {p.state} in {p.account_region.region}: {p.arn}" for p in record.placements]
    lines.append(f"Fingerprint: {record.fingerprint}")
    if any(placement.state is KeyState.PREPARED for placement in record.placements):
        lines.append(f"To make it the active key: tokensvc keys activate {record.id}")
    data = shown.model_dump(mode="json") | ({"sourceFormat": description} if description else {})
    print_result(data, as_json, *lines, *more)
