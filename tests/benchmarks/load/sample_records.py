"""Lines of a run for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from benchmarks.load.records import Generator, Keys, KindRecord, Line, Reading, Run, Sample, SecondRecord
from tests.support.clocks import START
from tests.support.tokens import HEADER, NOW, encode_token
from tokensvc.jose.jwk import public_jwk
from tokensvc.jose.keypair import PrivateKey

CHANNEL_ARN = "arn:aws:ivs:us-east-1:123456789012:channel/AbCdEf123456"


def run_line(**changes: Any) -> Run:
    """A run of three seconds, the first of them warm-up."""
    defaults: dict[str, Any] = {
        "plan": "steady",
        "digest": "d",
        "seconds": 3,
        "warmup_seconds": 1,
        "interrupted": False,
        "share": "1/1",
        "url": "http://127.0.0.1:1",
        "started_at": datetime.fromtimestamp(START, UTC),
        "machine": {"cpu": "a cpu"},
    }
    return Run(**(defaults | changes))


def second_line(number: int, **changes: Any) -> SecondRecord:
    """A second in which ten requests were sent and completed in 2 ms each."""
    defaults: dict[str, Any] = {"sent": 10, "failed": 0, "completed": 10, "tokens": 10, "latencies": {2000: 10}}
    return SecondRecord(number=number, **(defaults | changes))


def sample_line(key: PrivateKey, **claims: Any) -> Sample:
    """A sampled token, valid unless `claims` change it."""
    good = {"aws:channel-arn": CHANNEL_ARN, "aws:viewer-id": "viewer-1", "exp": NOW + 300}
    token = encode_token(key, HEADER, {name: value for name, value in (good | claims).items() if value is not None})
    return Sample(token=token, channel_arn=CHANNEL_ARN, viewer_id="viewer-1", received_at=NOW)


def keys_line(*keys: PrivateKey) -> Keys:
    """These keys' public halves, as the service publishes them."""
    return Keys(keys=[public_jwk(f"k{number}", key.public_key()) for number, key in enumerate(keys)])


def reading_line(second: int, cpu_seconds: float, server: str = "host 7") -> Reading:
    return Reading(server=server, second=second, cpu_seconds=cpu_seconds, rss_bytes=2**20, processes=1)


def generator_line(late_micros: int = 100) -> Generator:
    return Generator(number=0, scheduling_delays={late_micros: 20}, waited=3, cpu_seconds=0.5, wall_seconds=2)


def whole_run(key: PrivateKey, **changes: Any) -> list[Line]:
    """A successful run."""
    return [
        run_line(**changes),
        *(reading_line(second, 10 + second / 1000) for second in range(4)),
        keys_line(key),
        generator_line(),
        second_line(0, latencies={}),
        second_line(1),
        second_line(2),
        KindRecord(name="token", latencies={2000: 20}, succeeded=20),
        sample_line(key),
    ]
