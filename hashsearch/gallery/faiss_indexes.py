"""FAISS's binary indexes over the distinct codes, each complete at any radius.

``hash`` looks in the buckets whose first ``b`` bits differ from the query's in at most ``nflip``
places, and so is complete for a radius up to ``nflip``; ``multihash`` does so in ``m`` tables, and
is complete up to ``m * (nflip + 1) - 1``. ``nflip`` is set to what the radius asks for; where that
costs more probes than there are codes, ``flat`` answers.

On a GPU, FAISS finds the nearest codes of many queries at once, up to :data:`GPU_MOST` of each.
"""

from __future__ import annotations

import math
import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError, GalleryDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "GPU_MOST",
    "INDEX_KINDS",
    "FaissIndexes",
    "Found",
    "readable",
    "serialised_indexes",
]

INDEX_KINDS = ("flat", "hash", "multihash")
"""The FAISS indexes that a gallery file can hold."""

_CLASSES = {
    "flat": "IndexBinaryFlat",
    "hash": "IndexBinaryHash",
    "multihash": "IndexBinaryMultiHash",
}
_MEND = "rebuild the gallery with `hashsearch build-index`"

GPU_MOST = 2048
"""How many nearest codes FAISS finds on a GPU."""


class Found(NamedTuple):
    """What FAISS found: query ``i`` has ``limits[i]:limits[i + 1]`` of the other arrays."""

    limits: npt.NDArray[np.uint64]
    distance: npt.NDArray[np.float32]
    place: npt.NDArray[np.int64]


class FaissIndexes:
    """The indexes of a gallery, loaded or built when they are first asked for.

    Args:
        distinct: ``uint8 (u, n_bits // 8)``, all different.
        datasets: where ``faiss/<kind>`` may lie, serialised over the same codes.
    """

    def __init__(
        self, distinct: npt.NDArray[np.uint8], datasets: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        self._distinct = distinct
        self._datasets = datasets
        self._indexes: dict[str, Any] = {}
        self._process = os.getpid()
        # nflip is a property of the index, not of the call: one search at a time sets it.
        self._lock = threading.Lock()

    def range_search(self, queries: npt.NDArray[np.uint8], radius: int, kind: str) -> Found:
        """The codes within a radius of each query.

        Args:
            queries: ``uint8 (q, n_bits // 8)``.
            radius: in bits; codes at this distance are found.
            kind: one of :data:`INDEX_KINDS`.
        """
        queries = readable(queries)
        if kind != "flat":
            index = self._index(kind)
            tables = index.nhash if kind == "multihash" else 1
            # Above b there is nothing left to flip, and FAISS would search for ever.
            flips = min(radius // tables, index.b)
            probes = tables * sum(math.comb(index.b, flipped) for flipped in range(flips + 1))
            if probes <= len(self._distinct):
                with self._lock:
                    index.nflip = flips
                    return _range_search(index, queries, radius)
        return _range_search(self._index("flat"), queries, radius)

    def has_gpu(self) -> bool:
        """Whether FAISS has a GPU here, and the codes fit it."""
        # A forked process has no use of what its parent holds on a GPU.
        return self._on_gpu is not None and self._process == os.getpid()

    def nearest(
        self, queries: npt.NDArray[np.uint8], count: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The nearest codes by the GPU; of the equally far, any.

        Args:
            queries: ``uint8 (q, n_bits // 8)``.
            count: how many, at most :data:`GPU_MOST`, and no more than there are.

        Returns:
            Distances in bits, ascending, and places, both ``(q, count)``.

        Raises:
            ArgumentError: FAISS has no GPU here, or the codes do not fit it.
        """
        if not self.has_gpu():
            raise ArgumentError(
                "FAISS has no GPU here, or not enough of its memory; use index 'auto', or install "
                "a faiss-gpu that knows this GPU"
            )
        with self._lock:  # threads must not share what FAISS holds on a GPU
            distance, place = self._on_gpu.search(readable(queries), count)
        return distance, place

    @cached_property
    def _on_gpu(self) -> Any:
        try:
            return gpu_index(self._distinct)
        except RuntimeError:  # FAISS's, of CUDA: mostly no memory
            return None

    def without_gpu(self) -> None:
        """From now on there is none: a search on it has failed."""
        self._on_gpu = None

    def _index(self, kind: str) -> Any:
        with self._lock:
            if kind not in self._indexes:
                stored = self._datasets.get(f"faiss/{kind}")
                if stored is None:
                    self._indexes[kind] = _build(kind, self._distinct)
                else:
                    self._indexes[kind] = _read(kind, stored, self._distinct)
            return self._indexes[kind]


def gpu_index(distinct: npt.NDArray[np.uint8]) -> Any:
    """FAISS's flat index of these codes on the first GPU; None where there is no GPU.

    Args:
        distinct: ``uint8 (u, n_bits // 8)``.
    """
    faiss = _faiss()
    if not hasattr(faiss, "GpuIndexBinaryFlat") or not faiss.get_num_gpus():
        return None
    index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), 8 * distinct.shape[1])
    index.add(readable(distinct))
    return index


def serialised_indexes(
    distinct: npt.NDArray[np.uint8], kinds: Iterable[str]
) -> dict[str, npt.NDArray[np.uint8]]:
    """Indexes over the distinct codes as FAISS serialises them.

    Args:
        distinct: ``uint8 (u, n_bits // 8)``.
        kinds: some of :data:`INDEX_KINDS`.

    Returns:
        ``faiss/<kind>`` to ``uint8 (bytes,)``. A kind that FAISS cannot serialise without
        loss is left out; a search that names it builds it then.

    Raises:
        ArgumentError: an unknown kind.
    """
    datasets = {}
    for kind in kinds:
        if kind not in INDEX_KINDS:
            raise ArgumentError(f"indexes must be some of {', '.join(INDEX_KINDS)}, not {kind!r}")
        if kind == "multihash" and _loses_codes(distinct):
            continue
        datasets[f"faiss/{kind}"] = _faiss().serialize_index_binary(_build(kind, distinct))
    return datasets


def _range_search(index: Any, queries: npt.NDArray[np.uint8], radius: int) -> Found:
    # FAISS finds what is nearer than its radius, not what is at it.
    return Found(*index.range_search(queries, radius + 1))


def _faiss() -> Any:
    # A plain pass over the codes does without FAISS, and a cold start is sooner done.
    import faiss  # noqa: PLC0415

    return faiss


def _read(kind: str, stored: npt.NDArray[np.uint8], distinct: npt.NDArray[np.uint8]) -> Any:
    """A stored index, if it is one of these codes.

    Raises:
        GalleryDamaged: it is none, or one of others.
    """
    try:
        index: Any = _faiss().deserialize_index_binary(stored)
    except RuntimeError as error:
        raise GalleryDamaged(f"faiss/{kind} is no index of FAISS ({error}); {_MEND}") from None
    shape = (index.ntotal, index.code_size)
    if type(index).__name__ != _CLASSES[kind] or shape != distinct.shape:
        raise GalleryDamaged(f"faiss/{kind} is not an index of the gallery's codes; {_MEND}")
    return index


def _build(kind: str, distinct: npt.NDArray[np.uint8]) -> Any:
    faiss = _faiss()
    n_bits = 8 * distinct.shape[1]
    if kind == "flat":
        index = faiss.IndexBinaryFlat(n_bits)
    elif kind == "hash":
        index = faiss.IndexBinaryHash(n_bits, min(16, n_bits))
    else:
        index = faiss.IndexBinaryMultiHash(n_bits, *_tables(n_bits, len(distinct)))
    index.add(readable(distinct))
    return index


def _tables(n_bits: int, n_distinct: int) -> tuple[int, int]:
    """Number of multihash tables and bits of each.

    About log2 of the number of codes, so that a bucket of evenly spread codes holds about
    one (Norouzi et al. 2014, section 3.3); then as wide as ``n_bits`` allows.
    """
    about = min(16.0, max(8.0, math.log2(n_distinct)))
    tables = max(1, round(n_bits / about))
    return tables, n_bits // tables


def _loses_codes(distinct: npt.NDArray[np.uint8]) -> bool:
    """Whether FAISS's serialised multihash would lose codes.

    It writes the length of a bucket with as many bits as an id takes. When the number of
    codes is a power of two and one bucket holds them all, the length overflows to 0 and
    the bucket comes back empty.
    """
    n_distinct, width = distinct.shape
    if n_distinct & (n_distinct - 1):
        return False
    tables, bits = _tables(8 * width, n_distinct)
    differing = np.unpackbits(
        np.bitwise_or.reduce(distinct ^ distinct[0], axis=0), bitorder="little"
    )[: tables * bits]
    return not differing.reshape(tables, bits).any(axis=1).all()


def readable(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A copy with slack behind it: FAISS reads 8 bytes at each code, past the last one's end."""
    buffer = np.zeros(codes.size + 8, np.uint8)
    buffer[: codes.size] = codes.ravel()
    return buffer[: codes.size].reshape(codes.shape)
