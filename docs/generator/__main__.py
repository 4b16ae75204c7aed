"""`python -m docs.generator`: write every generated page and passage.

With `--accept-breaking-changes`, also a stored OpenAPI document that breaks the clients of the present one.
"""

from __future__ import annotations

import json
import sys

from docs.generator import OPENAPI, ROOT, render
from docs.generator.api_changes import ADVICE, breaking_changes

rendered = render()
if OPENAPI.exists() and "--accept-breaking-changes" not in sys.argv[1:]:
    breaking = breaking_changes(json.loads(OPENAPI.read_text("utf-8")), json.loads(rendered[OPENAPI]))
else:
    breaking = []
if breaking:
    del rendered[OPENAPI]
for path, text in rendered.items():
    if not path.exists() or path.read_text("utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"written: {path.relative_to(ROOT.parent)}")
if breaking:
    changes = "\n".join(f"- {change}" for change in breaking)
    sys.exit(
        f"not written: {OPENAPI.relative_to(ROOT.parent)}, because clients of the API would break:\n{changes}\n{ADVICE}"
    )
