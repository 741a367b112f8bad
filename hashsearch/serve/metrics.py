"""What the service counts of itself, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from hashsearch.serve.shelf import Shelf
    from hashsearch.serve.workers import Workers

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The counts of one service, apart from those of others in the process."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, shelf: Shelf, workers: Workers) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Galleries(shelf))
        self._requests = Counter(
            "hashsearch_requests",
            "Requests that were answered.",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "hashsearch_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._searches = Counter(
            "hashsearch_searches",
            "Searches that were answered.",
            ["gallery", "by"],
            registry=self._registry,
        )
        inside = Gauge(
            "hashsearch_requests_inside",
            "Requests that are read, wait or are worked at.",
            registry=self._registry,
        )
        inside.set_function(lambda: workers.requests)
        held = Gauge(
            "hashsearch_held_bytes", "Bytes of the bodies of those.", registry=self._registry
        )
        held.set_function(lambda: workers.held_bytes)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request of a route (empty: of none)."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def searched(self, gallery: str, by: str) -> None:
        """Count a search of a gallery by ``image``, ``id`` or ``code``."""
        self._searches.labels(gallery, by).inc()

    def text(self) -> bytes:
        """All counts, in Prometheus's own format."""
        return generate_latest(self._registry)


class _Galleries(Collector):
    """What the galleries are at the moment."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def collect(self) -> Iterator[Metric]:
        items = GaugeMetricFamily(
            "hashsearch_gallery_items", "Items of a gallery.", labels=["gallery"]
        )
        for generation in self._shelf:
            items.add_metric([generation.name], len(generation.gallery))
        yield items
        loads = CounterMetricFamily(
            "hashsearch_generations",
            "Generations of a gallery that were opened, or refused.",
            labels=["gallery", "outcome"],
        )
        for (name, outcome), times in self._shelf.loads.copy().items():
            loads.add_metric([name, outcome], times)
        yield loads
