"""Exemplars of the HTTP histogram: for each bucket, the trace of the last sampled request that fell into it.

Invariants
- At most one for each bucket of each series, so they take no more memory than the histogram itself.
- Only this process's: the client library keeps no exemplars in the files that workers share.
- An exemplar has a trace id and nothing else of the request (OpenMetrics 1.0, "Exemplars": at most 128 characters).
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Exemplars:
    """The exemplars of one histogram."""

    def __init__(self, histogram: Histogram) -> None:
        self._name = next(iter(histogram.describe())).name
        self._bounds = list(histogram._upper_bounds)  # noqa: SLF001 - the library has no other way to ask
        self._names = tuple(histogram._labelnames)  # noqa: SLF001 - as above
        self._by_bucket: dict[tuple[Labels, str], Exemplar] = {}
        self._lock = threading.Lock()

    def add(self, labels: Labels, value: float, trace_id: str) -> None:
        """Note a sampled request of this series."""
        bound = str(floatToGoString(self._bounds[bisect_left(self._bounds, value)]))  # type: ignore[no-untyped-call] # the library has no types here
        with self._lock:
            self._by_bucket[labels, bound] = Exemplar({"trace_id": trace_id}, value, time.time())

    def of(self, collector: Collector) -> Collector:
        """The same metrics, with these exemplars."""
        return _WithExemplars(self, collector)

    def added_to(self, metric: Metric) -> Metric:
        """The metric, with its exemplars if it is this histogram."""
        with self._lock:
            known = dict(self._by_bucket)
        if metric.name != self._name or not known:
            return metric
        metric.samples = [
            sample._replace(
                exemplar=known.get((tuple(sample.labels.get(n, "") for n in self._names), sample.labels["le"]))
            )
            if "le" in sample.labels
            else sample
            for sample in metric.samples
        ]
        return metric


class _WithExemplars(Collector):
    def __init__(self, exemplars: Exemplars, collector: Collector) -> None:
        self._exemplars = exemplars
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        return map(self._exemplars.added_to, self._collector.collect())
