"""FAISS's binary indexes over the items, each at settings from exact to quick."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from hashsearch.bench.peers.system import Built, Codes, Peer, Rows, System, Task, Unable
from hashsearch.gallery.faiss_indexes import readable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FAISS_PEERS"]

_HASH_BITS = 16
_TABLES = 3
_MAX_FLIPS = 3  # beyond it the probes outnumber what a flat scan looks at
_LINKS = 16  # of an item of the HNSW graph
_LEAST_OF_A_LIST = 39  # fewer items, and FAISS warns of poor clusters


def _flat(codes: Codes, task: Task, folder: Path) -> Built:
    del folder
    index = _filled(faiss.IndexBinaryFlat(task.n_bits), codes)
    return Built([_system(index, task, "", exact=True)], _bytes(index))


def _hash(codes: Codes, task: Task, folder: Path) -> Built:
    del folder
    bits = min(_HASH_BITS, task.n_bits)
    return _hashed(faiss.IndexBinaryHash(task.n_bits, bits), 1, bits, codes, task)


def _multihash(codes: Codes, task: Task, folder: Path) -> Built:
    del folder
    bits = min(task.n_bits // _TABLES, 32)
    index = faiss.IndexBinaryMultiHash(task.n_bits, _TABLES, bits)
    return _hashed(index, _TABLES, bits, codes, task)


def _hashed(index: Any, tables: int, bits: int, codes: Codes, task: Task) -> Built:
    """Hash tables; at the ``nflip`` that is complete for a radius, at several for the nearest.

    ``m`` tables with ``nflip = f`` find every code within ``m * (f + 1) - 1`` bits. FAISS hangs
    for ``nflip > b``, the bits of a table.
    """
    if task.radius is None:
        flips: Sequence[int] = range(min(_MAX_FLIPS, bits) + 1)
    else:
        flips = [math.ceil((task.radius + 1) / tables) - 1]
        if flips[0] > min(_MAX_FLIPS, bits):
            raise Unable(f"complete only with nflip {flips[0]}, which is slower than to scan")
    _filled(index, codes)
    systems = [
        _system(index, task, f"nflip {flip}", exact=task.radius is not None, nflip=flip)
        for flip in flips
    ]
    return Built(systems, _bytes(index))


def _ivf(codes: Codes, task: Task, folder: Path) -> Built:
    del folder
    lists = max(1, min(round(math.sqrt(len(codes))), len(codes) // _LEAST_OF_A_LIST))
    index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(task.n_bits), task.n_bits, lists)
    # It trains a float index by k-means, whose progress it would print otherwise.
    index.cp.verbose = False
    _filled(index, codes)
    systems = [
        _system(index, task, f"nprobe {probes}", exact=False, nprobe=probes)
        for probes in (1, 8, 64)
        if probes <= lists
    ]
    return Built(systems, _bytes(index))


def _hnsw(codes: Codes, task: Task, folder: Path) -> Built:
    del folder
    if task.radius is not None:
        raise Unable("no search by radius")
    index = _filled(faiss.IndexBinaryHNSW(task.n_bits, _LINKS), codes)

    def search(codes: Codes, depth: int) -> Any:
        index.hnsw.efSearch = depth
        return index.search(codes, task.k)

    systems = [
        System(f"efSearch {depth}", False, partial(search, depth=depth), _nearest_rows)
        for depth in (16, 64, 256)
    ]
    return Built(systems, _bytes(index))


def _filled(index: Any, codes: Codes) -> Any:
    codes = readable(codes)
    if not index.is_trained:
        index.train(codes)
    index.add(codes)
    return index


def _bytes(index: Any) -> int:
    return int(faiss.serialize_index_binary(index).nbytes)


def _system(index: Any, task: Task, setting: str, *, exact: bool, **dials: int) -> System:
    if task.radius is None:
        find, bound, rows = index.search, task.k, _nearest_rows
    else:
        # FAISS finds what is nearer than its bound, not what is at it.
        find, bound, rows = index.range_search, task.radius + 1, _ball_rows

    def search(codes: Codes) -> Any:
        for name, value in dials.items():
            setattr(index, name, value)
        return find(codes, bound)

    return System(setting, exact, search, rows)


def _nearest_rows(answer: Any) -> list[Rows]:
    _, rows = answer
    return [found[found >= 0] for found in rows]  # -1 where it found no more


def _ball_rows(answer: Any) -> list[Rows]:
    limits, _, rows = answer
    return np.split(rows, limits[1:-1].astype(np.int64))


FAISS_PEERS = (
    Peer("FAISS IndexBinaryFlat", _flat, is_basic=True),
    Peer(f"FAISS IndexBinaryHash({_HASH_BITS})", _hash, is_basic=True),
    Peer(f"FAISS IndexBinaryMultiHash({_TABLES})", _multihash, is_basic=True),
    Peer("FAISS IndexBinaryIVF", _ivf),
    Peer(f"FAISS IndexBinaryHNSW({_LINKS})", _hnsw, most_items=1_000_000),
)
