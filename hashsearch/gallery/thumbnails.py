"""The small pictures of a gallery's items: most of its bytes, so never all in memory."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["OFFSETS", "PICTURES", "Thumbnails"]

PICTURES, OFFSETS = "items/thumbnail", "items/thumbnail_offsets"
"""The datasets of a gallery file that hold them."""

_PIECE = 1 << 20  # bytes that are written at once, and a picture more


class Thumbnails:
    """Pictures of ``n`` items (JPEG bytes), each read when it is wanted.

    Args:
        sizes: gives ``int64 (n,)``, bytes a picture; 0: the item has none.
        read: gives the picture of an item.
    """

    def __init__(
        self, sizes: Callable[[], npt.NDArray[np.int64]], read: Callable[[int], bytes]
    ) -> None:
        self._make_sizes = sizes
        self._read = read

    @classmethod
    def of(cls, pictures: Sequence[bytes | None]) -> Thumbnails:
        """Those of a list.

        Raises:
            ArgumentError: one is neither bytes nor None.
        """
        for place, picture in enumerate(pictures):
            if picture is not None and not isinstance(picture, bytes):
                raise ArgumentError(
                    f"thumbnails[{place}] must be bytes (a JPEG) or None, not "
                    f"{type(picture).__name__}"
                )
        return cls(
            lambda: np.array([len(picture or b"") for picture in pictures], np.int64),
            lambda item: pictures[item] or b"",
        )

    @classmethod
    def stored(cls, datasets: Mapping[str, npt.NDArray[np.uint8]]) -> Thumbnails | None:
        """Those of a gallery file, whose datasets are checked when one is first read."""
        if PICTURES not in datasets:
            return None

        def read(item: int) -> bytes:
            begin, end = datasets[OFFSETS][item : item + 2].tolist()
            return datasets[PICTURES][begin:end].tobytes()

        return cls(lambda: np.diff(datasets[OFFSETS]).view(np.int64), read)

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """``int64 (n,)``: bytes a picture; 0: the item has none."""
        return self._make_sizes()

    @property
    def offsets(self) -> npt.NDArray[np.uint64]:
        """``uint64 (n + 1,)``: where each picture begins and ends, one behind the other."""
        return np.append(np.uint64(0), np.cumsum(self.sizes, dtype=np.uint64))

    @property
    def nbytes(self) -> int:
        """Of all pictures together."""
        return int(self.sizes.sum())

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, item: int) -> bytes:
        return self._read(item)

    def take(self, items: npt.NDArray[np.int64]) -> Thumbnails:
        """Those of these items (``int64 (m,)``), in that order."""
        return Thumbnails(lambda: self.sizes[items], lambda place: self._read(int(items[place])))

    def followed_by(self, other: Thumbnails) -> Thumbnails:
        """These, and then the others'."""

        def read(item: int) -> bytes:
            return self[item] if item < len(self) else other[item - len(self)]

        return Thumbnails(lambda: np.concatenate([self.sizes, other.sizes]), read)

    def pieces(self) -> Iterator[bytes]:
        """All pictures, one behind the other, about a MiB at a time."""
        piece: list[bytes] = []
        held = 0
        for item in np.flatnonzero(self.sizes).tolist():
            piece.append(self[item])
            held += len(piece[-1])
            if held >= _PIECE:
                yield b"".join(piece)
                piece.clear()
                held = 0
        if piece:
            yield b"".join(piece)
