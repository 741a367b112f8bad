"""Every source of items by name, and which of them lies at a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashsearch.datasets import catalogue_file, folder, in_shop, kaggle_styles, mvc
from hashsearch.errors import ArgumentError, DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hashsearch.datasets.catalogue import Catalogue

__all__ = ["SOURCES", "Source", "open_source"]


@dataclass(frozen=True)
class Source:
    """How a source is recognised and opened.

    Attributes:
        what: what it is, for help and messages.
        lies_at: whether a path is one.
        open: from its path, the columns that are named, and a seed, to its items.
        takes_columns: whether columns can be named; else :attr:`open` looks at none.
    """

    what: str
    lies_at: Callable[[Path], bool]
    open: Callable[[Path, Mapping[str, str] | None, int], Catalogue]
    takes_columns: bool = False


SOURCES: dict[str, Source] = {
    "mvc": Source(
        f"the MVC data set: a folder with {mvc.LINKS}",
        lambda path: path.name == mvc.LINKS or (path / mvc.LINKS).is_file(),
        lambda path, _, seed: mvc.read_mvc(path, seed),
    ),
    "in-shop": Source(
        "DeepFashion's In-shop benchmark: a folder with list_eval_partition.txt, or with its Eval",
        in_shop.is_in_shop,
        lambda path, *_: in_shop.read_in_shop(path),
    ),
    "kaggle-styles": Source(
        f"Kaggle's fashion product images: a folder with {kaggle_styles.STYLES}",
        lambda path: path.name == kaggle_styles.STYLES or (path / kaggle_styles.STYLES).is_file(),
        lambda path, *_: kaggle_styles.read_kaggle_styles(path),
    ),
    "catalogue": Source(
        f"a table with a row an image: a file that ends in {', '.join(catalogue_file.SUFFIXES)}",
        lambda path: path.suffix.lower() in catalogue_file.SUFFIXES and not path.is_dir(),
        lambda path, columns, _: catalogue_file.read_catalogue_file(path, columns),
        takes_columns=True,
    ),
    "folder": Source(
        "a folder of image files, whose sub-folders are types",
        lambda path: path.is_dir(),
        lambda path, *_: folder.read_folder(path),
    ),
}
"""By name, in the order in which they are tried."""


def open_source(
    path: Path,
    *,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Catalogue:
    """The items that lie at a path.

    Args:
        path: a folder or a file.
        kind: a key of :data:`SOURCES`; None: the first that is recognised.
        columns: for a catalogue, the column of each role; see
            :func:`hashsearch.datasets.catalogue_file.read_catalogue_file`.
        seed: of what a source draws, the split of ``mvc``; the others draw nothing.

    Raises:
        ArgumentError: no such kind, or columns for a source that takes none.
        DatasetMissing: nothing lies there, or a part of the data set is missing.
        DatasetError: what lies there is of no known kind, or damaged.
        ExtraMissing: a package that the source needs is not installed.
    """
    if kind is None:
        kind = _recognise(path)
    elif kind not in SOURCES:
        raise ArgumentError(f"unknown kind {kind!r} of source; known: {', '.join(SOURCES)}")
    source = SOURCES[kind]
    if columns and not source.takes_columns:
        takers = " or ".join(name for name, other in SOURCES.items() if other.takes_columns)
        raise ArgumentError(
            f"{path} is read as {kind}, of which no columns can be named; leave them out, or "
            f"name {takers} as its kind"
        )
    return source.open(path, columns, seed)


def _recognise(path: Path) -> str:
    for kind, source in SOURCES.items():
        if source.lies_at(path):
            return kind
    if not path.exists():
        raise DatasetMissing(f"{path}: no such file or folder; check its name")
    raise DatasetError(
        f"{path} is no source of items; name a folder of image files, or a file that ends in "
        f"{', '.join(catalogue_file.SUFFIXES)}"
    )
