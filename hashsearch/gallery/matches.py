"""What a search found, for any number of queries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.gallery.content import LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashsearch.gallery.content import Content

__all__ = ["Matches"]


@dataclass(frozen=True, eq=False)
class Matches:
    """The matches of ``q`` queries, ``m`` in all, those of one query after those of another.

    The matches of query ``i`` are ``offsets[i]:offsets[i + 1]`` in the arrays over ``m``,
    best first: by how far outside the ball (``max(distance - radius, 0)``), then by
    ``full_distance``, then by id. ``matches[i]``, or a loop, gives those of one query.
    """

    offsets: npt.NDArray[np.int64]
    """``int64 (q + 1,)``."""
    rows: npt.NDArray[np.int64]
    """``int64 (m,)``: rows of the gallery."""
    distance: npt.NDArray[np.int32]
    """``int32 (m,)``: Hamming distance of the semantic codes, in bits."""
    full_distance: npt.NDArray[np.int32]
    """``int32 (m,)``: Hamming distance of the whole codes, in bits."""
    ball_size: npt.NDArray[np.int64]
    """``int64 (q,)``: how many items lie within the radius, listed here or not."""
    radius: int
    """The radius that was searched with, in bits."""
    _content: Content = field(repr=False)
    missing: tuple[str, ...] = ()
    """Shards that are not searched, of a gallery over several machines that was told to do without;
    empty: the answer is complete."""

    @property
    def in_ball(self) -> npt.NDArray[np.bool_]:
        """``bool (m,)``: ``distance <= radius``."""
        return self.distance <= self.radius

    @property
    def ids(self) -> list[str]:
        """The ids of the matches."""
        return self._content.ids(self.rows)

    @property
    def labels(self) -> list[str | None]:
        """The labels of the matches; None where an item has none."""
        return self.column(LABEL)

    def column(self, name: str) -> list[str | None]:
        """What the matches have in a column of the gallery; None where an item has nothing."""
        return self._content.column(name, self.rows)

    @property
    def column_names(self) -> list[str]:
        """The gallery's columns."""
        return self._content.column_names

    @property
    def paths(self) -> list[str | None]:
        """The image paths of the matches; None where an item has none."""
        return self._content.paths(self.rows)

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.ball_size)

    def __getitem__(self, query: int) -> Matches:
        """The matches of one query, as matches of a single query."""
        query = range(len(self))[query]
        begin, end = self.offsets[query : query + 2].tolist()
        return replace(
            self,
            offsets=np.array([0, end - begin]),
            rows=self.rows[begin:end],
            distance=self.distance[begin:end],
            full_distance=self.full_distance[begin:end],
            ball_size=self.ball_size[query : query + 1],
        )

    def take(self, places: npt.NDArray[np.int64]) -> Matches:
        """Some of the matches of a single query (``int64 (m,)``, their places, ascending)."""
        return replace(
            self,
            offsets=np.array([0, len(places)]),
            rows=self.rows[places],
            distance=self.distance[places],
            full_distance=self.full_distance[places],
        )

    def __iter__(self) -> Iterator[Matches]:
        for query in range(len(self)):
            yield self[query]
