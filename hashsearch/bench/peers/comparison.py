"""The gallery and other engines side by side: one thread, the same codes, in turns, in one run.

Two tasks. *ball*: all items whose semantic code is within the radius. *nearest*: the ``k`` nearest
items by the whole code. For the second, the gallery is searched in two ways: by its own order,
which keeps to the ball first and so finds others; and, for the same answer as the peers', as a
gallery of the same codes with all bits in the semantic one.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.latency import search_times, summarise
from hashsearch.bench.peers.of_faiss import FAISS_PEERS
from hashsearch.bench.peers.of_others import OTHER_PEERS
from hashsearch.bench.peers.system import Codes, Peer, Rows, System, Task, Unable
from hashsearch.codes import hamming_distance
from hashsearch.errors import ArgumentError, GalleryError
from hashsearch.gallery import Gallery, search_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hashsearch.gallery import Matches

__all__ = ["PEER_SETS", "compare_with_peers"]

PEER_SETS: Mapping[str, Sequence[Peer]] = {
    "basic": (*FAISS_PEERS[:3], OTHER_PEERS[0]),
    "all": (*FAISS_PEERS, *OTHER_PEERS),
}
"""``basic``: exact, quickly built, and there without further packages; ``all``: every peer."""

_ROUNDS = 3
_WARM_UP = 5  # queries
_SECONDS = 10.0  # for the queries of one system in one round
_CHECKED = 20  # balls
_BATCH = 100  # queries


@dataclass
class _Timed:
    """A system, what it was asked, and the wall times of that."""

    name: str
    system: System
    queries: Codes
    build_s: float
    bytes_per_item: float
    times: list[npt.NDArray[np.float64]]
    """Of each round, ``float64 (q,)``, in microseconds."""


def compare_with_peers(
    gallery: Gallery,
    queries: Codes,
    *,
    radius: int,
    k: int = 10,
    peers: str = "basic",
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Times and recall of other engines, beside those of the gallery.

    Args:
        gallery: is searched; its items, in row order, are what the peers index.
        queries: ``uint8 (q, code_bytes)``.
        radius: of the ball, in bits.
        k: how many nearest items.
        peers: a name in :data:`PEER_SETS`.
        progress: is told what is being done.

    Returns:
        ``systems``: for each, ``task``, ``name``, ``setting``, and ``skipped``: why, or None, and
        then ``exact``, ``build_s``, ``bytes_per_item``, percentiles, ``queries_per_s``,
        ``batched_queries_per_s`` (None: it has no batches), ``recall`` (against the exact answer;
        None: it lists no items) and ``ratio``, its median time to that of the first system of the
        task, which is ours. Ready for JSON.

    Raises:
        ArgumentError: an unknown set of peers.
        GalleryError: an engine that is exact answers differently.
    """
    if peers not in PEER_SETS:
        raise ArgumentError(f"peers must be one of {', '.join(PEER_SETS)}, not {peers!r}")
    codes = gallery.codes()
    tasks = {
        "ball": Task(gallery.n_bits, radius, k),
        "nearest": Task(8 * codes.shape[1], None, min(k, len(codes))),
    }
    systems: list[dict[str, Any]] = []
    with search_threads(1):
        for name, task in tasks.items():
            items = np.ascontiguousarray(codes[:, : task.n_bits // 8])
            asked = np.ascontiguousarray(queries[:, : task.n_bits // 8])
            with ExitStack() as resources:
                progress(f"{name}: building hashsearch")
                timed = (_our_balls if name == "ball" else _our_nearest)(gallery, task, queries)
                skipped = []
                for peer in PEER_SETS[peers]:
                    progress(f"{name}: building {peer.name}")
                    try:
                        timed += _built(peer, task, items, asked, resources)
                    except Unable as reason:
                        skipped.append({"task": name, "name": peer.name, "skipped": str(reason)})
                progress(f"{name}: comparing answers")
                truth = (_Balls if name == "ball" else _Nearest)(items, asked, task)
                recalls = [truth.recall(each) for each in timed]
                progress(f"{name}: timing")
                summaries = _summaries(timed, recalls)
                systems += [{"task": name, **summary} for summary in summaries] + skipped
    return {
        "items": len(gallery),
        "radius": radius,
        "k": k,
        "queries": len(queries),
        "rounds": _ROUNDS,
        "threads": 1,
        "systems": systems,
    }


def _built(
    peer: Peer, task: Task, items: Codes, asked: Codes, resources: ExitStack
) -> list[_Timed]:
    """A peer's index over the items, at all its settings."""
    if peer.most_items is not None and len(items) > peer.most_items:
        raise Unable(f"left out: of more than {peer.most_items:,} items it takes hours to build")
    try:
        for package in peer.packages:
            importlib.import_module(package)
    except ImportError as error:
        raise Unable(f"{error.name} is not installed: `pip install '.[peers]'`") from None
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="hashsearch-peer-")))
    start = time.perf_counter()
    built = peer.build(items, task, folder)
    build_s = time.perf_counter() - start
    resources.callback(built.close)
    return [
        _Timed(peer.name, system, asked, build_s, built.bytes / len(items), [])
        for system in built.systems
    ]


def _our_balls(gallery: Gallery, task: Task, queries: Codes) -> list[_Timed]:
    """The whole ball, ranked; its size and place alone; the whole by each way that has a name."""
    _, build_s = _timed_build(gallery.codes(), gallery.n_bits, gallery.fine_bits)

    def ours(setting: str, *, lists_items: bool = True, **arguments: Any) -> _Timed:
        search = partial(gallery.within, radius=task.radius or 0, **arguments)
        system = System(setting, True, search, _rows if lists_items else None)
        return _Timed("hashsearch", system, queries, build_s, _bytes_per_item(gallery), [])

    return [
        ours("ranked"),
        ours("size and place", lists_items=False, limit=0),
        *(ours(f"ranked, by {index}", index=index) for index in ("scan", "mih", *gallery.indexes)),
    ]


def _our_nearest(gallery: Gallery, task: Task, queries: Codes) -> list[_Timed]:
    """The peers' answer, by a gallery whose semantic code is the whole; and our own order."""
    codes = gallery.codes()
    _, two_level_s = _timed_build(codes, gallery.n_bits, gallery.fine_bits)
    one_level, one_level_s = _timed_build(codes, task.n_bits, 0)
    # Its ids are the rows of the other.
    row_of = np.array(one_level.ids(), np.int64)

    def ours(setting: str, index: str) -> System:
        search = partial(one_level.nearest, k=task.k, radius=0, index=index)
        return System(setting, True, search, lambda matches: [row_of[m] for m in _rows(matches)])

    settings = {"one level": "auto", "one level, by scan": "scan", "one level, by mih": "mih"}
    alike = [
        _Timed("hashsearch", ours(*each), queries, one_level_s, _bytes_per_item(one_level), [])
        for each in settings.items()
    ]
    own = System("two levels, its own order", False, partial(gallery.nearest, k=task.k), _rows)
    return [
        *alike,
        _Timed("hashsearch", own, queries, two_level_s, _bytes_per_item(gallery), []),
    ]


def _timed_build(codes: Codes, n_bits: int, fine_bits: int) -> tuple[Gallery, float]:
    start = time.perf_counter()
    built = Gallery.from_codes(codes, n_bits=n_bits, fine_bits=fine_bits, indexes=())
    return built, time.perf_counter() - start


def _bytes_per_item(gallery: Gallery) -> float:
    """Of all that a search reads: no ids, no FAISS indexes."""
    searched = sum(
        array.nbytes
        for name, array in gallery.content.datasets.items()
        if name.startswith(("codes/", "mih/")) or name in ("items/fine", "items/id_rank")
    )
    return searched / len(gallery)


def _rows(matches: Matches) -> list[Rows]:
    return [one.rows for one in matches]


class _Balls:
    """The items within the radius of the first few queries, by brute force."""

    def __init__(self, items: Codes, asked: Codes, task: Task) -> None:
        radius = task.radius or 0
        self._rows = [
            np.flatnonzero(hamming_distance(query[None], items)[0] <= radius)
            for query in asked[:_CHECKED]
        ]

    def recall(self, timed: _Timed) -> float | None:
        """The share of those that a system finds.

        Raises:
            GalleryError: it is exact, and finds others.
        """
        if timed.system.rows is None:
            return None
        right = 0
        for number, expected in enumerate(self._rows):
            answer = timed.system.search(timed.queries[number : number + 1])
            (found,) = timed.system.rows(answer)
            right += len(np.intersect1d(found, expected))
            if timed.system.exact and not np.array_equal(np.sort(found), expected):
                raise _other_answer(timed)
        wanted = sum(map(len, self._rows))
        return right / wanted if wanted else None


class _Nearest:
    """How far the k-th nearest item of every query is, by brute force."""

    def __init__(self, items: Codes, asked: Codes, task: Task) -> None:
        self._items, self._asked, self._k = items, asked, task.k
        self._farthest = [
            int(np.partition(hamming_distance(query[None], items)[0], task.k - 1)[task.k - 1])
            for query in asked
        ]

    def recall(self, timed: _Timed) -> float:
        """The share of the nearest that a system finds; of equally far ones any will do.

        Raises:
            GalleryError: it is exact, and finds others.
        """
        right = 0
        for number, farthest in enumerate(self._farthest):
            answer = timed.system.search(timed.queries[number : number + 1])
            (found,) = timed.system.rows(answer) if timed.system.rows else [np.zeros(0, np.int64)]
            rows = np.unique(found)
            query = self._asked[number : number + 1]
            right += int((hamming_distance(query, self._items[rows])[0] <= farthest).sum())
        recall = right / (self._k * len(self._farthest))
        if timed.system.exact and recall != 1.0:
            raise _other_answer(timed)
        return recall


def _other_answer(timed: _Timed) -> GalleryError:
    return GalleryError(
        f"{timed.name} finds different items than brute force; "
        "run `hashsearch verify` on the gallery, and report it if that passes"
    )


def _summaries(timed: Sequence[_Timed], recalls: Sequence[float | None]) -> list[dict[str, Any]]:
    """Time all in turns; the first round finds out how many queries each has time for."""
    counts = []
    for each in timed:
        warm = search_times(each.system.search, each.queries[:_WARM_UP])
        counts.append(max(_WARM_UP, int(_SECONDS * 1e6 / float(np.median(warm)))))
    for _ in range(_ROUNDS):
        for each, count in zip(timed, counts, strict=True):
            each.times.append(search_times(each.system.search, each.queries[:count]))
    summaries = [summarise(np.concatenate(each.times)) for each in timed]
    return [
        {
            "name": each.name,
            "setting": each.system.setting,
            "skipped": None,
            "exact": each.system.exact,
            "build_s": round(each.build_s, 3),
            "bytes_per_item": round(each.bytes_per_item, 1),
            **summary,
            "batched_queries_per_s": _batched(each, count),
            "recall": recall,
            "ratio": round(summary["p50_us"] / summaries[0]["p50_us"], 3),
        }
        for each, count, summary, recall in zip(timed, counts, summaries, recalls, strict=True)
    ]


def _batched(timed: _Timed, count: int) -> float | None:
    """Queries a second in one call."""
    if not timed.system.batches:
        return None
    some = timed.queries[: min(count, _BATCH)]
    start = time.perf_counter()
    timed.system.search(some)
    return round(len(some) / (time.perf_counter() - start), 1)
