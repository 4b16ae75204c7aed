"""Valid token requests of every kind, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.support.tokens import CHANNEL

_LABELS = st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True)
_HOSTS = st.lists(_LABELS, min_size=1, max_size=3).map(".".join)
ORIGINS = st.one_of(
    st.just("*"),
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(["https", "http", "capacitor"]),
        st.sampled_from(["", "*", "*."]),
        _HOSTS,
        st.sampled_from(["", ":8443", ":3000"]),
    ),
)
VIEWER_IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_PARAMS = st.dictionaries(st.text(max_size=10), st.text(max_size=20), max_size=4)
_ADS = st.fixed_dictionaries(
    {},
    optional={
        "optOut": st.booleans(),
        "playerParams": _PARAMS,
        "playbackConfigName": st.text(min_size=1, max_size=30),
        "reportingMode": st.sampled_from(["CLIENT", "SERVER"]),
    },
)


@st.composite
def token_requests(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of a valid token request for CHANNEL."""
    request: dict[str, Any] = {"channelArn": str(CHANNEL)}
    match draw(st.sampled_from(["viewer", "subject", "anonymous"])):
        case "viewer":
            request["viewerId"] = draw(VIEWER_IDS)
        case "subject":
            request["subject"] = draw(_TEXT.filter(lambda text: len(text) <= 1024))
    if draw(st.booleans()):
        request["singleUse"] = draw(st.booleans())
    viewer_bound = len(request) > 1 and ("viewerId" in request or "subject" in request or request["singleUse"])
    if draw(st.booleans()):
        request["ttlSeconds"] = draw(st.integers(1, 600 if viewer_bound else 86_400))
    if draw(st.booleans()):
        request["strictOriginEnforcement"] = draw(st.booleans())
    if draw(st.booleans()):
        limit = 5 if request.get("strictOriginEnforcement") else 8
        request["allowedOrigins"] = draw(st.lists(ORIGINS, min_size=1, max_size=limit))
    if draw(st.booleans()):
        request["maximumResolution"] = draw(st.sampled_from(["SD", "HD", "FULL_HD"]))
    if draw(st.booleans()):
        request["ads"] = draw(_ADS)
    if draw(st.booleans()):
        request["requirePlaybackUrl"] = draw(st.booleans())
    return request


def origin_for(request: dict[str, Any]) -> str:
    """An `Origin` header that a player may send under this request."""
    first: str = request.get("allowedOrigins", ["*"])[0]
    return "https://any.example" if first == "*" else first.replace("*", "front")
