"""`tokensvc keys generate`, `import`, `adopt`: keys that come to be, or come from elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tokensvc.aws.arn import parse_arn
from tokensvc.cli.keys.context import KeyId, OpenDeployment, select_regions, reference_time, open_for_write
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
        "--arn", help="A key pair that IVS holds already and that is this key; may be repeated, one a region."
    ),
]


def generate(as_json: AsJson = False) -> None:
    """Make a P-384 key pair, keep the private half encrypted, import the public half into IVS.

    Where no key signs it does, and a standby for the next rotation is made too, unless the policy says otherwise;
    elsewhere it stands ready.
    """
    with open_for_write() as opened:
        before = {record.id for record in opened.context.keys.list()}
        record = commands.generate(opened.context, opened.regions)
        standbys = [k for k in opened.context.keys.list() if k.id not in before and k.id != record.id]
        _print_key(opened, record, as_json, "", *map(_describe_standby, standbys))


def import_(
    file: Annotated[Path, typer.Argument(help="The private key's file; - reads standard input.")],
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="What opens it when it is encrypted; else a terminal is asked."),
    ] = None,
    arn: Arns = None,
    longest_ttl: Annotated[
        int,
        typer.Option(
            min=0, max=31_536_000, metavar="SECONDS", help="How long tokens that others minted with it may live."
        ),
    ] = 0,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Take over a P-384 private key in whatever form it is: PEM or DER, SEC1 or PKCS#8, encrypted, escaped, base64.

    Where IVS holds its public half already, that pair is adopted; elsewhere it is imported. From then on it stands
    ready.
    """
    pasted = _read_key_file(file, passphrase_file)
    print_progress(f"found {pasted.description}")
    with open_for_write() as opened:
        arns = _validated_arns(arn or [], opened.regions)
        before = opened.context.keys.list()
        record = importing.import_key(opened.context, pasted.private_key, opened.regions, arns, longest_ttl)
        _print_key(opened, record, as_json, pasted.description)
    if detailed_exit_code and record in before:
        raise typer.Exit(NOTHING_TO_DO)


def adopt(
    key_id: KeyId,
    arn: Arns = None,
    detailed_exit_code: DetailedExitCode = False,
    as_json: AsJson = False,
) -> None:
    """Take over key pairs that IVS holds already as this key's: they get our tags and are recorded."""
    if not arn:
        raise InvalidRequest([FieldError("--arn", "must be given: the key pair to adopt")])
    with open_for_write() as opened:
        arns = _validated_arns(arn, opened.regions)
        before = require_key(opened.context.keys.list(), key_id)
        record = importing.adopt_pairs(opened.context, key_id, arns)
        _print_key(opened, record, as_json, "")
    if detailed_exit_code and record == before:
        raise typer.Exit(NOTHING_TO_DO)


def _read_key_file(file: Path, passphrase_file: Path | None) -> ParsedKey:
    """The key in the file; a terminal is asked for the passphrase that it needs.

    A key in the clear is refused when others may use its file; one that is encrypted may lie anywhere, its passphrase
    may not.
    """
    if str(file) == "-":
        data, status = sys.stdin.buffer.read(MAX_BYTES + 1), None
    else:
        with _as_parameter_error("FILE"), file.open("rb") as opened:
            data, status = opened.read(MAX_BYTES + 1), os.fstat(opened.fileno())
    try:
        pasted = parse_private_key(data)
    except WrongPassphrase as failure:
        return parse_private_key(data, _read_passphrase(passphrase_file, failure))
    if status is not None:
        with _as_parameter_error("FILE"):
            check_private(file, status)
    return pasted


def _read_passphrase(file: Path | None, needed: WrongPassphrase) -> bytes:
    if file is not None:
        with _as_parameter_error("--passphrase-file"):
            return read_private_file(file).rstrip(b"\r\n")
    if not sys.stdin.isatty():
        raise WrongPassphrase(f"{needed.message}; give --passphrase-file")
    asked: str = typer.prompt("Passphrase of this private key", hide_input=True, err=True)
    return asked.encode()


@contextmanager
def _as_parameter_error(parameter: str) -> Iterator[None]:
    """A file that is insecure, or cannot be read, is a wrong value of this parameter."""
    try:
        yield
    except InsecureFile as insecure:
        raise InvalidRequest([FieldError(parameter, f"names a file that is not safe: {insecure}")]) from None
    except OSError as problem:
        raise InvalidRequest([FieldError(parameter, f"names a file that cannot be read: {problem}")]) from None


def _validated_arns(arns: list[str], regions: tuple[str, ...]) -> list[str]:
    """These ARNs of key pairs. Raises InvalidRequest naming each that is none, or of no region of ours."""
    errors, seen = [], set()
    for arn in arns:
        try:
            region = parse_arn(arn, "playback-key").account_region.region
            select_regions(regions, [region])
        except ValueError as rule:
            errors.append(FieldError("--arn", str(rule)))
        except InvalidRequest as strange:
            errors.append(strange.errors[0]._replace(field="--arn"))
        else:
            if region in seen:
                errors.append(FieldError("--arn", f"names two key pairs in {region}"))
            seen.add(region)
    if errors:
        raise InvalidRequest(errors)
    return arns


def _describe_standby(record: KeyRecord) -> str:
    """What became of a key that was made although nobody asked for it."""
    places = ", ".join(f"{placement.state} in {placement.account_region.region}" for placement in record.placements) or "not imported yet"
    return f"Key {record.id} is {places}: a standby for the next rotation (TOKENSVC_KEY_STANDBY)."


def _print_key(opened: OpenDeployment, record: KeyRecord, as_json: bool, description: str, *more: str) -> None:
    shown = key_view(record, reference_time(opened.settings, opened.store))
    lines = []
    for placement in record.placements:
        stands = "signs" if placement.state is KeyState.ACTIVE else f"is {placement.state}"
        lines.append(f"Key {record.id} {stands} in {placement.account_region.region} as {placement.arn}.")
    lines.append(f"Fingerprint {record.fingerprint}.")
    if any(placement.state is KeyState.PREPARED for placement in record.placements):
        lines.append(f"To sign with it: tokensvc keys activate {record.id}")
    data = shown.model_dump(mode="json") | ({"found": description} if description else {})
    print_result(data, as_json, *lines, *more)
