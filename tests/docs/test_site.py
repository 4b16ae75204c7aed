"""The documentation's site: strict, complete, and independent of other servers."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import tokensvc
from tests.support.chromium import CHROMIUM, UNAVAILABLE, document_of

ROOT = Path(tokensvc.__file__).parent.parent
MERMAID = ROOT / "docs/site/node_modules/mermaid"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        importlib.util.find_spec("mkdocs") is None or not MERMAID.is_dir(),
        reason="the site's packages are not installed: make docs",
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    written = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    written = {path for path in written if path.parts[0] not in ("examples", "site", "generator")}
    expected = {path.with_name("index.html" if path.stem == "README" else f"{path.stem}.html") for path in written}
    assert {path.relative_to(site) for path in pages(site)} == expected


class _Loads(HTMLParser):
    """What a page makes a browser load: every URL that is not the target of a link."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag
        if tag == "a" or (tag == "link" and values.get("rel") in ("canonical", "prev", "next")):
            return
        named = [values[name] for name in ("src", "href", "xlink:href", "data", "poster", "action") if name in values]
        candidates = [entry.split()[0] for entry in values.get("srcset", "").split(",") if entry.strip()]
        self.urls += [*named, *candidates, *_loaded_by_style(values.get("style", ""))]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.urls += _loaded_by_style(data)
        elif self._inside == "script":
            self.urls += re.findall(r"""(?:import|from|fetch|src|href)\b[\s(=]*["']([^"']+)""", data)


def _loaded_by_style(style: str) -> list[str]:
    return re.findall(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""", style)


def loaded_from_elsewhere(page: str) -> list[str]:
    return [url for url in _Loads(page).urls if re.match(r"(?:https?:)?//", url, re.IGNORECASE)]


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in pages(site):
        assert loaded_from_elsewhere(page.read_text("utf-8")) == [], page
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert not [url for url in _loaded_by_style(text) if re.match(r"(?:https?:)?//", url)], style


@pytest.mark.parametrize(
    "page",
    [
        "<SCRIPT SRC='https://cdn.example.com/a.js'></SCRIPT>",
        '<script type="module">import "https://cdn.example.com/a.js"</script>',
        '<script>import("//cdn.example.com/a.js")</script>',
        '<link rel="stylesheet" href="https://fonts.example.com/a.css">',
        '<link rel="preconnect" href="https://fonts.example.com">',
        '<img srcset="a.png 1x, https://example.com/a.png 2x">',
        '<video poster="https://example.com/a.png"></video>',
        '<object data="https://example.com/a.svg"></object>',
        '<svg><use href="https://example.com/a.svg#b"/></svg>',
        '<style>@import "https://example.com/a.css"</style>',
        '<p style="background: url(https://example.com/a.png)"></p>',
    ],
)
def test_a_page_that_loads_something_from_elsewhere_is_noticed(page: str) -> None:
    assert loaded_from_elsewhere(page)
    assert not loaded_from_elsewhere(
        '<a href="https://example.com">a link</a><img src="a.png"><script src="a.js"></script>'
    )


def test_a_page_has_mermaids_script_before_the_themes_own(site: Path) -> None:
    """The theme fetches Mermaid from a CDN unless the script has run."""
    text = (site / "explanation/life-of-a-key.html").read_text("utf-8")
    assert 'src="../assets/javascripts/mermaid.min.js"' in text
    assert (site / "assets/javascripts/mermaid.min.js").stat().st_size > 1_000_000


def test_options_that_only_the_tests_read_are_not_shown(site: Path) -> None:
    for page in pages(site):
        assert not re.search(r'```|\b(?:skip|background)="', page.read_text("utf-8")), page


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on a server of its own."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason=UNAVAILABLE)
def test_a_browser_without_a_network_draws_every_diagram(site: Path, address: str, tmp_path: Path) -> None:
    drawn = [page for page in pages(site) if 'class="mermaid"' in page.read_text("utf-8")]
    assert drawn
    for page in drawn:
        dom = document_of(f"{address}/{page.relative_to(site)}", tmp_path)
        assert '<pre class="mermaid">' not in dom, f"{page}: a diagram was not drawn"
        assert "Syntax error in text" not in dom, page
