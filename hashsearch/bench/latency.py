"""How fast a gallery is searched, and that what it finds is what brute force finds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.quality import one_order_keys
from hashsearch.codes import hamming_distance, split_codes
from hashsearch.errors import ArgumentError, GalleryError
from hashsearch.gallery import Gallery, search_threads
from hashsearch.gallery.multi_index import code_words
from hashsearch.gallery.threads import usable_cores

__all__ = [
    "brute_force_recall",
    "build_and_time",
    "memory_rate",
    "search_times",
    "size_of",
    "summarise",
    "time_gallery",
]

Codes = npt.NDArray[np.uint8]
Search = Callable[[Codes], object]

_WARM_UP = 50  # queries
_CHECKED = 20  # queries compared with brute force
_BATCHES = 3


def search_times(search: Search, queries: Codes) -> npt.NDArray[np.float64]:
    """The wall time of each query, searched alone.

    Args:
        search: takes ``uint8 (1, code_bytes)``.
        queries: ``uint8 (q, code_bytes)``.

    Returns:
        ``float64 (q,)``, in microseconds.
    """
    times = np.empty(len(queries))
    for number in range(len(queries)):
        query = queries[number : number + 1]
        start = time.perf_counter_ns()
        search(query)
        times[number] = (time.perf_counter_ns() - start) / 1000
    return times


def summarise(times: npt.NDArray[np.float64]) -> dict[str, float]:
    """Percentiles in microseconds, and queries a second one after another.

    >>> summarise(np.array([100.0, 100.0, 200.0, 400.0]))["queries_per_s"]
    5000.0
    """
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {
        "p50_us": round(float(p50), 1),
        "p95_us": round(float(p95), 1),
        "p99_us": round(float(p99), 1),
        "queries_per_s": round(1e6 / float(times.mean()), 1),
    }


def time_gallery(gallery: Gallery, queries: Codes, *, radius: int, k: int = 10) -> dict[str, Any]:
    """Single and batched searches of real codes, checked against brute force first.

    Three operations: `nearest`, the best ``k``, which is what a person who searches asks for;
    `within`, the whole ball, ranked; and `size`, how large the ball is, and where it lies.

    Args:
        gallery: is searched as it stands.
        queries: ``uint8 (q, code_bytes)``.
        radius: of the ball, in bits.
        k: matches wanted of `nearest`.

    Returns:
        ``recall`` (against brute force, always 1.0), ``recall_queries``, ``memory_gb_per_s`` (see
        :func:`memory_rate`), ``cores``, and ``operations``: for each, its percentiles and rates on
        one thread, ``all_cores_queries_per_s``, the rate of a batch on all cores, and
        ``floor_us``: what reading and writing the least bytes that a median query needs would
        take, at that rate, by a scan; None where tables spare one the scan. Ready for JSON.

    Raises:
        ArgumentError: no queries.
        GalleryError: an answer differs from brute force.
    """
    if not len(queries):
        raise ArgumentError("no queries to time; give one code or more")
    operations: dict[str, Search] = {
        "nearest": lambda codes: gallery.nearest(codes, k=k, radius=radius),
        "within": lambda codes: gallery.within(codes, radius=radius),
        "size": lambda codes: gallery.within(codes, radius=radius, limit=0),
    }
    with search_threads(1):
        recall = brute_force_recall(gallery, queries[:_CHECKED], radius=radius, k=k)
        if recall != 1.0:
            raise GalleryError(
                f"the search found {recall:.4f} of what brute force finds, which must be 1.0; "
                "run `hashsearch verify` on the gallery, and report it if that passes"
            )
        timed = [
            {"operation": name, "k": k if name == "nearest" else None, **_rates(search, queries)}
            for name, search in operations.items()
        ]
    rate = memory_rate()
    least = _least_bytes(gallery, queries, radius)
    for entry in timed:
        entry["all_cores_queries_per_s"] = _batched(operations[entry["operation"]], queries)
        floor = least and least[entry["operation"]] / rate * 1e6
        entry["floor_us"] = floor and float(f"{floor:.3g}")
    return {
        "queries": len(queries),
        "radius": radius,
        "threads": 1,
        "cores": usable_cores(),
        "memory_gb_per_s": round(rate / 1e9, 2),
        "recall": recall,
        "recall_queries": min(len(queries), _CHECKED),
        "operations": timed,
    }


@cache
def memory_rate() -> float:
    """How fast one thread reads what no cache holds, in bytes/s: the sum of 256 MB, best of five.

    What a cache holds is read several times faster.
    """
    words = np.ones(1 << 25)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        words.sum()
        taken.append(time.perf_counter() - start)
    return words.nbytes / min(taken)


def _least_bytes(gallery: Gallery, queries: Codes, radius: int) -> dict[str, float] | None:
    """The bytes of each operation on a median query, if the gallery scans its distinct codes."""
    if "mih/places" in gallery.content.datasets:
        return None
    scan = code_words(gallery.content.datasets["codes/distinct"]).nbytes
    ball = float(np.median(gallery.within(queries, radius=radius, limit=0).ball_size))
    fine = ball * gallery.fine_bits // 8
    # Of each item that is listed, a row of 8 bytes and two distances of 4.
    return {"size": scan, "nearest": scan + fine, "within": scan + fine + 16 * ball}


def build_and_time(
    codes: Codes,
    queries: Codes,
    *,
    n_bits: int,
    fine_bits: int,
    radius: int,
) -> tuple[Gallery, dict[str, Any]]:
    """Build a gallery of these codes, write it, open it, and time it as :func:`time_gallery`.

    Args:
        codes: ``uint8 (n, code_bytes)``.
        queries: ``uint8 (q, code_bytes)``.
        n_bits: length of the semantic code.
        fine_bits: length of the fine code.
        radius: of the ball, in bits.

    Returns:
        The gallery in memory, and what :func:`time_gallery` returns with ``items``,
        ``distinct_codes``, ``build_s`` (sorting, indexing and writing), ``open_s``,
        ``file_bytes``, ``bytes_per_item`` (of the file: codes, ids, indexes) and
        ``code_bytes``.
    """
    with tempfile.TemporaryDirectory(prefix="hashsearch-bench-") as folder:
        path = Path(folder) / "gallery.h5"
        with search_threads(1):
            start = time.perf_counter()
            built = Gallery.from_codes(codes, n_bits=n_bits, fine_bits=fine_bits)
            built.save(path)
            build_s = time.perf_counter() - start
        start = time.perf_counter()
        opened = Gallery.open(path)
        open_s = time.perf_counter() - start
        timed = time_gallery(opened, queries, radius=radius)
        return built, {
            **size_of(built, path.stat().st_size),
            "build_s": round(build_s, 3),
            "open_s": round(open_s, 4),
            **timed,
        }


def size_of(gallery: Gallery, file_bytes: int | None) -> dict[str, Any]:
    """Items, distinct semantic codes and bytes, ready for JSON."""
    return {
        "items": len(gallery),
        "distinct_codes": gallery.n_distinct,
        "code_bytes": (gallery.n_bits + gallery.fine_bits) // 8,
        "file_bytes": file_bytes,
        "bytes_per_item": None if file_bytes is None else round(file_bytes / len(gallery), 1),
    }


def brute_force_recall(gallery: Gallery, queries: Codes, *, radius: int, k: int) -> float:
    """The share of right answers that the search gives, of all operations together.

    Right by the slow reference alone: for `nearest`, an item that is no further back in
    the one order than the k-th (items equal there may stand for each other); for
    `within`, an item of the ball. A wrong item, or one given twice, takes a right one's
    place; and so does a wrong size of the ball alone, by as much as it is wrong.

    Args:
        gallery: is searched.
        queries: ``uint8 (q, code_bytes)``.
        radius: of the ball, in bits.
        k: matches wanted of `nearest`.

    Returns:
        At most 1; 1.0 means that every answer is right and complete.
    """
    codes = gallery.codes()
    semantic = split_codes(codes, gallery.n_bits)[0]
    found = wanted = 0
    for number in range(len(queries)):
        query = queries[number : number + 1]
        keys = one_order_keys(query, codes, gallery.n_bits, radius)[0]
        cut = min(k, len(codes))
        distance = hamming_distance(split_codes(query, gallery.n_bits)[0], semantic)[0]
        inside = distance <= radius
        ball_size = int(inside.sum())
        nearest = gallery.nearest(query, k=k, radius=radius).rows
        within = gallery.within(query, radius=radius).rows
        for rows, right, size in (
            (nearest, keys <= np.partition(keys, cut - 1)[cut - 1], cut),
            (within, inside, ball_size),
        ):
            found += int(right[np.unique(rows)].sum()) - max(len(rows) - size, 0)
            wanted += size
        alone = gallery.within(query, radius=radius, limit=0).ball_size[0]
        found -= abs(int(alone) - ball_size)
    return found / wanted


def _rates(search: Search, queries: Codes) -> dict[str, Any]:
    search_times(search, queries[:_WARM_UP])
    single = summarise(search_times(search, queries))
    return {**single, "batched_queries_per_s": _batched(search, queries)}


def _batched(search: Search, queries: Codes) -> float:
    """Queries a second, all in one call: the median of a few calls."""
    taken = []
    for _ in range(_BATCHES):
        start = time.perf_counter()
        search(queries)
        taken.append(time.perf_counter() - start)
    return round(len(queries) / float(np.median(taken)), 1)
