"""Renders the Grafana dashboards of `deploy/grafana/` from the panels in `dashboard_panels.py`.

Invariants
- The result depends on nothing but the panels, so that a change is reviewed as a change of panels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs.generator.dashboard_model import Dashboard, Panel
from docs.generator.dashboard_panels import OPERATIONS, SERVICE

FOLDER = Path(__file__).resolve().parents[2] / "deploy/grafana/dashboards"
VARIABLES = {"job": "tokensvc", "instance": ".*"}
"""The variables of the queries, and the value of each when nothing is selected."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_HEIGHT = 8
DASHBOARDS = (SERVICE, OPERATIONS)


def files() -> dict[Path, str]:
    """Each dashboard's file, with the text that it should have."""
    return {FOLDER / f"{d.uid}.json": json.dumps(_dashboard(d), indent=2) + "\n" for d in DASHBOARDS}


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    panels, y = list[dict[str, Any]](), 0
    for row in dashboard.rows:
        panels.append(
            _positioned(
                {"type": "row", "title": row.title, "collapsed": False, "panels": []}, len(panels), 0, y, _COLUMNS, 1
            )
        )
        x, y = 0, y + 1
        for panel in row.panels:
            if x + panel.width > _COLUMNS:
                x, y = 0, y + _HEIGHT
            height = _HEIGHT // 2 if panel.kind == "stat" else _HEIGHT
            panels.append(_positioned(_panel(panel), len(panels), x, y, panel.width, height))
            x += panel.width
        y += _HEIGHT
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["tokensvc"],
        "timezone": "utc",
        "editable": True,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [{"type": "dashboards", "title": "tokensvc", "tags": ["tokensvc"], "asDropdown": False}],
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _positioned(panel: dict[str, Any], number: int, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"id": number + 1, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _panel(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query.expression, "legendFormat": query.legend}
        for number, query in enumerate(panel.queries)
    ]
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "area"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0},
            "overrides": [],
        },
        "options": options,
        "targets": targets,
    }


def _variables() -> list[dict[str, Any]]:
    def of_labels(name: str, query: str) -> dict[str, Any]:
        return {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
        }

    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
        of_labels("job", "label_values(tokensvc_build_info, job)"),
        of_labels("instance", 'label_values(tokensvc_build_info{job=~"$job"}, instance)'),
    ]
