"""The local IVS: its operations, rules, limits and errors, from the descriptions that it runs on."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from docs.generator.basis import Basis, module_statements, statements
from docs.generator.markdown import anchor, code, table
from tokensvc.local_ivs import api_model, crud, resources, revocations
from tokensvc.local_ivs.edge import errors as edge_errors
from tokensvc.local_ivs.edge import sessions as edge_sessions
from tokensvc.local_ivs.rate_limits import RateLimit
from tokensvc.local_ivs.resources import registry, restriction_policies, tags
from tokensvc.local_ivs.resources.types import (
    ResourceType,
    always_mutable,
    no_generated_members,
    nothing_on_update,
)
from tokensvc.local_ivs.service import HANDLERS
from tokensvc.local_ivs.streams import ad_breaks, events, ingest, lifecycle, session_operations, sessions
from tokensvc.local_ivs.streams import operations as stream_operations
from tokensvc.tokens import claims, validation

_OTHER_OPERATIONS: tuple[tuple[str, ModuleType], ...] = (
    ("Tags", tags),
    ("Viewer-session revocations", revocations),
    ("Streams", stream_operations),
    ("Stream sessions", session_operations),
    ("Ad breaks", ad_breaks),
)
"""Title -> module, for the operations that no resource type describes."""
_VERB_TEXTS = {"batch_get": "batch get"}


class Rule(NamedTuple):
    """A rule as a row of a table."""

    operations: tuple[str, ...]
    text: str
    basis: Basis


class Section(NamedTuple):
    """A resource, or another group of operations."""

    title: str
    operations: list[str]
    rules: list[Rule]


# --- operations ---


def operations() -> str:
    """Every operation of the model, and the rules of each, by resource."""
    sections = list(_sections())
    links = {
        name: f"[{section.title}](#{anchor(section.title)})" for section in sections for name in section.operations
    }
    rows = []
    for name in sorted(api_model.load().operations):
        handler = HANDLERS.get(name)
        rate = _rate(handler.rate_limits) if handler else ""
        rows.append([code(name), "yes" if handler else "no", rate, links.get(name, "")])
    parts = [table(["operation", "served", "calls a second", "rules"], rows), "### All resources", _rules(_shared())]
    for section in sections:
        parts += [f"### {section.title}", _rules(section.rules)]
    return "\n\n".join(parts)


def _sections() -> Iterator[Section]:
    """The resources, and the other operations."""
    modules = _resource_modules()
    for resource_type in registry.RESOURCE_TYPES.values():
        module = modules[resource_type.kind]
        names = [operation.name for operation in resource_type.operations.values()]
        yield Section(_title(module), names, [*_rules_of(resource_type), *_rest(module)])
    for title, module in _OTHER_OPERATIONS:
        rules = [
            Rule((name,), statement.text, statement.basis)
            for name, handler in module.HANDLERS.items()
            for statement in statements(inspect.getdoc(handler.handle))
        ]
        yield Section(title, list(module.HANDLERS), [*rules, *_rest(module)])


def _shared() -> list[Rule]:
    """The rules of the operations that resources share, by verb."""
    rules = []
    for verb, (function, _) in crud.VERBS.items():
        rules += [Rule((verb,), *statement) for statement in statements(function.__doc__)]
    rules += [Rule(("create", "update"), *statement) for statement in statements(tags.validate_tag_keys.__doc__)]
    rules += [Rule(("create",), *statement) for statement in module_statements(_path(crud))]
    rules += [Rule(("create",), *statement) for statement in module_statements(_path(resources.types))]
    return [rule._replace(operations=tuple(_VERB_TEXTS.get(v, v) for v in rule.operations)) for rule in rules]


def _rules_of(resource_type: ResourceType) -> Iterator[Rule]:
    """The rules of one resource type, from its description."""

    def names(*verbs: str) -> tuple[str, ...]:
        return tuple(resource_type.operations[verb].name for verb in verbs if verb in resource_type.operations)

    def of(function: Callable[..., Any], *verbs: str) -> Iterator[Rule]:
        return (Rule(names(*verbs), *statement) for statement in statements(function.__doc__))

    quota_basis = Basis.DOCUMENTED if resource_type.quota_documented else Basis.INFERRED
    quota = f"At most {resource_type.quota_text}; one more is a ServiceQuotaExceededException."
    yield Rule(names("create"), quota, quota_basis)
    if defaults := _defaults(resource_type.defaults):
        yield Rule(names("create"), f"Defaults: {defaults}.", Basis.DOCUMENTED)
    for rule in resource_type.rules:
        yield from of(rule, "create", "update")
    if resource_type.on_create is not no_generated_members:
        yield from of(resource_type.on_create, "create")
    if resource_type.on_update is not nothing_on_update:
        yield from of(resource_type.on_update, "update")
    if resource_type.check_mutable is not always_mutable:
        yield from of(resource_type.check_mutable, "update", "delete")
    if resource_type.references:
        members = ", ".join(map(code, resource_type.references))
        text = f"What {members} name must exist: ResourceNotFoundException."
        yield Rule(names("create", "update"), text, Basis.DOCUMENTED)
    if resource_type.parent_kind:
        text = f"The {resource_type.parent_kind} must exist: ResourceNotFoundException."
        yield Rule(names("create", "list"), text, Basis.DOCUMENTED)
    if resource_type.creates_with:
        text = f"A {_words(resource_type.creates_with)} is created along with it."
        yield Rule(names("create"), text, Basis.DOCUMENTED)
    owned = [kind for kind, t in registry.RESOURCE_TYPES.items() if t.parent_kind == resource_type.kind]
    if owned := [*owned, *resource_type.owned_kinds]:
        text = f"Every {' and every '.join(map(_words, owned))} of it is deleted along with it."
        yield Rule(names("delete"), text, Basis.DOCUMENTED)
    if len(resource_type.filters) > 1:
        filters = ", ".join(map(code, resource_type.filters))
        text = f"At most one of {filters}: ConflictException."
        yield Rule(names("list"), text, Basis.DOCUMENTED)
    entries = "1 entry" if resource_type.page_size == 1 else f"{resource_type.page_size} entries"
    yield Rule(names("list"), f"A page has {entries} by default.", Basis.DOCUMENTED)


def _rest(module: ModuleType) -> list[Rule]:
    """What a module says apart from its functions."""
    return [Rule((), *statement) for statement in module_statements(_path(module))]


def _rules(rules: Iterable[Rule]) -> str:
    """A table of rules; a rule of several operations is one row."""
    merged: dict[tuple[str, Basis], list[str]] = {}
    for rule in rules:
        merged.setdefault((rule.text, rule.basis), []).extend(rule.operations)
    rows = [[", ".join(map(code, names)) or "all", text, basis] for (text, basis), names in merged.items()]
    return table(["operations", "rule", "basis"], rows)


def _defaults(defaults: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in defaults.items() if value not in ("", {}, [], None)}
    return ", ".join(f"{code(name)} {code(json.dumps(value))}" for name, value in shown.items())


def _resource_modules() -> dict[str, ModuleType]:
    """Kind -> the module that describes it."""
    modules = {}
    for info in pkgutil.iter_modules(resources.__path__):
        module = importlib.import_module(f"{resources.__name__}.{info.name}")
        described = [value for value in vars(module).values() if isinstance(value, ResourceType)]
        if len(described) == 1:
            modules[described[0].kind] = module
    return modules


def _title(module: ModuleType) -> str:
    """The first sentence of a module's docstring, which names the resource."""
    return inspect.getdoc(module).partition(".")[0]  # type: ignore[union-attr]  # every module has one


def _path(module: ModuleType) -> Path:
    return Path(str(module.__file__))


def _words(kind: str) -> str:
    return kind.replace("-", " ")


# --- limits ---


def quotas() -> str:
    """The quotas, with their values and what happens when one is exceeded."""
    exceeded, invalid, reported = "402 ServiceQuotaExceededException", "400 ValidationException", "an event reports it"
    rows = [
        [resource_type.quota_text, exceeded, Basis.DOCUMENTED if resource_type.quota_documented else Basis.INFERRED]
        for resource_type in registry.RESOURCE_TYPES.values()
    ]
    for member, maximum in restriction_policies.MEMBER_QUOTAS.items():
        rows.append([f"{maximum} {code(member)} per playback restriction policy", exceeded, Basis.DOCUMENTED])
    streams = f"{lifecycle.MAX_CONCURRENT_STREAMS} concurrent streams per account and region"
    bitrates = (
        f"ingest: {_megabits(ingest.BITRATES['STANDARD'])}, "
        f"with multitrack input {_megabits(ingest.MULTITRACK_BITRATE)}; "
        f"BASIC {_megabits(ingest.BASIC_BITRATE_SMALL)} up to 480p and {_megabits(ingest.BASIC_BITRATE)} above"
    )
    days = sessions.RETENTION_SECONDS // (24 * 3600)
    rows += [
        [f"{tags.MAX_TAGS} tags per resource", invalid, "documented; the error is inferred"],
        [f"{stream_operations.METADATA_MAX_BYTES:,} bytes of metadata", invalid, "documented as 1 KB"],
        [f"{claims.TOKEN_MAX_BYTES:,} bytes in a playback token", "403 at the edge", "documented as 2 KB"],
        [streams, f"the stream does not start, and {reported}", Basis.DOCUMENTED],
        [
            f"{edge_sessions.MAX_CONCURRENT_VIEWS:,} concurrent views per account and region (`--max-views`)",
            f"429 at the start of playback, and {reported}",
            Basis.DOCUMENTED,
        ],
        [bitrates, reported, Basis.DOCUMENTED],
        [f"{days} days for which a stream session is stored", "it is deleted", Basis.DOCUMENTED],
        [f"{sessions.MAX_EVENTS} events in a stream session", "the oldest are dropped", Basis.DOCUMENTED],
        [
            f"{events.MAX_STORED_EVENTS:,} events in the management listener's log",
            "the oldest are dropped",
            "only here",
        ],
    ]
    return table(["quota", "if it is exceeded", "basis"], rows)


def _rate(limits: tuple[RateLimit, ...]) -> str:
    texts = (
        f"{limit.per_second} per {code(limit.member)}" if limit.member else f"{limit.per_second}" for limit in limits
    )
    return " and ".join(texts) or "no limit"


def _megabits(bits: int) -> str:
    return f"{bits / 1_000_000:g} Mbit/s"


# --- the playback edge ---


def playback_rules() -> str:
    """The rules of the playback edge in their order, with their errors."""
    rows = []
    for name, rule in validation.RULES:
        required, *others = statements(rule.__doc__)
        basis = ". ".join([required.basis, *(f"Inferred: {statement.text.rstrip('.')}" for statement in others)])
        found = [edge_errors.ERRORS[name], *(e for (of, _), e in edge_errors.ERRORS_BY_REASON.items() if of == name)]
        rows.append([code(name), required.text, "; ".join(map(_error, found)), basis])
    return table(["rule", "what it requires", "`error`", "basis of the rule"], rows)


def _error(error: edge_errors.EdgeError) -> str:
    shown = code(error.text)
    if error.code != edge_errors.INVALID_TOKEN:
        shown = f"{shown} with {code(error.code)}"
    return f"{shown} ({error.observed} observed)" if error.observed else shown


def channel_errors() -> str:
    """The errors of the playback edge that concern the request and not the token."""
    rows = [
        [str(status), code(error.text), code(error.code), when]
        for status, error, when in (
            (403, edge_errors.SEVERAL_TOKENS, "the query has more than one `token`"),
            (
                403,
                edge_errors.OTHER_COUNTRY,
                "the channel is public, and its policy does not allow the viewer's country",
            ),
            (403, edge_errors.NO_RENDITION, "every rendition is above the token's maximum resolution"),
            (403, edge_errors.ABOVE_CAP, "the variant playlist or segment is above the session's maximum resolution"),
            (403, edge_errors.NO_SESSION, "the session of a variant playlist or segment has ended or never existed"),
            (429, edge_errors.TOO_MANY_VIEWERS, "the quota of concurrent views is reached"),
            (404, edge_errors.UNKNOWN_CHANNEL, "the channel does not exist"),
            (404, edge_errors.OFFLINE, "the channel is not live, and the viewer may watch it"),
            (404, edge_errors.NO_PLAYLIST, "the path is not that of a playback URL, variant playlist or segment"),
            (404, edge_errors.NO_MEDIA, "there is no such rendition, or the segment is not in the live window"),
        )
    ]
    return table(["status", "`error`", "`error_code`", "when"], rows)


# --- the API's errors ---


def api_errors() -> str:
    """The errors of the API with their statuses: those of the model, and those that it does not describe."""
    rows = [[code(name), str(status), "documented (model)"] for name, status in api_model.load().error_status.items()]
    for errors, basis in (
        (api_model.DOCUMENTED_ERRORS, "documented (API reference)"),
        (api_model.INFERRED_ERRORS, "inferred"),
        (api_model.OWN_ERRORS, "only here"),
    ):
        rows += [[code(name), str(status), basis] for name, status in errors.items()]
    return table(["error", "status", "basis"], sorted(rows, key=lambda row: (row[1], row[0])))


def corrections() -> str:
    """The corrections to the published model."""
    rows = [[code(p.shape), code(str(p.published)), code(str(p.corrected)), p.reason] for p in api_model.PATCHES]
    return table(["shape", "published", "corrected", "reason"], rows)


def regions() -> str:
    """The regions that have IVS."""
    return f"{', '.join(map(code, sorted(api_model.regions())))}."


PASSAGES: Mapping[str, Callable[[], str]] = {
    "local-ivs-operations": operations,
    "local-ivs-quotas": quotas,
    "local-ivs-playback-rules": playback_rules,
    "local-ivs-channel-errors": channel_errors,
    "local-ivs-api-errors": api_errors,
    "local-ivs-corrections": corrections,
    "local-ivs-regions": regions,
}
"""The passages of `docs/reference/local-ivs.md`."""
