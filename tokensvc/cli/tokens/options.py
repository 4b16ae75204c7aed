"""Errors of a request that was made from options name the options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tokensvc.cli.context import to_option_error
from tokensvc.errors import FieldError, InvalidRequest


@contextmanager
def named_options(options: Mapping[str, str]) -> Iterator[None]:
    """An InvalidRequest raised inside names the option of each field, where there is one."""
    try:
        yield
    except InvalidRequest as invalid:
        if not invalid.errors:
            raise
        raise InvalidRequest(option_errors(invalid.errors, options)) from None


def option_errors(errors: Sequence[FieldError], options: Mapping[str, str]) -> list[FieldError]:
    """The same errors for the options that set the fields; a member of a field belongs to the field's option."""
    whole = [error._replace(field=error.field.partition(".")[0]) for error in errors]
    return [to_option_error(error, options) for error in whole]
