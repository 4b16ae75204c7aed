"""What the site needs beyond the Markdown pages: Mermaid's script, and links to files that are not pages.

Invariants
- A page loads nothing from elsewhere: Mermaid's script, which the theme would otherwise fetch from a CDN, is a file of
  the site.
- A link that leaves `docs/` leads to a file of the repository. It must exist; the site shows its text without a link.
- `nav` may name a folder, which stands for its pages in the order of their names.
- Options of a code block that only the tests read (`tests/docs/`) are not part of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
MERMAID = ROOT / "docs/site/node_modules/mermaid/dist/mermaid.min.js"
SCRIPT = "assets/javascripts/mermaid.min.js"
STYLE = "assets/stylesheets/site.css"
_FENCE_OPTIONS = re.compile(r'^(\s*```\w+)((?: (?:skip|background|exit)="[^"]*")+)', re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]`]|`[^`]*`)+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Load Mermaid's script on every page, before the theme looks for it; list the pages of whole folders."""
    config.extra_javascript.append(SCRIPT)
    config.extra_css.append(STYLE)
    config.nav = [_expanded(entry) for entry in config.nav]
    return config


def _expanded(entry: Any) -> Any:
    """A section of the navigation, with the pages of a folder in place of the folder's name."""
    if isinstance(entry, dict):
        return {title: _expanded(content) for title, content in entry.items()}
    if isinstance(entry, list):
        return [_expanded(part) for part in entry]
    if entry.endswith("/"):
        pages = sorted((ROOT / "docs" / entry).glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
        return [page.relative_to(ROOT / "docs").as_posix() for page in pages]
    return entry


def on_files(files: Files, config: Any) -> Files:
    """Add Mermaid's script and our style to the site."""
    if not MERMAID.is_file():
        raise PluginError("Mermaid's script is missing: run `make docs`, which installs it with npm")
    files.append(File.generated(config, SCRIPT, abs_src_path=str(MERMAID)))
    files.append(File.generated(config, STYLE, abs_src_path=str(ROOT / "docs/site/site.css")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Drop the tests' options, and replace links to files that are not pages by their text."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def resolve(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        if target.startswith("docs/") and target != "docs":
            return link[0]
        if not (ROOT / target).exists():
            raise PluginError(f"{page.file.src_uri}: the link to {link[2]} leads to no file")
        return link[1]

    return _LINK.sub(resolve, _FENCE_OPTIONS.sub(r"\1", markdown))
