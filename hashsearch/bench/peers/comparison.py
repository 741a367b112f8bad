"""The gallery and other engines side by side: one thread, the same codes, in turns, in one run.

Two tasks. *ball*: all items whose semantic code is within the radius. *nearest*: the ``k`` nearest
items by the whole code. A search of the gallery goes by the ball first, which is another order; so
for the same answer as the peers', a gallery of the same codes with all bits in the semantic one is
searched, too.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from hashsearch.bench.latency import search_times, summarise
from hashsearch.bench.machine import one_core
from hashsearch.bench.peers.of_faiss import FAISS_PEERS
from hashsearch.bench.peers.of_others import OTHER_PEERS
from hashsearch.bench.peers.ours import ball_contenders, nearest_contenders
from hashsearch.bench.peers.system import Codes, Contender, Peer, Task, Unable
from hashsearch.codes import hamming_distance
from hashsearch.errors import ArgumentError, GalleryError
from hashsearch.gallery import Gallery, search_threads
from hashsearch.gallery.faiss_indexes import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["PEER_SETS", "compare_with_peers"]

PEER_SETS: Mapping[str, Sequence[Peer]] = {
    "basic": [peer for peer in (*FAISS_PEERS, *OTHER_PEERS) if peer.is_basic],
    "all": (*FAISS_PEERS, *OTHER_PEERS),
}
"""``basic``: quickly built, and there without further packages; ``all``: every peer."""

_ROUNDS = 3
_WARM_UP = 5  # queries
_SECONDS = 10.0  # for the queries of one system in one round
_CHECKED = 20  # balls
_BATCH = 100  # queries


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
        ``systems``: for each, ``task``, ``name``, and ``skipped``: why, or None, and then
        ``setting``, ``index`` (of ours, the way to search; None: its own choice), ``exact``,
        ``build_s``, ``bytes_per_item`` (on disk, without ids), percentiles, ``queries_per_s``,
        ``batched_queries_per_s`` (None: it has no batches), ``recall`` (against brute force; None:
        there was nothing to find, or it lists no items) and ``ratio``, its median time to that of
        the first system of the task, which is ours. Ready for JSON.

    Raises:
        ArgumentError: an unknown set of peers.
        GalleryError: an engine that is exact answers differently.
    """
    if peers not in PEER_SETS:
        raise ArgumentError(f"peers must be one of {', '.join(PEER_SETS)}, not {peers!r}")
    codes = gallery.codes()
    k = min(k, len(codes))
    tasks = {"ball": Task(gallery.n_bits, radius, k), "nearest": Task(8 * codes.shape[1], None, k)}
    systems: list[dict[str, Any]] = []
    with search_threads(1), one_core():
        for name, task in tasks.items():
            items = np.ascontiguousarray(codes[:, : task.n_bits // 8])
            # FAISS reads past the end of queries, too.
            asked = readable(queries[:, : task.n_bits // 8])
            progress(f"{name}: building hashsearch")
            if name == "ball":
                truth: _Truth = _Balls(items, asked, radius)
                ours = list(ball_contenders(gallery, radius))
            else:
                truth = _Nearest(items, asked, k)
                ours = list(nearest_contenders(gallery, radius, k))
            running = [_Running(each, queries, truth.recall(each, queries)) for each in ours]
            skipped = []
            with ExitStack() as resources:
                for peer in PEER_SETS[peers]:
                    progress(f"{name}: building {peer.name}")
                    try:
                        built = _built(peer, task, items, resources)
                        running += [
                            _Running(each, asked, truth.recall(each, asked)) for each in built
                        ]
                    except GalleryError:
                        raise
                    except Exception as error:
                        kind = "" if isinstance(error, Unable) else f"{type(error).__name__}: "
                        skipped.append({"name": peer.name, "skipped": f"{kind}{error}"})
                progress(f"{name}: timing")
                entries = [*_timed(running), *skipped]
            systems += [{"task": name, **entry} for entry in entries]
    return {
        "items": len(gallery),
        "radius": radius,
        "k": k,
        "queries": len(queries),
        "rounds": _ROUNDS,
        "threads": 1,
        "systems": systems,
    }


def _built(peer: Peer, task: Task, items: Codes, resources: ExitStack) -> list[Contender]:
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
        Contender(peer.name, None, system, build_s, built.bytes / len(items))
        for system in built.systems
    ]


class _Truth(Protocol):
    """What brute force finds."""

    def recall(self, contender: Contender, queries: Codes) -> float | None:
        """The share of it that a contender finds; None where there is nothing to find.

        Raises:
            GalleryError: the contender is exact, and finds something else.
        """
        ...


class _Balls:
    """The items within the radius of the first few queries."""

    def __init__(self, items: Codes, asked: Codes, radius: int) -> None:
        self._rows = [
            np.flatnonzero(hamming_distance(query[None], items)[0] <= radius)
            for query in asked[:_CHECKED]
        ]

    def recall(self, contender: Contender, queries: Codes) -> float | None:
        system, right = contender.system, 0
        for number, expected in enumerate(self._rows):
            answer = system.search(queries[number : number + 1])
            if system.rows is None:
                is_right = answer.ball_size[0] == len(expected)
            else:
                (found,) = system.rows(answer)
                right += len(np.intersect1d(found, expected))
                is_right = np.array_equal(np.sort(found), expected)
            if system.exact and not is_right:
                raise _other_answer(contender)
        wanted = sum(map(len, self._rows))
        return right / wanted if wanted and system.rows else None


class _Nearest:
    """How far the k-th nearest item of every query is; of equally far ones any will do."""

    def __init__(self, items: Codes, asked: Codes, k: int) -> None:
        self._items, self._asked, self._k = items, asked, k
        self._farthest = [
            int(np.partition(hamming_distance(query[None], items)[0], k - 1)[k - 1])
            for query in asked
        ]

    def recall(self, contender: Contender, queries: Codes) -> float | None:
        system, right = contender.system, 0
        if system.rows is None:
            return None
        for number, farthest in enumerate(self._farthest):
            (found,) = system.rows(system.search(queries[number : number + 1]))
            query, rows = self._asked[number : number + 1], np.unique(found)
            right += int((hamming_distance(query, self._items[rows])[0] <= farthest).sum())
        wanted = self._k * len(self._farthest)
        if system.exact and right != wanted:
            raise _other_answer(contender)
        return right / wanted


def _other_answer(contender: Contender) -> GalleryError:
    return GalleryError(
        f"{contender.name} {contender.system.setting} finds different items than brute force; "
        "run `hashsearch verify` on the gallery, and report it if that passes"
    )


class _Running:
    """A contender, what it is asked, and how it did."""

    def __init__(self, contender: Contender, queries: Codes, recall: float | None) -> None:
        self.contender = contender
        self.recall = recall
        self._search = contender.system.search
        taken = np.median(search_times(self._search, queries[:_WARM_UP]))
        self._queries = queries[: max(_WARM_UP, int(_SECONDS * 1e6 / taken))]
        self._times: list[npt.NDArray[np.float64]] = []

    def take_turn(self) -> None:
        """Time every query once, in microseconds."""
        self._times.append(search_times(self._search, self._queries))

    def summary(self) -> dict[str, float]:
        """Of all turns."""
        return summarise(np.concatenate(self._times))

    def batched_queries_per_s(self) -> float | None:
        """Of many queries in one call."""
        if not self.contender.system.batches:
            return None
        some = self._queries[:_BATCH]
        start = time.perf_counter()
        self._search(some)
        return round(len(some) / (time.perf_counter() - start), 1)


def _timed(running: Sequence[_Running]) -> Iterable[dict[str, Any]]:
    """Time all in turns; an entry each."""
    for _ in range(_ROUNDS):
        for each in running:
            each.take_turn()
    first = running[0].summary()["p50_us"]
    for each in running:
        contender, summary = each.contender, each.summary()
        yield {
            "name": contender.name,
            "skipped": None,
            "setting": contender.system.setting,
            "index": contender.index,
            "exact": contender.system.exact,
            "build_s": round(contender.build_s, 3),
            "bytes_per_item": round(contender.bytes_per_item, 1),
            **summary,
            "batched_queries_per_s": each.batched_queries_per_s(),
            "recall": each.recall,
            "ratio": round(summary["p50_us"] / first, 3),
        }
