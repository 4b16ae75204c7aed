"""The output of wrk is parsed correctly."""

from __future__ import annotations

import pytest

from benchmarks import wrk
from benchmarks.wrk import Run

OUTPUT = """Running 1s test @ http://127.0.0.1:8080/v1/tokens
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.71ms    1.02ms  19.44ms   92.31%
  5893 requests in 1.00s, 4.12MB read
Requests/sec:   5889.21
Transfer/sec:      4.12MB
"""


def test_a_run_without_failures_is_parsed() -> None:
    assert wrk.parse(OUTPUT) == Run(5889.21, 0, 5893)


def test_unsuccessful_and_missing_responses_are_failures() -> None:
    lost = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 90\n"
    assert wrk.parse(OUTPUT + lost).failed == 100


def test_any_other_output_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")
