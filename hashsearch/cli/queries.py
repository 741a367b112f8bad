"""What a search is asked for: images, and items of the gallery."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashsearch.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from hashsearch.encoder import Encoder
    from hashsearch.gallery import Gallery, Matches
    from hashsearch.pictures import SheetRow

__all__ = ["Queries"]

_SHOWN_SIDE = 224  # pixels, of a query on a sheet
_AT_ONCE = 256  # images that the network is given


@dataclass
class Queries:
    """What the queries are called, their codes, what they look like, and what cannot be read.

    Attributes:
        drawn: keep what a sheet or a preview shows of them.
        names: of the queries: an item's id, an image's path.
        unreadable: an image could not be read, and was told.
    """

    drawn: bool
    names: list[str] = field(default_factory=list)
    unreadable: bool = False
    _codes: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    _own: list[int] = field(default_factory=list)
    _pictures: list[Image.Image | None] = field(default_factory=list)
    _titles: list[str] = field(default_factory=list)
    _types: list[str | None] = field(default_factory=list)

    @property
    def codes(self) -> npt.NDArray[np.uint8]:
        """``uint8 (q, code_bytes)``."""
        import numpy as np

        return np.concatenate(self._codes)

    @property
    def own(self) -> npt.NDArray[np.int64]:
        """``int64 (q,)``: the row of what each query is in the gallery that is searched, or -1."""
        import numpy as np

        return np.array(self._own, np.int64)

    def sheet_rows(self, matches: Sequence[Matches]) -> list[SheetRow]:
        """Each query with its matches, to be ``drawn``."""
        from hashsearch.pictures import SheetRow

        columns = zip(self._titles, self._pictures, matches, self._types, strict=True)
        return [SheetRow(*row) for row in columns]

    def add_items(self, whole: Gallery, searched: Gallery, ids: Sequence[str]) -> None:
        """Items of a gallery; they need not be among those that are searched."""
        if not ids:
            return
        rows = whole.content.rows_of(ids)
        places, there = searched.content.find(ids)
        self._own += [
            place if found else -1
            for place, found in zip(places.tolist(), there.tolist(), strict=True)
        ]
        self._codes.append(whole.codes(rows))
        self.names += ids
        if self.drawn:
            from hashsearch.pictures import MOST_QUERIES, match_image

            self._titles += ids
            self._types += whole.labels(rows)
            self._pictures += [
                match_image(whole, row) if place < MOST_QUERIES else None
                for place, row in enumerate(rows.tolist())
            ]

    def add_images(self, whole: Gallery, encoder: Encoder, sources: Sequence[str]) -> None:
        """Image files; of each only what the network sees is kept, and a small picture."""
        import numpy as np

        from hashsearch import console
        from hashsearch.images import prepared

        types = {*whole.content.values("label")} if self.drawn else set()
        for start in range(0, len(sources), _AT_ONCE):
            pixels = []
            for source in sources[start : start + _AT_ONCE]:
                picture, message = _read(source, encoder)
                if picture is None:
                    self.unreadable = True
                    click.echo(f"Error: {console.printable(message)}", err=True)
                    continue
                pixels.append(prepared(picture, encoder.preprocessing))
                self.names.append("standard input" if source == "-" else source)
                self._own.append(-1)
                if self.drawn:
                    self._draw(source, picture, types)
            if pixels:
                self._codes.append(encoder.encode_pixels(np.stack(pixels)))

    def _draw(self, source: str, picture: Image.Image, types: Collection[str]) -> None:
        from hashsearch.pictures import MOST_QUERIES

        self._titles.append(Path(self.names[-1]).name)
        self._types.append(None if source == "-" else _type_of(Path(source), types))
        if shown := len(self._pictures) < MOST_QUERIES:
            picture.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        self._pictures.append(picture if shown else None)


def _read(source: str, encoder: Encoder) -> tuple[Image.Image | None, str]:
    """The picture of a query, or what is wrong with it."""
    from hashsearch.images import read_image

    piped = source == "-"
    try:
        content = sys.stdin.buffer.read() if piped else source
        # As a build reads it, so that the file of an item is found at distance 0.
        return read_image(content, least_side=encoder.preprocessing.least_side), ""
    except ImageError as error:
        return None, f"standard input: {error}" if piped else str(error)


def _type_of(image: Path, types: Collection[str]) -> str | None:
    """The type that the folder of an image is named as, in the way of a folder's gallery."""
    folders = image.absolute().parent.parts
    named = ("/".join(folders[begin:]) for begin in range(len(folders)))
    return next((name for name in named if name in types), None)
