"""The files of the watch page: complete, their own, and cached by the browser with a check each time."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tokensvc.local_ivs.watch import static_files

ROOT = Path(__file__).parents[3]
SCRIPTS = sorted(name for name in static_files.names() if name.endswith(".js") and name != static_files.PLAYER)


def text_of(name: str) -> str:
    return static_files.read(name).content.decode()


def test_hls_js_is_the_published_file() -> None:
    player = static_files.read(static_files.PLAYER).content
    assert hashlib.sha256(player).hexdigest() == static_files.PLAYER_SHA256
    assert f'"{static_files.PLAYER_VERSION}"'.encode() in player


def test_the_licence_of_hls_js_is_named_and_included() -> None:
    notice = (ROOT / "NOTICE").read_text("utf-8")
    assert f"hls.js {static_files.PLAYER_VERSION}" in notice
    licence = (ROOT / "LICENSES" / "hls.js-Apache-2.0.txt").read_text("utf-8")
    assert "Dailymotion" in licence
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licence


def test_the_page_loads_only_files_that_exist_here() -> None:
    referenced = re.findall(r'(?:src|href)="([^"#]+)', text_of(static_files.INDEX))
    assert referenced
    for path in referenced:
        assert path.removeprefix("/watch/static/") in static_files.names()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_imports_only_scripts_that_exist_here(name: str) -> None:
    imported = re.findall(r'from "\./([^"]+)"', text_of(name))
    assert set(imported) <= set(SCRIPTS)
    assert not re.search(r"innerHTML|insertAdjacentHTML|eval\(|https?://(?!\$)", text_of(name))


def test_the_page_has_no_inline_script_and_no_inline_style() -> None:
    page = text_of(static_files.INDEX)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page)


def test_every_control_of_the_page_has_a_label() -> None:
    page = text_of(static_files.INDEX)
    labelled = set(re.findall(r'<label for="([^"]+)"', page))
    for tag, attributes in re.findall(r"<(input|select|textarea)\b([^>]*)", page):
        found = re.search(r'\bid="([^"]+)"', attributes)
        assert found, tag
        is_inside_label = re.search(rf'<label[^>]*>(?:(?!</label>).)*id="{found[1]}"', page, re.DOTALL)
        assert found[1] in labelled or is_inside_label, found[1]


def test_every_element_that_a_script_uses_is_in_the_page() -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', text_of(static_files.INDEX)))
    for name in SCRIPTS:
        assert set(re.findall(r'byId\("([^"]+)"\)', text_of(name))) <= ids, name


def test_a_file_that_the_browser_has_is_not_sent_again() -> None:
    first = static_files.respond("main.js", "")
    etag = dict(first.headers)["etag"]
    assert (first.status, dict(first.headers)["cache-control"]) == (200, "no-cache")
    for known in (etag, f'"other", W/{etag}'):
        again = static_files.respond("main.js", known)
        assert (again.status, again.body, dict(again.headers)["etag"]) == (304, b"", etag)
    assert static_files.respond("main.js", '"other"').status == 200


def test_the_policy_allows_no_inline_code_and_no_other_host() -> None:
    policy = dict(static_files.respond(static_files.INDEX, "").headers)["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert set(re.findall(r"https?://\S+", policy.replace(";", " "))) == {"http://localhost:*", "http://127.0.0.1:*"}
