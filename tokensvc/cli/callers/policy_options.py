"""The options that state a policy, shared by `callers add` and `callers update`: one for each member.

Invariants
- An option that is not given changes nothing: the member keeps its value, or the default for a new caller.
- A policy is parsed from the document that the options make, so files and options obey the same rules; a bad member is
  reported under the name of its option.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer

from tokensvc.callers.policy import ALL_CHANNELS, MAX_CONFIGURABLE_TTL_SECONDS, CallerPolicy
from tokensvc.callers.policy_document import parse_policy
from tokensvc.callers.policy_file import check_name
from tokensvc.cli.durations import duration_option
from tokensvc.errors import FieldError, InvalidRequest

_Texts = list[str] | None


def _option(*flags: str, **settings: Any) -> Any:
    return typer.Option(*flags, show_default=False, **settings)


def _rate(which: str, what: str) -> tuple[Any, Any]:
    per_minute = _option(f"--{which}-per-minute", min=1, metavar="N", help=f"Tokens a minute for {what}.")
    burst = _option(
        f"--{which}-burst", min=1, metavar="N", help=f"Tokens at once for {what}. Default: ten seconds' worth."
    )
    return Annotated[int | None, per_minute], Annotated[int | None, burst]


def _flag(name: str, meaning: str) -> Any:
    return Annotated[bool | None, _option(f"--{name}/--no-{name}", help=meaning)]


def _rules(kind: str, verb: str) -> tuple[Any, Any, Any, Any]:
    origins = _option(f"--{kind}-origin", metavar="ORIGIN", help=f"{verb} these web origins; may be repeated.")
    resolution = _option(f"--{kind}-max-resolution", metavar="SD|HD|FULL_HD", help=f"{verb} this maximum resolution.")
    return (
        Annotated[_Texts, origins],
        _flag(f"{kind}-strict-origins", f"{verb} strict origin enforcement."),
        _flag(f"{kind}-single-use", f"{verb} single use."),
        Annotated[str | None, resolution],
    )


_require, _force = _rules("require", "Tokens must be requested with"), _rules("force", "Give every token")
_caller, _viewer, _channel = (
    _rate("caller", "the caller"),
    _rate("viewer", "each viewer"),
    _rate("channel", "each channel"),
)
_TYPES: dict[str, Any] = {
    "channels": Annotated[_Texts, _option(metavar="ARN", help="Channel ARN, may contain *; may be repeated.")],
    "all_channels": Annotated[bool, _option("--all-channels", help="Allow every channel of the deployment.")],
    "scope": Annotated[
        _Texts, _option(metavar="SCOPE", help="Scope to grant; may be repeated. Default: tokens:issue.")
    ],
    "max_ttl": Annotated[
        int | None,
        duration_option(
            at_least=1,
            at_most=MAX_CONFIGURABLE_TTL_SECONDS,
            show_default=False,
            help="Maximum lifetime of its tokens.",
        ),
    ],
    "allow_anonymous_viewers": _flag(
        "allow-anonymous-viewers", "Allow requests without a viewer; such tokens cannot be revoked."
    ),
    "namespace": Annotated[
        str | None,
        _option(
            metavar="NAME",
            help="Namespace of its subjects; two namespaces never share a viewer id. Default: default.",
        ),
    ],
    "require_origin": _require[0],
    "require_strict_origins": _require[1],
    "require_single_use": _require[2],
    "require_max_resolution": _require[3],
    "force_origin": _force[0],
    "force_strict_origins": _force[1],
    "force_single_use": _force[2],
    "force_max_resolution": _force[3],
    "caller_per_minute": _caller[0],
    "caller_burst": _caller[1],
    "viewer_per_minute": _viewer[0],
    "viewer_burst": _viewer[1],
    "channel_per_minute": _channel[0],
    "channel_burst": _channel[1],
    "issuer": Annotated[
        str | None, _option(metavar="URL", help="Issuer of its bearer tokens: makes the caller a viewer app.")
    ],
    "audience": Annotated[str | None, _option(metavar="TEXT", help="Audience of its bearer tokens.")],
    "algorithm": Annotated[
        _Texts, _option(metavar="NAME", help="Accepted signature algorithm; may be repeated. Default: RS256.")
    ],
    "jwks_url": Annotated[
        str | None, _option(metavar="URL", help="The issuer's JWK Set. Default: found by OpenID Connect Discovery.")
    ],
    "leeway": Annotated[
        int | None,
        duration_option(show_default=False, help="How far the issuer's clock may be off. Default: 30s."),
    ],
    "viewer_claim": Annotated[
        str | None, _option(metavar="CLAIM", help="Claim that identifies the viewer. Default: sub.")
    ],
    "channels_claim": Annotated[str | None, _option(metavar="CLAIM", help="Claim that lists the viewer's channels.")],
    "required_claim": Annotated[
        _Texts,
        _option(
            metavar="CLAIM=VALUE",
            help="Value that a claim must have; repeat it for alternatives. VALUE is JSON, or text.",
        ),
    ],
    "cors_origin": Annotated[
        _Texts, _option(metavar="ORIGIN", help="Web origin whose pages may call as this caller; may be repeated.")
    ],
    "audit_tokens": _flag("audit-tokens", "Record each of its tokens in the audit trail."),
}
"""The options in the order of the help."""
_MEMBERS = {
    "scope": "scopes",
    "max_ttl": "max_ttl_seconds",
    "cors_origin": "cors_origins",
    **{
        f"{option}_{short}": f"{member}.{name}"
        for option, member in (("require", "require"), ("force", "force"))
        for short, name in (
            ("origin", "allowed_origins"),
            ("strict_origins", "strict_origin_enforcement"),
            ("single_use", "single_use"),
            ("max_resolution", "maximum_resolution"),
        )
    },
    **{
        f"{of}_{name}": f"limits.{of}.{name}"
        for of in ("caller", "viewer", "channel")
        for name in ("per_minute", "burst")
    },
    **{name: f"bearer.{name}" for name in ("issuer", "audience", "jwks_url", "viewer_claim")},
    "leeway": "bearer.leeway_seconds",
    "channels_claim": "bearer.channels_claim",
    "algorithm": "bearer.algorithms",
    "required_claim": "bearer.required_claims",
}
"""The member of the document that an option states, where it has another name."""
_OF_OPTION = {option: _MEMBERS.get(option, option) for option in _TYPES if option != "all_channels"}


class PolicyOptions(NamedTuple):
    """The options that were given, by their names."""

    given: dict[str, Any]

    def policy(self, name: str, document: dict[str, Any]) -> CallerPolicy:
        """The policy of a caller of this name, from its document with these options. Raises InvalidRequest naming every
        bad option."""
        errors = []
        try:
            check_name(name)
        except ValueError as rule:
            errors.append(FieldError("NAME", str(rule)))
        found = deepcopy(document)
        for option, value in self.given.items():
            if option.endswith("_per_minute"):  # a stored burst is that of the stored rate
                found.get("limits", {}).get(option.removesuffix("_per_minute"), {}).pop("burst", None)
            _set(found, _OF_OPTION[option].split("."), value)
        if not found.get("channels"):
            errors.append(FieldError("--channels", "is required", alternative="--all-channels"))
        try:
            policy = parse_policy({"channels": []} | found)
        except InvalidRequest as invalid:
            errors += [error._replace(field=_option_of(error.field)) for error in invalid.errors]
        if errors:
            raise InvalidRequest(list(dict.fromkeys(errors)))
        return policy


def takes_policy_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a policy; it gets those that were given as one argument `options`."""
    hints = get_type_hints(command, include_extras=True)
    own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(command).parameters.values()]
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if kind == _TYPES["all_channels"] else None,
            annotation=kind,
        )
        for name, kind in _TYPES.items()
    ]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        values = {name: arguments.pop(name) for name in _TYPES}
        command(**arguments, options=PolicyOptions(_given(values)))

    parameters: list[inspect.Parameter] = []
    for parameter in own:
        keyword = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += shared if parameter.name == "options" else [keyword]
    vars(run)["__signature__"] = inspect.Signature(parameters)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, with the values of their members."""
    channels = [*(values["channels"] or ()), *((ALL_CHANNELS,) if values["all_channels"] else ())]
    given = {name: value for name, value in values.items() if name in _OF_OPTION and value not in (None, [])}
    if channels:
        given["channels"] = channels
    if claims := given.get("required_claim"):
        given["required_claim"] = _claims(claims)
    return given


def _claims(texts: list[str]) -> dict[str, list[Any]]:
    """`plan=gold` and `plan=7` as `{"plan": ["gold", 7]}`. Raises InvalidRequest."""
    claims: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidRequest([FieldError("--required-claim", "must be CLAIM=VALUE, such as email_verified=true")])
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        claims.setdefault(name, []).append(parsed if isinstance(parsed, (bool, int, str)) else value)
    return claims


def _set(document: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for name in parents:
        document = document.setdefault(name, {})
    document[last] = value


def _option_of(field: str) -> str:
    """The option that states a member, or the member if there is none for it."""
    member = re.sub(r"\[\d+\]", "", field)
    for option, name in _OF_OPTION.items():
        if member == name or (name == "bearer.required_claims" and member.startswith(name)):
            return "--" + option.replace("_", "-")
    return {"bearer": "--issuer"}.get(member, field)
