"""MVC, Multi-View Clothing: 161,205 images of clothes, several views of each article.

Liu, Chen and Chen, "MVC: A Dataset for View-Invariant Clothing Retrieval and Attribute
Prediction", ICMR 2016. Its authors publish no images but three lists, one row an image, which
belong together by position: ``image_links.json`` (where each image was), ``attribute_labels.json``
(264 attributes, 0 or 1) and ``mvc_info.json`` (what the shop said). Of the 161,260 rows, 55 name an
image that an earlier row names.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.csv_file import read_text, wrong
from hashsearch.datasets.item import Item
from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["LINKS", "read_mvc"]

LINKS = "image_links.json"
"""The list that a folder is recognised by."""

_LABELS = "attribute_labels.json"
_INFO = "mvc_info.json"
_IMAGE_FOLDERS = ("images", "image", "image_data")
# What attribute_labels.json has beside the attributes.
_NO_ATTRIBUTES = frozenset({"filename", "itemN", "productId", "styleId", "colourId", "viewId"})
# What an item says elsewhere than among its columns.
_NO_COLUMNS = frozenset({"filename", "itemN", "viewId"})

_Row = TypeVar("_Row")


def read_mvc(path: Path, seed: int = 0) -> Catalogue:
    """The images of MVC, each once, in the order of its lists.

    An item's id is the name of its image, the last part of ``image_url_4x``; its label is
    ``category/subCategory2``, its key ``itemN``. Columns: ``view`` (``viewId``), ``filename``,
    what else ``mvc_info.json`` says except addresses of images, and ``rows``: in how many rows
    the image stands, where these are several; the first of them counts. Quotes around a value
    are left out.

    The images are looked for in the folder itself and the folders in it (``images``, ``image``
    and ``image_data`` before others), by that name and by ``filename`` with ``.jpg``: those who
    fetch them name them so or so. Where most of them lie, all are expected; a missing one is an
    item nevertheless.

    The split is the paper's, drawn anew, since the authors published none: of each article,
    one image at random trains, one at random of its other views validates, and all others
    test. The paper does not say which of these search and which are found: all are
    ``gallery``, and who needs queries draws them.

    Args:
        path: the folder of the three lists, or ``image_links.json`` in it.
        seed: of the draw.

    Raises:
        DatasetMissing: one of the lists is missing, or every image is.
        DatasetError: a list is no JSON in UTF-8, or not as long as the others; or a row, which
            is named (from 1), lacks something.
    """
    folder = path.parent if path.name == LINKS else path
    labels_reader = _Labels()
    names = _read_list(folder / LINKS, _image_name)
    labels = _read_list(folder / _LABELS, labels_reader.read)
    infos = _read_list(folder / _INFO, _Infos(labels_reader.names).read)
    for name, rows in ((_LABELS, labels), (_INFO, infos)):
        if len(rows) != len(names):
            raise DatasetError(
                f"{folder / name} has {len(rows)} rows, {LINKS} {len(names)}; they belong "
                "together by position, so fetch the three lists anew"
            )
    paths = _find_images(folder, names, [f"{label.filename}.jpg" for label in labels])
    times = Counter(names)
    first_of: dict[str, int] = {}
    for row, name in enumerate(names):
        first_of.setdefault(name, row)
    first = [*first_of.values()]
    splits = _splits(
        [labels[row].item or names[row] for row in first],
        [infos[row].view for row in first],
        seed,
    )
    return Catalogue(
        "mvc",
        [
            Item(
                id=names[row],
                image=paths[row],
                label=infos[row].type or None,
                path=paths[row],
                key=labels[row].item or None,
                split=split,
                attributes=labels[row].attributes,
                columns={
                    "view": infos[row].view,
                    "filename": labels[row].filename,
                    **infos[row].columns,
                    **({"rows": str(times[names[row]])} if times[names[row]] > 1 else {}),
                },
            )
            for row, split in zip(first, splits, strict=True)
        ],
    )


def _splits(articles: Sequence[str], views: Sequence[str], seed: int) -> list[str]:
    """The part of each image, drawn from the images of its article."""
    draws = np.random.default_rng(seed).random(len(articles)).tolist()
    rows_of: dict[str, list[int]] = {}
    for row, article in enumerate(articles):
        rows_of.setdefault(article, []).append(row)
    parts = ["gallery"] * len(articles)
    for rows in rows_of.values():
        trains = min(rows, key=draws.__getitem__)
        parts[trains] = "train"
        others = [row for row in rows if views[row] != views[trains]]
        if others:
            parts[min(others, key=draws.__getitem__)] = "validation"
    return parts


def _find_images(folder: Path, *namings: Sequence[str]) -> list[str]:
    """The path of each image, in the place and by the naming that most of them have."""
    there, inner = _entries(folder)
    most, paths = 0, list[str]()
    for name in ("", *sorted(inner, key=lambda name: (name not in _IMAGE_FOLDERS, name))):
        place = folder / name
        if name:
            there, _ = _entries(place)
        for names in namings:
            found = len(there.intersection(names))
            if found > most:
                most, paths = found, [f"{place.absolute()}/{image}" for image in names]
    if not most:
        raise DatasetMissing(
            f"no image of {folder / LINKS} lies in {folder} or a folder in it; fetch them into "
            f"{folder / _IMAGE_FOLDERS[0]}, under names such as {namings[0][0]}"
        )
    return paths


def _entries(folder: Path) -> tuple[set[str], set[str]]:
    """The names of all that lies in a folder, and those of the folders among it."""
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
        return (
            {entry.name for entry in entries},
            {entry.name for entry in entries if entry.is_dir()},
        )
    except OSError as error:
        raise DatasetError(
            f"cannot read the folder {folder}: {error.strerror}; check its permissions"
        ) from error


class _WrongRow(Exception):
    """What is the matter with a row."""


def _read_list(path: Path, read: Callable[[dict[str, Any]], _Row]) -> list[_Row]:
    """The rows of a list, each made smaller as soon as it is read.

    As they stand, those of the attributes would take gigabytes.
    """
    count = 0

    def read_row(row: dict[str, Any]) -> _Row:
        nonlocal count
        count += 1
        try:
            return read(row)
        except (KeyError, _WrongRow) as error:
            what = f"has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path}, row {count}: {what}; fetch the list anew") from error

    try:
        rows = json.loads(read_text(path), object_hook=read_row)
    except json.JSONDecodeError as error:
        raise wrong(path, error.lineno, f"is not JSON ({error.msg}); fetch it anew") from error
    if not isinstance(rows, list) or not 0 < count == len(rows):
        raise DatasetError(f"{path} is not a list of rows; fetch it anew")
    return rows


def _image_name(row: dict[str, Any]) -> str:
    name = _text(row["image_url_4x"]).rpartition("/")[2]
    if not name:
        raise _WrongRow(f"image_url_4x is {row['image_url_4x']!r}")
    return name


class _Label(NamedTuple):
    """A row of ``attribute_labels.json``."""

    filename: str
    item: str
    attributes: tuple[str, ...]


class _Labels:
    """Reads rows of ``attribute_labels.json``.

    Attributes:
        names: of the columns, known from the first row on.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()

    def read(self, row: dict[str, Any]) -> _Label:
        self.names = self.names or {*row}
        attributes = []
        for name, value in row.items():
            if name in _NO_ATTRIBUTES:
                continue
            if value in (1, "1"):
                attributes.append(name)
            elif value not in (0, "0", None):
                raise _WrongRow(f"{name} is {value!r}, not 0 or 1")
        return _Label(_text(row["filename"]), _text(row["itemN"]), tuple(attributes))


class _Info(NamedTuple):
    """A row of ``mvc_info.json``."""

    type: str
    view: str
    columns: dict[str, str]


class _Infos:
    """Reads rows of ``mvc_info.json``, each text of which is kept once.

    Args:
        known: the columns that ``attribute_labels.json`` has, too.
    """

    def __init__(self, known: set[str]) -> None:
        self._left_out = known | _NO_COLUMNS
        self._shared: dict[str, str] = {}

    def read(self, row: dict[str, Any]) -> _Info:
        parts = (_text(row["category"]), _text(row["subCategory2"]))
        texts = (
            (name, _text(value))
            for name, value in row.items()
            if name not in self._left_out and not name.startswith("image_url")
        )
        return _Info(
            self._share("/".join(filter(None, parts))),
            self._share(_text(row["viewId"])),
            {name: self._share(text) for name, text in texts if text},
        )

    def _share(self, text: str) -> str:
        return self._shared.setdefault(text, text)


def _text(value: object) -> str:
    """A value as text: the lists have some in quotes, and whole numbers as 1.0."""
    if value is None or value != value:  # noqa: PLR0124 - a missing number
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().strip('"').strip()
