"""The documentation's site: strict, complete, and independent of other servers."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import tokensvc

ROOT = Path(tokensvc.__file__).parent.parent
CHROMIUM = shutil.which("chromium")
MERMAID = ROOT / "docs/site/node_modules/mermaid"

pytestmark = [
    pytest.mark.slow,
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
    written = {path for path in written if path.parts[0] not in ("site", "generator")}
    expected = {path.with_name("index.html" if path.stem == "README" else f"{path.stem}.html") for path in written}
    assert {path.relative_to(site) for path in pages(site)} == expected


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    loading = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(https?:)?//|<link\b(?![^>]*rel="canonical")[^>]*\bhref=["']?(https?:)?//"""
    )
    for page in pages(site):
        assert not loading.search(page.read_text("utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", style.read_text("utf-8")), style


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
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: make system-packages")
def test_a_browser_without_a_network_draws_every_diagram(site: Path, address: str, tmp_path: Path) -> None:
    drawn = [page for page in pages(site) if 'class="mermaid"' in page.read_text("utf-8")]
    assert drawn
    for page in drawn:
        dom = subprocess.run(
            [
                str(CHROMIUM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"--user-data-dir={tmp_path / 'chromium'}",
                "--virtual-time-budget=20000",
                "--dump-dom",
                f"{address}/{page.relative_to(site)}",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        ).stdout
        assert '<pre class="mermaid">' not in dom, f"{page}: a diagram was not drawn"
        assert "Syntax error in text" not in dom, page
