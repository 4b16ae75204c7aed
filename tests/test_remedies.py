"""Errors and problems are data; only the command line and HTTP put them into words and commands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tokensvc
from docs.generator.error_codes import error_kinds
from tests.support.problems import make_problem
from tokensvc import errors
from tokensvc.cli.lazy_group import COMMANDS
from tokensvc.cli.remedies import command_of, failure_text, hint_of, problem_sentence
from tokensvc.diagnostics import problems
from tokensvc.errors import Action, FieldError, Remedy, SchemaMismatch, SettingsError
from tokensvc.http import problem_details
from tokensvc.problems import TEXTS, Problem, ProblemCode, problem_text

ROOT = Path(tokensvc.__file__).parent
USER_INTERFACES = {"cli", "settings", "supervisor", "__init__", "__main__"}
"""The packages that put remedies into words, or that implement commands and settings."""
FILES = sorted(
    path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0].removesuffix(".py") not in USER_INTERFACES
)
COMMAND_OR_VARIABLE = re.compile(rf"\btokensvc ({'|'.join(COMMANDS)})\b|\bTOKENSVC_[A-Z]")

ALLOWED = {
    "http/error_codes.py": "the reference of error codes says what an operator of the service does",
    "web/routes.py": "the reference of the HTTP API says which settings change an operation",
    "container/control_plane.py": "it checks required settings by name",
    "container/demo_page.py": "the page of the demo shows commands to try",
    "container/deployment.py": "it says how to restore a damaged limit",
    "container/vault.py": "it checks the settings of the vault by name",
    "settings_file.py": "it has the name of the variable that names the file",
    "testing/token_service.py": "it configures a service by the variables that one reads",
    "local_ivs/sigv4.py": "the local IVS is run by a command, whose option accepts other regions",
    "jose/signing/native/build_backend.py": "a switch of the build, not a setting of the service",
}
"""The files that may name one, with the reason."""

ALL_PARAMETERS = {
    name: name
    for name in ("key_id", "arn", "region", "target", "path", "key_ids", "foreign", "candidates", "signer", "reason")
}


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string literal of a module that is not a docstring."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_command_or_variable_is_named_outside_the_user_interfaces(path: Path) -> None:
    found = [text for text in strings(ast.parse(path.read_text("utf-8"))) if COMMAND_OR_VARIABLE.search(text)]
    assert bool(found) == (str(path.relative_to(ROOT)) in ALLOWED), found


@pytest.mark.parametrize("action", Action)
def test_every_remedy_has_a_command(action: Action) -> None:
    remedy = Remedy(action, ALL_PARAMETERS)
    assert re.fullmatch(r"[^()\n]+(\(id -un\)\S* ?[^()\n]*)?(   \(.+\))?", command_of(remedy))
    assert hint_of(remedy) == "" or hint_of(remedy)[0] in ".,;:"


@pytest.mark.parametrize("action", Action)
def test_http_describes_a_remedy_without_a_command(action: Action) -> None:
    for remedy in (Remedy(action), Remedy(action, ALL_PARAMETERS)):
        assert not COMMAND_OR_VARIABLE.search(problems.remedy_text(remedy))


def test_a_parameter_is_quoted_in_the_command_and_plain_in_the_note() -> None:
    assert command_of(Remedy(Action.PROTECT_FILE, {"path": "a b; c"})) == "chmod 600 'a b; c'"
    assert command_of(Remedy(Action.FREE_DISK_SPACE, {"target": "SQLite: a b"})).endswith("the store is: SQLite: a b)")


def test_an_error_is_a_sentence_with_its_remedy_before_the_detail() -> None:
    failure = SchemaMismatch("the store is empty", detail="SQLite: x", remedy=Remedy(Action.UPGRADE_SCHEMA))
    assert failure_text(failure) == "the store is empty; run `tokensvc db upgrade`: SQLite: x"
    assert problem_details.problem_details(failure)["detail"] == "the store is empty; its schema must be upgraded"
    assert failure_text(SettingsError([FieldError("signer", "is bad"), FieldError("--port", "is bad")])) == (
        "TOKENSVC_SIGNER: is bad\n--port: is bad"
    )


def test_the_remedy_for_a_full_quota_names_the_deletable_key_pairs() -> None:
    def hint(**parameters: str) -> str:
        return hint_of(Remedy(Action.FREE_KEY_SLOT, {"key_ids": "", **parameters}))

    assert hint() == ". To free a slot: tokensvc keys list --ivs"
    assert hint(key_ids="k1,k2", foreign="true") == (
        ". To free a slot: tokensvc keys delete k1, or tokensvc keys delete k2, or delete a key pair of another "
        "application"
    )


def test_the_remedy_for_an_unowned_key_pair_names_the_candidates() -> None:
    hint = hint_of(Remedy(Action.ADOPT_KEY_PAIR, {"key_id": "k1", "candidates": "a,b"}))
    assert hint == ". If it is yours, adopt it: tokensvc keys adopt k1 --arn ARN, one of a, b"


def test_every_error_has_a_code_of_its_own() -> None:
    """A kind outside the tree, which never reaches a client under its own name, has the code of its parent."""
    codes = [error.code for error in error_kinds(errors.TokensvcError) if error.__module__ == errors.__name__]
    assert len(codes) == len(set(codes))


def test_every_problem_has_a_text() -> None:
    assert set(TEXTS) == set(ProblemCode)


def test_a_problem_of_another_release_is_displayed_by_its_code() -> None:
    assert problem_text(Problem("unknown", "us-east-1", {"a": "b"})) == "us-east-1: unknown"
    assert problem_text(Problem(ProblemCode.ACTIVE_KEY_LOST, "us-east-1")) == "us-east-1: active_key_lost"


def test_a_problem_has_a_sentence_for_the_command_line_and_one_for_http() -> None:
    parameters = {"queued": "3", "account": "123456789012"}
    remedy = Remedy(Action.CONFIGURE_REGION, {"region": "us-west-2"})
    problem = Problem(ProblemCode.REVOCATIONS_UNSERVED, "us-west-2", parameters, remedy)
    plain = "us-west-2: 3 revocations are queued for account 123456789012, where this deployment has no key"
    assert problem_text(problem) == plain
    assert problem_sentence(problem) == (
        f"{plain}; add the region to TOKENSVC_REGIONS, or cancel them: tokensvc revocations cancel"
    )
    assert problems.problem_sentence(problem) == (
        f"{plain}; configure the region, or cancel the revocations: POST /v1/revocations/{{id}}/cancel"
    )
    assert problem_sentence(make_problem("text")) == problems.problem_sentence(make_problem("text")) == "text"


def test_equal_problems_have_equal_hashes() -> None:
    assert len({make_problem("a"), make_problem("a"), make_problem("b")}) == 2
