"""The same radius search by FAISS's own binary indexes, over the items' semantic codes.

What FAISS offers out of the box: no distinct codes, no fine code, no ranking. One
thread, the same queries, in turns, in one run, and the same answers or an error.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import numpy.typing as npt

from hashsearch.bench.latency import search_times, summarise
from hashsearch.codes import split_codes
from hashsearch.errors import GalleryError
from hashsearch.gallery import INDEX_KINDS, Gallery, Matches, search_threads
from hashsearch.gallery.faiss_indexes import readable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compare_with_peers"]

Codes = npt.NDArray[np.uint8]

_HASH_BITS = 16
_TABLES = 3
_MAX_FLIPS = 3  # beyond it the probes outnumber what a flat scan looks at
_ROUNDS = 3
_WARM_UP = 5
_CHECKED = 20


def _indexes(n_bits: int, radius: int) -> dict[str, tuple[Any, int | None]]:
    """Each peer's empty index and its ``nflip``; those that can be complete at this radius."""
    peers: dict[str, tuple[Any, int | None]] = {
        "IndexBinaryFlat": (faiss.IndexBinaryFlat(n_bits), None)
    }
    bits = min(_HASH_BITS, n_bits)
    if radius <= min(_MAX_FLIPS, bits):
        # FAISS hangs for nflip > b, hence the second bound.
        peers[f"IndexBinaryHash({bits}, nflip={radius})"] = (
            faiss.IndexBinaryHash(n_bits, bits),
            radius,
        )
    # m tables with nflip = f find every code within m * (f + 1) - 1.
    flips = math.ceil((radius + 1) / _TABLES) - 1
    bits = min(n_bits // _TABLES, 32)
    if flips <= min(_MAX_FLIPS, bits):
        peers[f"IndexBinaryMultiHash({_TABLES}, {bits}, nflip={flips})"] = (
            faiss.IndexBinaryMultiHash(n_bits, _TABLES, bits),
            flips,
        )
    return peers


def compare_with_peers(
    gallery: Gallery, queries: Codes, *, radius: int, k: int = 10
) -> dict[str, Any]:
    """Times of FAISS's indexes over the items, beside those of the gallery.

    Args:
        gallery: is searched; its items, in row order, are what the peers index.
        queries: ``uint8 (q, code_bytes)``.
        radius: of the ball, in bits.
        k: matches wanted of `nearest`.

    Returns:
        ``systems``: for each, ``name``, ``build_s`` (None for the gallery), percentiles,
        and the ratio of its median time to that of the gallery's `within` (``ratio``, the
        same answer: the whole ball) and `nearest` (``ratio_to_nearest``: what a person
        who searches asks for); ready for JSON.

    Raises:
        GalleryError: a peer answers differently.
    """
    semantic = readable(split_codes(gallery.codes(), gallery.n_bits)[0])
    asked = readable(split_codes(queries, gallery.n_bits)[0])
    # FAISS's ball is strict: distance < bound.
    searches: dict[str, Callable[[Codes], Any]] = {
        "hashsearch within": lambda codes: gallery.within(codes, radius=radius),
        "hashsearch nearest": lambda codes: gallery.nearest(codes, k=k, radius=radius),
        "hashsearch within, limit 0": lambda codes: gallery.within(codes, radius=radius, limit=0),
        **{f"hashsearch within, {kind}": _within(gallery, radius, kind) for kind in INDEX_KINDS},
    }
    build_s: dict[str, float] = {}
    flips_of: dict[str, int | None] = {}
    with search_threads(1):
        for name, (index, flips) in _indexes(gallery.n_bits, radius).items():
            start = time.perf_counter()
            index.add(semantic)
            build_s[name] = round(time.perf_counter() - start, 3)
            flips_of[name] = flips
            if flips is not None:
                index.nflip = flips
            searches[name] = _range_search(index, radius)
            answers = searches[name](asked[:_CHECKED])
            if not _same_answers(gallery.within(queries[:_CHECKED], radius=radius), *answers):
                raise GalleryError(
                    f"{name} and the gallery find different items within {radius} bits; "
                    "run `hashsearch verify` on the gallery, and report it if that passes"
                )

        times: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in searches}
        for turn in range(_ROUNDS + 1):
            for name, search in searches.items():
                codes = queries if name.startswith("hashsearch") else asked
                taken = search_times(search, codes if turn else codes[:_WARM_UP])
                if turn:  # the first turn warms up
                    times[name].append(taken)
    summaries = {name: summarise(np.concatenate(parts)) for name, parts in times.items()}
    within = summaries["hashsearch within"]["p50_us"]
    nearest = summaries["hashsearch nearest"]["p50_us"]
    return {
        "items": len(gallery),
        "radius": radius,
        "queries": len(queries),
        "rounds": _ROUNDS,
        "threads": 1,
        "same_answers": True,
        "checked_queries": min(len(queries), _CHECKED),
        "systems": [
            {
                "name": name,
                "build_s": build_s.get(name),
                "nflip": flips_of.get(name),
                **summary,
                "ratio": round(summary["p50_us"] / within, 2),
                "ratio_to_nearest": round(summary["p50_us"] / nearest, 2),
            }
            for name, summary in summaries.items()
        ],
    }


def _within(gallery: Gallery, radius: int, kind: str) -> Callable[[Codes], Any]:
    return lambda codes: gallery.within(codes, radius=radius, index=kind)


def _range_search(index: Any, radius: int) -> Callable[[Codes], Any]:
    return lambda codes: index.range_search(codes, radius + 1)


def _same_answers(
    matches: Matches, limits: npt.NDArray[Any], distance: npt.NDArray[Any], rows: npt.NDArray[Any]
) -> bool:
    """Whether both hold the same items at the same distances, query by query, in any order."""
    if not np.array_equal(np.diff(matches.offsets), np.diff(limits.astype(np.int64))):
        return False
    query = np.repeat(np.arange(len(matches)), np.diff(matches.offsets))
    ours, theirs = np.lexsort((matches.rows, query)), np.lexsort((rows, query))
    return np.array_equal(matches.rows[ours], rows[theirs]) and np.array_equal(
        matches.distance[ours], distance[theirs].astype(np.int32)
    )
