"""The parts of a Grafana dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Query(NamedTuple):
    """One query of a panel, and the name of its series in the legend."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """One panel."""

    title: str
    unit: str
    """One of Grafana's units, such as `s` for seconds and `reqps` for requests per second."""
    queries: Sequence[Query]
    description: str = ""
    kind: str = "timeseries"
    width: int = 8


class Row(NamedTuple):
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


class Dashboard(NamedTuple):
    """One dashboard; its file is named like its uid."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
