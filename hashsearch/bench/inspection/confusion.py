"""Which types lie in each other's balls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from hashsearch.codes import hamming_distance, split_codes

if TYPE_CHECKING:
    from hashsearch.bench.inspection.queries import Drawn
    from hashsearch.gallery import Gallery

__all__ = ["Confused", "Confusion", "measure_confusion"]

_Sparse: TypeAlias = Any  # csr_array of float64; its stubs differ between versions of SciPy
_BLOCK = 1 << 22  # distances held at once: 16 MB of int32


class Confused(NamedTuple):
    """A pair of types: how much of the balls of the first is of the second."""

    asked: str
    found: str
    share: float


@dataclass(frozen=True, eq=False)
class Confusion:
    """What the balls of each type hold.

    Attributes:
        names: of the ``t`` types.
        queries: ``int64 (t,)``, how many queries of each type have a ball that is not empty.
        share: sparse ``float64 (t, t)``: the mean, over the queries of the first type whose ball
            is not empty, of the share of the ball that is of the second; 0 without queries.
    """

    names: tuple[str, ...]
    queries: npt.NDArray[np.int64]
    share: _Sparse

    def pairs(self, least_queries: int = 1) -> list[Confused]:
        """Pairs of different types, the most confused first.

        Args:
            least_queries: leave out types that ask less often.
        """
        cells = self.share.tocoo()
        found = [
            Confused(self.names[asked], self.names[other], float(share))
            for asked, other, share in zip(*cells.coords, cells.data, strict=True)
            if asked != other and share > 0 and self.queries[asked] >= least_queries
        ]
        return sorted(found, key=lambda pair: (-pair.share, pair.asked, pair.found))

    def among(self, most: int) -> tuple[list[str], npt.NDArray[np.float64]]:
        """The types that ask, or so many of them that are confused most, as names and shares.

        Returns:
            Their names and ``float64 (m, m)``.
        """
        asking = np.flatnonzero(self.queries)
        if len(asking) > most:
            own = self.share.diagonal()[asking]
            asking = np.sort(asking[np.argsort(own, kind="stable")[:most]])
        shown = self.share[asking][:, asking].toarray()
        return [self.names[place] for place in asking], shown


def measure_confusion(
    gallery: Gallery, drawn: Drawn, labels: npt.NDArray[np.int32], radius: int
) -> Confusion:
    """Count the types in the ball of each query, over the distinct codes that are searched.

    Args:
        gallery: whose codes.
        drawn: queries and what they search, all with a label.
        labels: ``int32 (n,)``, of every row of the gallery.
        radius: of the ball, in bits.
    """
    n_types = len(drawn.names)
    codes = split_codes(gallery.codes(drawn.searched), gallery.n_bits)[0]
    distinct, code_of = np.unique(codes, axis=0, return_inverse=True)
    ones = np.ones(len(code_of))
    held: _Sparse = csr_array(
        (ones, (code_of, labels[drawn.searched])), shape=(len(distinct), n_types)
    )
    held.sum_duplicates()
    asking = split_codes(gallery.codes(drawn.queries), gallery.n_bits)[0]
    type_of = labels[drawn.queries]
    total: _Sparse = csr_array((n_types, n_types))
    queries = np.zeros(n_types, np.int64)
    step = max(1, _BLOCK // len(distinct))
    for start in range(0, len(asking), step):
        some = slice(start, start + step)
        inside: _Sparse = csr_array(hamming_distance(asking[some], distinct) <= radius, dtype=float)
        balls = inside @ held
        sizes = np.asarray(balls.sum(axis=1)).ravel()
        filled = np.flatnonzero(sizes)
        by_type: _Sparse = csr_array(
            (1 / sizes[filled], (type_of[some][filled], filled)), shape=(n_types, len(sizes))
        )
        total = total + by_type @ balls
        queries += np.bincount(type_of[some][filled], minlength=n_types)
    mean: _Sparse = csr_array(total.multiply(1 / np.maximum(queries, 1)[:, None]))
    return Confusion(drawn.names, queries, mean)
