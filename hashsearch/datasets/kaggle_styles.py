"""Fashion Product Images, of Kaggle: about 44,000 shop images with the facts of each product.

Param Aggarwal, "Fashion Product Images Dataset" (``fashion-product-images-dataset``, and with
small images ``fashion-product-images-small``), kaggle.com, 2019: ``styles.csv``, and
``images/ID.jpg`` beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.csv_file import read_records, wrong
from hashsearch.datasets.item import Item
from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STYLES", "read_kaggle_styles"]

STYLES = "styles.csv"
"""The file that a folder is recognised by."""

_COLUMNS = (
    "id",
    "gender",
    "masterCategory",
    "subCategory",
    "articleType",
    "baseColour",
    "season",
    "year",
    "usage",
    "productDisplayName",
)


def read_kaggle_styles(path: Path) -> Catalogue:
    """The products of ``styles.csv``, in its order.

    An item's label is ``articleType``; all columns but ``id`` and this are kept, where they
    are not empty. The file has names of products with commas and no quotes around them: what
    is too much in a line belongs to the name. ``NA`` is a value there, not a missing one. An
    image that is missing is an item nevertheless.

    Args:
        path: the folder of ``styles.csv``, or the file itself.

    Raises:
        DatasetMissing: the file, or ``images`` beside it, is not there.
        DatasetError: the file, or the line that is named, is not of this form, or has the id of
            another line.
    """
    file = path if path.name == STYLES else path / STYLES
    records = read_records(file)
    line, header = next(records, (1, []))
    # Some copies are filled up with empty values, to the width of the longest line.
    filled = len(header) > len(_COLUMNS)
    if ",".join(header).rstrip(",") != ",".join(_COLUMNS):
        raise wrong(
            file,
            line,
            f"the header is not {','.join(_COLUMNS)}; fetch the file anew, or read one of your own "
            "as a catalogue",
        )
    images = file.parent / "images"
    if not images.is_dir():
        raise DatasetMissing(f"no folder {images}; put the images beside {file}")
    folder = str(images.absolute())
    *facts, name = _COLUMNS
    first: dict[str, int] = {}
    items = []
    for line, record in records:
        if len(record) < len(_COLUMNS):
            what = f"the number of values is {len(record)}, that of columns {len(_COLUMNS)}"
            raise wrong(file, line, f"{what}; complete the line")
        values = dict(zip(facts, record, strict=False))
        spilled = ",".join(record[len(facts) :])
        values[name] = spilled.rstrip(",") if filled else spilled
        id_, label = values.pop("id"), values.pop("articleType")
        if not id_.strip():
            raise wrong(file, line, "has no id; give it one, or remove it")
        earlier = first.setdefault(id_, line)
        if earlier != line:
            raise wrong(file, line, f"repeats the id {id_} of line {earlier}; remove one of them")
        image = f"{folder}/{id_}.jpg"
        items.append(
            Item(
                id=id_,
                image=image,
                label=label or None,
                path=image,
                columns={column: value for column, value in values.items() if value},
            )
        )
    if not items:
        raise DatasetError(f"{file} lists no product; fetch it anew")
    return Catalogue("kaggle-styles", items)
