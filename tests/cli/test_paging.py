"""Reading paged lists, and detecting whether more entries follow."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tokensvc.cli.paging import read_all, read_list


class Scanned:
    """A list whose pages may be short or empty without being the last: each fetch scans a limited number of items."""

    def __init__(self, numbers: set[int], scan_limit: int) -> None:
        self.numbers = numbers
        self.scan_limit = scan_limit
        self.sizes: list[int] = []

    def __call__(self, size: int, token: str | None) -> tuple[Sequence[int], str | None]:
        self.sizes.append(size)
        start = int(token or 0)
        page: list[int] = []
        for number in range(start, start + self.scan_limit):
            if number in self.numbers:
                page.append(number)
            if len(page) == size:
                return page, str(number + 1)
        end = start + self.scan_limit
        return page, str(end) if end < max(self.numbers, default=0) + 3 else None


@given(st.sets(st.integers(0, 300), max_size=250), st.integers(1, 60), st.integers(1, 260))
def test_all_pages_together_are_the_list_and_the_last_has_no_token(
    numbers: set[int], scan_limit: int, max_results: int
) -> None:
    fetch, seen, token = Scanned(numbers, scan_limit), [], None
    while True:
        found, token = read_list(fetch, max_results, token)
        seen += found
        if token is None:
            break
        assert len(found) == max_results, "a truncated list is as long as requested"
    assert seen == sorted(numbers)
    assert len(found) > 0 or not numbers, "a page after a token is empty only if the list is"
    assert max(fetch.sizes) <= 100
    assert list(read_all(fetch)) == seen
