"""The optional C extension. All else stands in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent / "tokensvc/jose/signing/native"))

from build_backend import extensions

setup(ext_modules=extensions(), options={"bdist_wheel": {"py_limited_api": "cp311"}})
