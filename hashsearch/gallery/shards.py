"""A gallery in several files, the shards: each is searched, and the answers are merged.

The best ``k`` of all items are among the best ``k`` of each shard, and the one order (first how far
outside the ball, then the whole code, then the id) compares any two items without a look at the
others: so the merged answer is that of one file with all the items. The size of a ball is the
sum of those in the shards.

A *row* of a sharded gallery counts through the shards: those of the first, by semantic code and id,
then those of the second. One file with the same items would have them in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hashsearch.errors import GalleryError
from hashsearch.gallery.change import as_texts, selected
from hashsearch.gallery.content import LABEL, Content, now
from hashsearch.gallery.faiss_indexes import INDEX_KINDS
from hashsearch.gallery.gallery import Gallery, Search
from hashsearch.gallery.matches import Matches
from hashsearch.gallery.thumbnails import Thumbnails

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Found",
    "ShardedContent",
    "ShardedGallery",
    "found_in",
    "items_per_code",
    "merged_answers",
    "selected_shards",
]

Rows = npt.NDArray[np.int64]
Value = TypeVar("Value")


class _InShards(Mapping[str, npt.NDArray[Any]]):
    """The datasets that there would be if all items lay in one file."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        raise self._refusal()

    def __contains__(self, name: object) -> bool:
        raise self._refusal()

    def __iter__(self) -> Iterator[str]:
        raise self._refusal()

    def __len__(self) -> int:
        raise self._refusal()

    def _refusal(self) -> GalleryError:
        return GalleryError(
            f"{self._where} is in shards, and this takes one file; give the gallery that it was "
            "made of, or join the shards in memory with Gallery.joined()"
        )


@dataclass(frozen=True)
class ShardedContent(Content):
    """The look-ups by row over several contents, one behind the other."""

    shards: tuple[Content, ...] = ()

    @classmethod
    def of(
        cls,
        shards: Sequence[Content],
        *,
        n_distinct: int,
        encoder_fingerprint: str | None,
        encoder_name: str | None,
        created: str,
        path: Path | None,
    ) -> ShardedContent:
        """Those of shards with the same bit counts, at least one; the rest is told of all."""
        first = shards[0]
        sizes = [shard.file_bytes for shard in shards]
        return cls(
            n_bits=first.n_bits,
            fine_bits=first.fine_bits,
            n_items=sum(shard.n_items for shard in shards),
            n_distinct=n_distinct,
            encoder_fingerprint=encoder_fingerprint,
            encoder_name=encoder_name,
            created=created,
            datasets=_InShards(str(path or "the gallery")),
            thumbnails=_thumbnails(shards),
            source=first.source if len({shard.source for shard in shards}) == 1 else None,
            path=path,
            file_bytes=None if None in sizes else sum(size or 0 for size in sizes),
            shards=tuple(shards),
        )

    @cached_property
    def starts(self) -> Rows:
        """``int64 (shards + 1,)``: where the rows of each shard begin, and the last ends."""
        return np.cumsum([0, *(shard.n_items for shard in self.shards)])

    @property
    def searched_bytes(self) -> int:
        """Of the arrays that a search reads."""
        return sum(shard.searched_bytes for shard in self.shards)

    def ids_before(self, ids: npt.NDArray[Any]) -> Rows:
        """As of one content: how many ids come before each of these, which must be new."""
        before: Rows = np.sum([shard.ids_before(ids) for shard in self.shards], axis=0)
        return before

    def find(self, ids: Sequence[str]) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """As of one content: the rows of ids, and which are there."""
        rows, found = np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        for start, shard in zip(self.starts, self.shards, strict=False):
            own, here = shard.find(ids)
            rows[here] = start + own[here]
            found |= here
        return rows, found

    def codes(self, rows: npt.ArrayLike | None = None) -> npt.NDArray[np.uint8]:
        """As of one content: the whole codes of these rows, all by default."""
        rows = self._rows(rows)
        codes = np.empty((len(rows), (self.n_bits + self.fine_bits) // 8), np.uint8)
        for places, shard, own in self._by_shard(rows):
            codes[places] = shard.codes(own)
        return codes

    def ids(self, rows: npt.ArrayLike | None = None) -> list[str]:
        """As of one content: the ids of these rows, all by default."""
        return self._looked_up(rows, Content.ids)

    def paths(self, rows: npt.ArrayLike | None = None) -> list[str | None]:
        """As of one content: the image paths of these rows, all by default."""
        return self._looked_up(rows, Content.paths)

    def column(self, name: str, rows: npt.ArrayLike | None = None) -> list[str | None]:
        """As of one content: what these rows, all by default, have in a column."""
        return self._looked_up(rows, lambda shard, own: shard.column(name, own))

    @property
    def column_names(self) -> list[str]:
        """The columns of any shard, sorted; ``label`` comes first."""
        names = {name for shard in self.shards for name in shard.column_names}
        return [LABEL] * (LABEL in names) + sorted(names - {LABEL})

    def numbers(self, name: str) -> npt.NDArray[np.int32]:
        """As of one content: each item's place among the :meth:`values` of a column."""
        place_of = {value: place for place, value in enumerate(self.values(name))}
        parts = []
        for shard in self.shards:
            places = [place_of[value] for value in shard.values(name)]
            parts.append(np.array([*places, -1], np.int32)[shard.numbers(name)])  # -1 stays -1
        return np.concatenate(parts)

    def n_values(self, name: str) -> int:
        """How many distinct values a column has."""
        return len(self.values(name))

    def values(self, name: str, places: Rows | None = None) -> list[str]:
        """As of one content: the distinct values of a column, sorted."""
        values = sorted({value for shard in self.shards for value in shard.values(name)})
        return values if places is None else [values[place] for place in places.tolist()]

    def _looked_up(
        self, rows: npt.ArrayLike | None, look_up: Callable[[Content, Rows], Sequence[Value]]
    ) -> list[Value]:
        """What a look-up gives of these rows, all by default, each in its shard."""
        rows = self._rows(rows)
        value_at: dict[int, Value] = {}
        for places, shard, own in self._by_shard(rows):
            value_at.update(zip(places.tolist(), look_up(shard, own), strict=True))
        return [value_at[place] for place in range(len(rows))]

    def _by_shard(self, rows: Rows) -> Iterator[tuple[Rows, Content, Rows]]:
        """For each shard that has some of the rows: their places among them, and its own rows."""
        at = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(at).tolist():
            places = np.flatnonzero(at == number)
            yield places, self.shards[number], rows[places] - self.starts[number]


def _thumbnails(shards: Sequence[Content]) -> Thumbnails | None:
    """Those of shards, one behind the other."""
    if all(shard.thumbnails is None for shard in shards):
        return None
    pictures = [
        Thumbnails.of([None] * shard.n_items) if shard.thumbnails is None else shard.thumbnails
        for shard in shards
    ]
    ends = np.cumsum([shard.n_items for shard in shards])

    def read(item: int) -> bytes:
        number = int(np.searchsorted(ends, item, side="right"))
        return pictures[number][item - int(ends[number]) + shards[number].n_items]

    return Thumbnails(lambda: np.concatenate([each.sizes for each in pictures]), read)


class Found(NamedTuple):
    """What a shard answers, in arrays that can travel; as in :class:`Matches`, and the ids."""

    held: Rows
    """``int64 (q,)``: how many of the ``m`` matches each query has."""
    row: Rows
    """``int64 (m,)``, of the shard."""
    distance: npt.NDArray[np.int32]
    """``int32 (m,)``."""
    full_distance: npt.NDArray[np.int32]
    """``int32 (m,)``."""
    ball_size: Rows
    """``int64 (q,)``."""
    id: npt.NDArray[Any]
    """``S (m,)``, UTF-8."""


def items_per_code(shards: Sequence[Content]) -> Rows:
    """How many items have each of the different semantic codes of all shards: ``int64 (u,)``."""
    codes = np.concatenate([as_texts(shard.datasets["codes/distinct"]) for shard in shards])
    _, number = np.unique(codes, return_inverse=True)
    items = np.concatenate([shard.items_per_code for shard in shards])
    count: Rows = np.bincount(number, items).astype(np.int64)
    return count


def selected_shards(content: ShardedContent, keep: npt.NDArray[np.bool_]) -> ShardedContent:
    """The items of some rows; shards of which none is left are left out.

    Args:
        content: is left as it is.
        keep: ``bool (n,)``.

    Raises:
        ArgumentError: none is kept.
    """
    own = np.split(keep, content.starts[1:-1])
    some = [
        selected(shard, kept)
        for shard, kept in zip(content.shards, own, strict=True)
        if kept.any() or not keep.any()  # which is refused there
    ]
    return ShardedContent.of(
        some,
        n_distinct=len(items_per_code(some)),
        encoder_fingerprint=content.encoder_fingerprint,
        encoder_name=content.encoder_name,
        created=now(),
        path=content.path,
    )


def found_in(shard: Gallery, search: Search) -> Found:
    """What a search finds in one shard."""
    matches = shard.answer(search)
    return Found(
        np.diff(matches.offsets),
        matches.rows,
        matches.distance,
        matches.full_distance,
        matches.ball_size,
        shard.content.datasets["items/id"][matches.rows],
    )


def merged_answers(
    answers: Sequence[Found | None],
    search: Search,
    content: ShardedContent,
    missing: tuple[str, ...] = (),
) -> Matches:
    """The answer of all shards, of those of each.

    Args:
        answers: one a shard of ``content``; None of those that are missing, but not of all.
        search: that they answer.
        content: what was searched.
        missing: the names of the shards without an answer, for the answer to tell.
    """
    here = [
        (start, found)
        for start, found in zip(content.starts.tolist(), answers, strict=False)
        if found is not None
    ]
    founds = [found for _, found in here]
    row = np.concatenate([start + found.row for start, found in here])
    distance = np.concatenate([found.distance for found in founds])
    full = np.concatenate([found.full_distance for found in founds])
    query = np.concatenate([np.repeat(np.arange(len(f.held)), f.held) for f in founds])
    held = np.sum([found.held for found in founds], axis=0, dtype=np.int64)
    if search.ranked:
        outside = np.maximum(distance - min(search.radius, content.n_bits), 0)
        ids = np.concatenate([found.id for found in founds])
        order = np.lexsort((ids, full, outside, query))
    else:
        order = np.argsort(query, kind="stable")
    if search.limit is not None:
        rank = np.arange(len(order)) - np.repeat(np.cumsum(held) - held, held)
        order = order[rank < search.limit]
        held = np.minimum(held, search.limit)
    return Matches(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(held)]),
        rows=row[order],
        distance=distance[order],
        full_distance=full[order],
        ball_size=np.sum([found.ball_size for found in founds], axis=0, dtype=np.int64),
        radius=search.radius,
        _content=content,
        missing=missing,
    )


class ShardedGallery(Gallery):
    """Items in several galleries, searched as one; :meth:`Gallery.open` of a folder makes one.

    It answers what one file with the same items would, but for the rows. Its shards are searched
    one after another. What takes all arrays of one file is done with :meth:`joined`.
    """

    content: ShardedContent

    def __init__(self, content: ShardedContent) -> None:
        super().__init__(content)

    @cached_property
    def shards(self) -> tuple[Gallery, ...]:
        """Each as a gallery of its own."""
        return tuple(Gallery(shard) for shard in self.content.shards)

    @property
    def shard_names(self) -> tuple[str, ...]:
        """What each shard is called: the name of its file, or its number."""
        return tuple(
            str(number) if shard.path is None else shard.path.name
            for number, shard in enumerate(self.shards)
        )

    def prepare(self) -> None:
        """As of one gallery: read and check all that searches and look-ups use."""
        for shard in self.shards:
            shard.prepare()

    @property
    def indexes(self) -> tuple[str, ...]:
        """The FAISS indexes that every shard holds."""
        return tuple(
            kind for kind in INDEX_KINDS if all(kind in shard.indexes for shard in self.shards)
        )

    def joined(self) -> Gallery:
        """The same items as one gallery, in memory."""
        content = reduce(Gallery.merged, self.shards).content
        return Gallery(replace(content, path=self.path, source=self.source))

    def info(self) -> dict[str, Any]:
        """What the gallery holds, in numbers; ready for JSON. Reads, so checks, all of it."""
        of_shards = [shard.info() for shard in self.shards]
        facts = dict(of_shards[0])
        content = self.content
        facts.update(
            path=None if self.path is None else str(self.path),
            created=self.created,
            items=len(self),
            distinct_codes=self.n_distinct,
            largest_bucket=int(items_per_code(content.shards).max()),
            searched_bytes_per_item=content.searched_bytes / len(self),
            file_bytes=content.file_bytes,
            file_bytes_per_item=content.file_bytes and content.file_bytes / len(self),
            indexes={
                kind: sum(each["indexes"][kind] for each in of_shards) for kind in self.indexes
            },
            encoder={"name": self.encoder_name, "fingerprint": self.encoder_fingerprint},
            labels=self.label_counts(),
            columns={name: content.n_values(name) for name in self.column_names if name != LABEL},
            shards=dict(zip(self.shard_names, map(len, self.shards), strict=True)),
        )
        return facts

    def answer(self, search: Search) -> Matches:
        """What a search finds, in all shards."""
        answers = [found_in(shard, search) for shard in self.shards]
        return merged_answers(answers, search, self.content)

    def count(self, codes: npt.NDArray[np.uint8]) -> Rows:
        """What :meth:`histogram` gives, of codes that are checked."""
        counts: Rows = np.sum([shard.count(codes) for shard in self.shards], axis=0)
        return counts

    def _kept(self, keep: npt.NDArray[np.bool_]) -> Gallery:
        return ShardedGallery(selected_shards(self.content, keep))
