"""`python -m docs.generator`: write every generated page and passage."""

from __future__ import annotations

from docs.generator import ROOT, render

for path, text in render().items():
    if not path.exists() or path.read_text("utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        print(f"written: docs/{path.relative_to(ROOT)}")
