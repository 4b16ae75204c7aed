"""What the tests of clients share: a demo for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.demo import Demo, running_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`tokensvc demo`, in an empty folder, on a free port."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running
