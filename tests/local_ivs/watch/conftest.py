"""One site for the tests of a module; each test has channels of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local_ivs.watch.watch_site import WatchSite, watch_site


@pytest.fixture(scope="module")
def site() -> Iterator[WatchSite]:
    with watch_site() as running:
        yield running
