"""Runs the extension's tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer.

They check the two C files of the extension, not Intel's code, which is already compiled. Leaks are not checked: CPython
does not free much of its memory before the process ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jose.signing.compiled import (
    ROOT,
    SANITIZE,
    build_extension,
    sanitizer_library,
    why_not_extension,
    why_not_sanitized,
)
from tests.support.signers import needs_multibuffer

_RUN = """
import importlib.machinery, importlib.util, sys
import pytest
from tokensvc.jose import signing
name = "tokensvc.jose.signing._multibuffer"
loader = importlib.machinery.ExtensionFileLoader(name, sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
loader.exec_module(module)
signing._multibuffer = sys.modules[name] = module
# pytest would rewrite our plugin's assertions, and warns that the package is imported already.
code = pytest.main(["-W", "ignore::pytest.PytestAssertRewriteWarning", *sys.argv[2:]])
assert signing._multibuffer is module and module.__file__ == sys.argv[1]
sys.exit(code)
"""


@pytest.mark.long
@needs_multibuffer
@pytest.mark.skipif(bool(why_not_extension()), reason=why_not_extension())
def test_the_extension_passes_its_tests_under_the_sanitizers(tmp_path: Path) -> None:
    if reason := why_not_sanitized(tmp_path):
        pytest.skip(reason)
    extension = build_extension(tmp_path, *SANITIZE)
    built = extension.read_bytes()
    assert b"__asan_report" in built
    assert b"__ubsan_handle" in built
    ran = subprocess.run(
        [
            *(sys.executable, "-c", _RUN, str(extension)),
            *("-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not long", "tests/jose/signing/test_extension.py"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": str(sanitizer_library()),
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1",
            "PYTHONMALLOC": "malloc",
        },
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
    assert "Sanitizer" not in ran.stdout + ran.stderr
