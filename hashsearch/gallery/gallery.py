"""A gallery: the images that can be found, and the search for them."""

from __future__ import annotations

import operator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.codes import check_codes, split_codes
from hashsearch.errors import ArgumentError, EncoderMismatch, GalleryWriteError
from hashsearch.gallery.arrange import arrange
from hashsearch.gallery.change import compacted, indexed, merged, selected
from hashsearch.gallery.content import LABEL, utf8
from hashsearch.gallery.faiss_indexes import INDEX_KINDS
from hashsearch.gallery.file import read
from hashsearch.gallery.hamming_index import Balls, HammingIndex, check_index, default_indexes
from hashsearch.gallery.manifest import is_sharded, read_manifest
from hashsearch.gallery.matches import Matches
from hashsearch.gallery.ranking import Ranked, Ranking, fine_words
from hashsearch.gallery.threads import in_threads, parts
from hashsearch.gallery.thumbnails import PICTURES
from hashsearch.gallery.writer import writing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from hashsearch.gallery.content import Content
    from hashsearch.gallery.writer import Writer

__all__ = ["Gallery", "Search", "changing"]

_SHOWN = 20  # values that a message lists
_COMPARED = 1 << 16  # characters that are looked at for what was meant
_QUERIES_A_THREAD = 64  # fewer are sooner done by one


@dataclass(frozen=True, eq=False)
class Search:
    """What is searched for, checked; see :meth:`Gallery.nearest` and :meth:`Gallery.within`.

    Attributes:
        codes: ``uint8 (q, code_bytes)``.
        radius: in bits.
        index: one of :data:`SEARCHES`.
        limit: the best how many of each query; None: all within the radius; 0: none, but their
            number.
        widen: past the radius, too, up to the limit.
        ranked: in the one order, else by row.
    """

    codes: npt.NDArray[np.uint8]
    radius: int
    index: str
    limit: int | None
    widen: bool
    ranked: bool


class Gallery:
    """Items with their codes, searchable; :meth:`open` or :meth:`from_codes` makes one.

    A gallery never changes. A *row* is an item's place in it: items are sorted by semantic
    code, then by id.
    """

    def __init__(self, content: Content) -> None:
        self.content = content

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Gallery:
        """Open a gallery file, or the folder of a sharded gallery; nothing of it stays locked.

        Raises:
            GalleryMissing: there is no file of this name, or a shard is not there.
            GalleryDamaged: truncated, altered, or no gallery. Damage to an array shows when
                the array is first used, here or in a later call.
        """
        if Path(path).is_dir():
            from hashsearch.gallery.sharding import open_shards  # noqa: PLC0415 - made of galleries

            return open_shards(Path(path), read_manifest(Path(path)))
        return Gallery(read(path))

    @classmethod
    def from_codes(
        cls,
        codes: npt.ArrayLike,
        *,
        n_bits: int = 48,
        fine_bits: int = 64,
        ids: Sequence[str] | None = None,
        labels: Sequence[str | None] | None = None,
        paths: Sequence[str | None] | None = None,
        thumbnails: Sequence[bytes | None] | None = None,
        columns: Mapping[str, Sequence[str | None]] | None = None,
        encoder_fingerprint: str | None = None,
        encoder_name: str | None = None,
        indexes: Sequence[str] | None = None,
    ) -> Gallery:
        """A gallery in memory, of codes from anywhere.

        Args:
            codes: ``uint8 (n, (n_bits + fine_bits) // 8)``, ``n`` at least 1, in any order.
            n_bits: length of the semantic code in bits.
            fine_bits: length of the fine code in bits; 0: none.
            ids: ``n`` unique names; "0", "1", ... unless given.
            labels: what kind of item each is, or None.
            paths: where each image lies, or None.
            thumbnails: a small picture of each as JPEG bytes, or None.
            columns: further facts by name, one or None an item, to show and to filter by.
            encoder_fingerprint: SHA-256 of the encoder that made the codes, if one did.
            encoder_name: its name.
            indexes: FAISS indexes to store, some of ``flat``, ``hash``, ``multihash``; None: all
                where the distinct codes are few. A search that names one that is not stored
                builds it first. Hash tables of our own are stored where codes are many.

        Raises:
            CodesError: codes of another shape, dtype or width.
            ArgumentError: no item, a wrong number of ids (labels, ...), a duplicate id, a text
                that UTF-8 or HDF5 cannot hold.
        """
        return Gallery(
            arrange(
                codes,
                n_bits=n_bits,
                fine_bits=fine_bits,
                ids=ids,
                labels=labels,
                paths=paths,
                thumbnails=thumbnails,
                columns=columns,
                stamps=None,
                source=None,
                encoder_fingerprint=encoder_fingerprint,
                encoder_name=encoder_name,
                indexes=indexes,
            )
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the gallery file, all or nothing; what was there is replaced.

        Raises:
            GalleryBusy: another writer is at work on this file.
            GalleryWriteError: the folder or the disk refuses it; what was there is whole.
        """
        with writing(path) as writer:
            writer.write(self)

    def __len__(self) -> int:
        """The number of items."""
        return self.content.n_items

    @property
    def n_bits(self) -> int:
        """Length of the semantic code in bits."""
        return self.content.n_bits

    @property
    def n_distinct(self) -> int:
        """How many different semantic codes the items have."""
        return self.content.n_distinct

    @property
    def fine_bits(self) -> int:
        """Length of the fine code in bits; 0: none."""
        return self.content.fine_bits

    @property
    def has_thumbnails(self) -> bool:
        """Whether it holds a small picture of any item."""
        thumbnails = self.content.thumbnails
        return thumbnails is not None and thumbnails.nbytes > 0

    @property
    def column_names(self) -> list[str]:
        """What is known of the items beside their paths: ``label``, where any has one, and
        the further columns, sorted.
        """
        return self.content.column_names

    @property
    def indexes(self) -> tuple[str, ...]:
        """The FAISS indexes that it holds, some of ``flat``, ``hash`` and ``multihash``."""
        return tuple(kind for kind in INDEX_KINDS if f"faiss/{kind}" in self.content.datasets)

    @property
    def chosen_indexes(self) -> tuple[str, ...] | None:
        """The FAISS indexes that it was asked to hold; None: those that it has by default."""
        return None if self.indexes == default_indexes(self.n_distinct) else self.indexes

    @property
    def encoder_fingerprint(self) -> str | None:
        """SHA-256 of the encoder that made the codes, if it is known."""
        return self.content.encoder_fingerprint

    @property
    def encoder_name(self) -> str | None:
        """Name of the encoder that made the codes, if it is known."""
        return self.content.encoder_name

    @property
    def created(self) -> str:
        """When the gallery was made: ISO 8601, UTC."""
        return self.content.created

    @property
    def path(self) -> Path | None:
        """The file that its items come from; None: they were never in one."""
        return self.content.path

    @property
    def source(self) -> str | None:
        """The resolved path of the folder or file that it was built from, if it is known."""
        return self.content.source

    @property
    def waits(self) -> bool:
        """Whether a search waits for other processes; one in this process never does."""
        return False

    def prepare(self) -> None:
        """Read and check all that searches and look-ups use, so that no later one has to wait.

        That is everything but the small pictures, which are checked together when the first of them
        is read, and FAISS's indexes.

        Raises:
            GalleryDamaged: an array is not as it was written.
        """
        datasets = self.content.datasets
        for name in datasets:
            if name != PICTURES and not name.startswith("faiss/"):
                _ = datasets[name]
        self.content.find([""])
        self.nearest(self.codes([0]), k=1)
        _ = self.has_thumbnails

    def check_encoder(self, fingerprint: str) -> None:
        """Refuse queries of another encoder; codes of two encoders cannot be compared.

        Raises:
            EncoderMismatch: the gallery was built with another one.
        """
        built_with = self.encoder_fingerprint
        if built_with is not None and built_with != fingerprint:
            name = f" ({self.encoder_name})" if self.encoder_name else ""
            raise EncoderMismatch(
                f"{self.path or 'the gallery'} was built with encoder {built_with[:12]}{name}, "
                f"not {fingerprint[:12]}; search with that encoder, or rebuild the gallery"
            )

    def codes(self, rows: npt.ArrayLike | None = None) -> npt.NDArray[np.uint8]:
        """The codes of these rows, all by default: ``uint8 (m, (n_bits + fine_bits) // 8)``."""
        return self.content.codes(rows)

    def ids(self, rows: npt.ArrayLike | None = None) -> list[str]:
        """The ids of these rows, all by default."""
        return self.content.ids(rows)

    def labels(self, rows: npt.ArrayLike | None = None) -> list[str | None]:
        """The labels of these rows, all by default; None where an item has none."""
        return self.column(LABEL, rows)

    def column(self, name: str, rows: npt.ArrayLike | None = None) -> list[str | None]:
        """What these rows, all by default, have in a column; None where an item has nothing."""
        return self.content.column(name, rows)

    def paths(self, rows: npt.ArrayLike | None = None) -> list[str | None]:
        """The image paths of these rows, all by default; None where an item has none."""
        return self.content.paths(rows)

    def label_counts(self) -> dict[str, int]:
        """How many items have each label, by label; sorted."""
        names, numbers = self.content.values(LABEL), self.content.numbers(LABEL)
        counts = np.bincount(numbers[numbers >= 0], minlength=len(names))
        return dict(zip(names, counts.tolist(), strict=True))

    def thumbnail(self, row: int) -> bytes | None:
        """The small picture of this row (JPEG bytes), or None."""
        return self.content.thumbnail(row)

    def info(self) -> dict[str, Any]:
        """What the gallery holds, in numbers; ready for JSON. Reads, so checks, all of it."""
        content = self.content
        sizes = {name: array.nbytes for name, array in content.datasets.items()}
        return {
            "path": None if self.path is None else str(self.path),
            "created": self.created,
            "items": len(self),
            "distinct_codes": content.n_distinct,
            "largest_bucket": int(content.items_per_code.max()),
            "n_bits": self.n_bits,
            "fine_bits": self.fine_bits,
            "searched_bytes_per_item": content.searched_bytes / len(self),
            "file_bytes": content.file_bytes,
            "file_bytes_per_item": content.file_bytes and content.file_bytes / len(self),
            "search": self._hamming_index.choice,
            "indexes": {kind: sizes[f"faiss/{kind}"] for kind in self.indexes},
            "encoder": {"name": self.encoder_name, "fingerprint": self.encoder_fingerprint},
            "labels": self.label_counts(),
            "columns": {
                name: content.n_values(name) for name in self.column_names if name != LABEL
            },
        }

    def only(
        self,
        *,
        labels: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        without_ids: Sequence[str] | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
    ) -> Gallery:
        """Some of the items: a gallery in memory, to search or to save.

        What a search does not need is not copied before it is asked for.

        Args:
            labels: keep the items with one of these; as ``where={"label": labels}``.
            ids: keep these; all must be in the gallery.
            without_ids: leave these out; others may be among them.
            where: by column, keep the items that have one of these values there. Of what holds
                several, parted by ``|``, one is enough.

        Raises:
            ArgumentError: an unknown column, value or id, or no item is left.
        """
        content = self.content
        keep = np.ones(len(self), bool)
        wanted = {LABEL: labels} if labels is not None else {}
        for name, values in (*wanted.items(), *(where or {}).items()):
            keep &= np.isin(content.numbers(name), self._value_numbers(name, values))
        if ids is not None:
            listed = np.zeros(len(self), bool)
            listed[content.rows_of(ids)] = True
            keep &= listed
        if without_ids is not None:
            keep[content.rows_of(without_ids, strict=False)] = False
        return self._kept(keep)

    def without(self, ids: Sequence[str]) -> Gallery:
        """All items but these, in memory.

        Raises:
            ArgumentError: an id is not in the gallery, or no item is left.
        """
        keep = np.ones(len(self), bool)
        keep[self.content.rows_of(ids)] = False
        return self._kept(keep)

    def _kept(self, keep: npt.NDArray[np.bool_]) -> Gallery:
        """The items of some rows, ``bool (n,)``."""
        return Gallery(selected(self.content, keep))

    def joined(self) -> Gallery:
        """The same items in one file's arrays: this gallery itself, unless it is sharded."""
        return self

    def check_new(self, ids: Sequence[str]) -> None:
        """Refuse ids that are in the gallery.

        Raises:
            ArgumentError: one is.
        """
        self.content.ids_before(utf8(ids))

    def merged(self, other: Gallery) -> Gallery:
        """The items of both, in memory.

        Args:
            other: with the same bit counts, of the same encoder, and with other ids.

        Raises:
            ArgumentError: other bit counts, or an id that is in both.
            EncoderMismatch: other's codes are another encoder's.
        """
        self.check_alike(other)
        return Gallery(merged(self.content, other.content))

    def check_alike(self, other: Gallery) -> None:
        """Refuse a gallery whose codes cannot be compared with those of this one.

        Raises:
            ArgumentError: it has other bit counts.
            EncoderMismatch: its codes are another encoder's.
        """
        if (self.n_bits, self.fine_bits) != (other.n_bits, other.fine_bits):
            raise ArgumentError(
                f"galleries of {self.n_bits} + {self.fine_bits} and of {other.n_bits} + "
                f"{other.fine_bits} bits cannot be merged; encode both with one encoder"
            )
        if other.encoder_fingerprint is not None:
            self.check_encoder(other.encoder_fingerprint)

    def compacted(self) -> Gallery:
        """The same items in less space, to be saved.

        Ids and paths get the width of the longest that is left.
        """
        return Gallery(compacted(self.content))

    def indexed(self, indexes: Sequence[str] | None = None) -> Gallery:
        """The same items with what searches them quickly, to be saved with it.

        Args:
            indexes: as for :meth:`from_codes`.

        Raises:
            ArgumentError: an unknown kind.
        """
        return Gallery(indexed(self.content, indexes))

    def nearest(
        self, codes: npt.ArrayLike, k: int = 10, radius: int = 2, index: str = "auto"
    ) -> Matches:
        """The best ``k`` items of each query, in the ball or not.

        The order is: how far outside the ball (``max(distance - radius, 0)``), then
        ``full_distance``, then id. The answer is exact whatever the index.

        Args:
            codes: ``uint8 (q, (n_bits + fine_bits) // 8)``.
            k: how many; a smaller gallery gives all it has.
            radius: of the ball, in bits of the semantic code; ``distance <= radius`` is inside.
            index: ``auto`` or the name of another way to search; see :data:`SEARCHES`.

        Raises:
            CodesError: codes of another shape, dtype or width.
            ArgumentError: ``k`` below 1, ``radius`` below 0, an unknown index.
        """
        return self._answer(codes, radius, index, limit=_whole(k, "k", 1), widen=True)

    def within(
        self,
        codes: npt.ArrayLike,
        radius: int = 2,
        limit: int | None = None,
        index: str = "auto",
        *,
        ranked: bool = True,
    ) -> Matches:
        """The items within the radius of each query, by ``full_distance``, then by id.

        Args:
            codes: ``uint8 (q, (n_bits + fine_bits) // 8)``.
            radius: in bits of the semantic code; ``distance <= radius`` is inside.
            limit: the best how many of each ball; None: all; 0: only ``ball_size``.
            index: ``auto`` or the name of another way to search; see :data:`SEARCHES`.
            ranked: False: the whole ball by row, which takes less time than its order does.

        Raises:
            CodesError: codes of another shape, dtype or width.
            ArgumentError: ``radius`` or ``limit`` below 0, an unknown index, or some of a ball
                that is not ranked.
        """
        if limit is not None:
            limit = _whole(limit, "limit", 0)
        if limit and not ranked:
            raise ArgumentError(f"limit {limit} is of a ranked ball; leave it out, or rank")
        return self._answer(codes, radius, index, limit=limit, widen=False, ranked=ranked)

    def histogram(self, codes: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """How many items lie at each distance from each query, from 0 to ``n_bits``.

        Exact: every distinct code is compared. The sum up to a radius is the size of that ball.

        Args:
            codes: ``uint8 (q, (n_bits + fine_bits) // 8)``.

        Returns:
            ``int64 (q, n_bits + 1)``.

        Raises:
            CodesError: codes of another shape, dtype or width.
        """
        return self.count(check_codes(codes, self.n_bits, self.fine_bits))

    def count(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """What :meth:`histogram` gives, of codes that are checked."""
        semantic, _ = split_codes(codes, self.n_bits)
        return self._hamming_index.histogram(semantic, self.content.offsets)

    @cached_property
    def _hamming_index(self) -> HammingIndex:
        content = self.content
        return HammingIndex(
            content.datasets["codes/distinct"],
            content.datasets,
            n_items=content.n_items,
            items_of=content.items_of,
        )

    @cached_property
    def _ranking(self) -> Ranking:
        return Ranking(self.content)

    def _value_numbers(self, name: str, wanted: Sequence[str]) -> list[int]:
        """The numbers of those values of a column that are wanted, or have it among several."""
        places: dict[str, list[int]] = {}
        for place, value in enumerate(self.content.values(name)):
            for part in {value, *value.split("|")}:
                places.setdefault(part, []).append(place)
        if not places and wanted:
            known = ", ".join(self.column_names)
            raise ArgumentError(
                f"no item of the gallery has a {name}; "
                + (f"its columns are {known}" if known else "it has no columns")
            )
        for value in wanted:
            if value not in places:
                # To compare a long text with each of many takes minutes.
                near = len(value) * len(places) <= _COMPARED and get_close_matches(value, places)
                close = near or sorted(places)[:_SHOWN]
                more = " ..." if len(close) < len(places) else ""
                raise ArgumentError(
                    f"no item of the gallery has the {name} {value!r}; there are "
                    f"{', '.join(close)}{more}"
                )
        return [place for value in wanted for place in places[value]]

    def _answer(
        self,
        codes: npt.ArrayLike,
        radius: int,
        index: str,
        *,
        limit: int | None,
        widen: bool,
        ranked: bool = True,
    ) -> Matches:
        check_index(index)
        return self.answer(
            Search(
                codes=check_codes(codes, self.n_bits, self.fine_bits),
                radius=_whole(radius, "radius", 0),
                index=index,
                limit=limit,
                widen=widen,
                ranked=ranked,
            )
        )

    def answer(self, search: Search) -> Matches:
        """What :meth:`nearest` or :meth:`within` gives, of arguments that they have checked."""
        codes, radius, limit, ranked = search.codes, search.radius, search.limit, search.ranked
        wanted = min(limit, len(self)) if search.widen and limit is not None else 0
        index = self._hamming_index.for_many(search.index, len(codes), wanted)
        # Scans of few codes, and the look-up of the few buckets of a ball, threads would slow down.
        spread = wanted and self._hamming_index.looks_up(index)
        _ = spread and self._ranking  # made once, before threads ask for it
        found = in_threads(
            lambda some: self._found(
                codes[some], radius, index, limit=limit, wanted=wanted, ranked=ranked
            ),
            parts(len(codes), _QUERIES_A_THREAD) if spread else [slice(0, len(codes))],
        )
        joined = Ranked.joined([some for _, some in found])
        offsets = np.zeros(len(codes) + 1, np.int64)
        np.cumsum(joined.held, out=offsets[1 : len(joined.held) + 1])
        return Matches(
            offsets=offsets,
            rows=joined.row,
            distance=joined.distance,
            full_distance=joined.full_distance,
            ball_size=np.concatenate([ball_size for ball_size, _ in found]),
            radius=radius,
            _content=self.content,
        )

    def _found(
        self,
        codes: npt.NDArray[np.uint8],
        radius: int,
        index: str,
        *,
        limit: int | None,
        wanted: int,
        ranked: bool,
    ) -> tuple[npt.NDArray[np.int64], Ranked]:
        """The sizes of the balls of some queries, ``int64 (q,)``, and what is found for them."""
        semantic, fine = split_codes(codes, self.n_bits)
        fine_queries = fine_words(np.ascontiguousarray(fine)) if self.fine_bits else None
        ball_size: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        found: list[Ranked] = []
        done = 0
        for balls in self._hamming_index.around(semantic, radius, wanted, index):
            some = slice(done, done + len(balls.limits) - 1)
            done = some.stop
            ball_size.append(self._ball_sizes(balls, radius))
            if limit != 0:
                fine_some = None if fine_queries is None else fine_queries[some]
                found.append(
                    self._ranking.best(balls, min(radius, self.n_bits), fine_some, limit)
                    if ranked
                    else self._ranking.unranked(balls, fine_some)
                )
        return np.concatenate(ball_size), Ranked.joined(found)

    def _ball_sizes(self, balls: Balls, radius: int) -> npt.NDArray[np.int64]:
        """How many items lie within the radius of each query, ``int64 (q,)``."""
        items = np.where(balls.distance <= radius, self.content.items_of(balls.place), 0)
        if len(balls.limits) == 2:
            return np.array([items.sum()])
        held: npt.NDArray[np.int64] = np.append(0, np.cumsum(items))[balls.limits]
        return np.diff(held)


@contextmanager
def changing(path: str | os.PathLike[str]) -> Iterator[tuple[Gallery, Writer]]:
    """Be the only writer of a gallery that is there, while the body runs; with what it holds.

    Raises:
        GalleryMissing, GalleryDamaged: as :meth:`Gallery.open`.
        GalleryBusy, GalleryWriteError: as :func:`writing`.
    """
    if is_sharded(Path(path)):
        raise GalleryWriteError(
            f"cannot change {path}: it is in shards; change the gallery that it was made of, and "
            "run `hashsearch shard` again"
        )
    Gallery.open(path)  # before a folder is made for what is not there
    with writing(path) as writer:
        yield Gallery.open(path), writer


def _whole(value: int, name: str, least: int) -> int:
    """The value as an int, if it is a whole number of at least ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ArgumentError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return number
