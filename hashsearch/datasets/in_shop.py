"""DeepFashion In-shop: 52,712 shop images of 7,982 articles of clothing, with crops.

Liu, Luo, Qiu, Wang and Tang, "DeepFashion: Powering Robust Clothes Recognition and Retrieval
with Rich Annotations", CVPR 2016; In-shop Clothes Retrieval Benchmark. Its lists are text: the
first line is the number of rows, the second names their columns, with blanks between, and the
rows follow. As they are handed out, they lie in ``Eval/``, ``Anno/`` and ``Anno/attributes/``,
and the images in ``Img/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashsearch.datasets.catalogue import Catalogue
from hashsearch.datasets.csv_file import read_text, wrong
from hashsearch.datasets.item import Item
from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["is_in_shop", "read_in_shop"]

_PARTITION = "list_eval_partition.txt"
_BOXES = "list_bbox_inshop.txt"
_ATTRIBUTES = "list_attr_items.txt"
_ATTRIBUTE_NAMES = "list_attr_cloth.txt"
_FOLDERS = ("", "Eval", "Anno", "Anno/attributes")
_SPLITS = ("train", "query", "gallery")
_CLOTHES_TYPES = {"1": "upper-body", "2": "lower-body", "3": "full-body"}
_POSE_TYPES = {
    "1": "front",
    "2": "side",
    "3": "back",
    "4": "zoom-out",
    "5": "zoom-in",
    "6": "stand-alone",
}
_NAME_LIST = "take the list of the In-shop benchmark, or read another data set as a folder"


def is_in_shop(path: Path) -> bool:
    """Whether this is the list of the split, or the folder of the data set by that list."""
    return path.name == _PARTITION or _find(path, _PARTITION) is not None


def read_in_shop(path: Path) -> Catalogue:
    """The images of the In-shop benchmark, in the order of its split.

    An item's id is its image as the lists write it, such as
    ``img/WOMEN/Dresses/id_00000002/02_1_front.jpg``; its label is ``WOMEN/Dresses``, with the
    gender, since men's and women's clothes have names of types in common; its key is the item
    id. Columns: ``gender``, ``category``, ``view`` (the end of the file's name: ``front``),
    and from the list of boxes, ``clothes_type`` and ``pose_type``.

    ``list_bbox_inshop.txt`` gives the boxes, and ``list_attr_items.txt`` with
    ``list_attr_cloth.txt`` the attributes (those marked 1); where they are not there, the items
    have none. Images are looked for in the folder and in its ``Img``; a missing one is an item
    nevertheless.

    Args:
        path: the folder of the data set, or ``list_eval_partition.txt``, in it or in its
            ``Eval``.

    Raises:
        DatasetMissing: the split is not there, or no folder of images is.
        DatasetError: a list, or the line that is named, is not of this form.
    """
    folder = path
    if path.name == _PARTITION:
        folder = path.absolute().parent
        folder = folder.parent if folder.name == "Eval" else folder
    partition = path if path.name == _PARTITION else _find(folder, _PARTITION)
    if partition is None:
        raise DatasetMissing(
            f"no {_PARTITION} in {path} or its Eval; name the folder of the In-shop benchmark"
        )
    boxes = _boxes(_find(folder, _BOXES))
    attributes = _attributes(_find(folder, _ATTRIBUTES), _find(folder, _ATTRIBUTE_NAMES))
    images = ""
    first: dict[str, int] = {}
    items = []
    for line, (name, key, part) in _rows(partition, "image_name item_id evaluation_status"):
        if part not in _SPLITS:
            raise wrong(partition, line, f"{part!r} is none of {', '.join(_SPLITS)}; mend it")
        earlier = first.setdefault(name, line)
        if earlier != line:
            raise wrong(partition, line, f"repeats {name} of line {earlier}; remove one of them")
        words = name.split("/")
        if len(words) != 5:
            what = f"{name} is not img/GENDER/CATEGORY/ITEM/FILE; mend it"
            raise wrong(partition, line, what)
        _, gender, category, _, file = words
        images = images or _image_folder(folder, "/".join(words[:2]))
        box, facts = boxes.get(name, (None, {}))
        image = f"{images}/{name}"
        items.append(
            Item(
                id=name,
                image=image,
                label=f"{gender}/{category}",
                path=image,
                key=key,
                split=part,
                attributes=attributes.get(key, ()),
                columns={"gender": gender, "category": category, **_view(file), **facts},
                box=box,
            )
        )
    return Catalogue("in-shop", items)


def _view(file: str) -> dict[str, str]:
    """The column ``view`` of a file such as ``02_1_front.jpg``."""
    parts = file.rpartition(".")[0].split("_", 2)
    return {"view": parts[2]} if len(parts) == 3 else {}


def _boxes(
    path: Path | None,
) -> dict[str, tuple[tuple[int, int, int, int], dict[str, str]]]:
    """The box of each image, and what its row says beside."""
    if path is None:
        return {}
    boxes = {}
    header = "image_name clothes_type pose_type x_1 y_1 x_2 y_2"
    for line, (name, clothes_type, pose_type, *corners) in _rows(path, header):
        try:
            left, top, right, bottom = map(int, corners)
        except ValueError as error:
            what = f"{' '.join(corners)} is no box; write four whole numbers"
            raise wrong(path, line, what) from error
        boxes[name] = (
            (left, top, right, bottom),
            {
                "clothes_type": _CLOTHES_TYPES.get(clothes_type, clothes_type),
                "pose_type": _POSE_TYPES.get(pose_type, pose_type),
            },
        )
    return boxes


def _attributes(path: Path | None, names_path: Path | None) -> dict[str, tuple[str, ...]]:
    """What each article has, of the attributes with a name."""
    if path is None or names_path is None:
        return {}
    header, named = _lines(names_path)
    if header != "attribute_name":
        raise wrong(names_path, 2, f"the header is {header!r}, not 'attribute_name'; {_NAME_LIST}")
    names = [name for _, name in named]  # some hold blanks
    attributes = {}
    for line, row in _lines(path)[1]:
        key, *marks = row.split()
        if len(marks) != len(names):
            what = f"has {len(marks)} marks; {names_path.name} names {len(names)} attributes"
            raise wrong(path, line, f"{what}; fetch both lists anew")
        if not {*marks} <= {"1", "-1", "0"}:
            raise wrong(path, line, "a mark is none of 1, -1 and 0; fetch the list anew")
        has = (name for name, mark in zip(names, marks, strict=True) if mark == "1")
        attributes[key] = tuple(dict.fromkeys(has))
    return attributes


def _rows(path: Path, header: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line and the words of each row of a list with this header."""
    known = header.split()
    found, rows = _lines(path)
    if found.split() != known:
        raise wrong(path, 2, f"the header is {found!r}, not {header!r}; {_NAME_LIST}")
    for line, row in rows:
        words = row.split()
        if len(words) != len(known):
            what = f"has {len(words)} values, not {len(known)} ({header})"
            raise wrong(path, line, f"{what}; fetch the list anew")
        yield line, words


def _lines(path: Path) -> tuple[str, list[tuple[int, str]]]:
    """The header of a list, and its rows with the numbers of their lines, the count checked."""
    lines = [line.strip() for line in read_text(path).split("\n")]
    if not lines[0].isdecimal():
        raise wrong(path, 1, f"is {lines[0]!r}, not the number of rows; fetch the list anew")
    rows = [(number, line) for number, line in enumerate(lines[2:], 3) if line]
    if len(rows) != int(lines[0]):
        raise wrong(
            path, 1, f"says {int(lines[0])} rows, and {len(rows)} follow; fetch the list anew"
        )
    if not rows:
        raise DatasetError(f"{path} lists nothing; fetch the list anew")
    return lines[1], rows


def _find(folder: Path, name: str) -> Path | None:
    places = (folder / place / name for place in _FOLDERS)
    return next((path for path in places if path.is_file()), None)


def _image_folder(folder: Path, name: str) -> str:
    """Where the lists' paths begin, by the first of them: its first two folders are given."""
    for place in (folder, folder / "Img"):
        # Not by img alone: where letters' case does not count, that is Img, too.
        if (place / name).is_dir():
            return str(place.absolute())
    raise DatasetMissing(
        f"no folder {name} in {folder} or its Img; unpack the images (img.zip) there"
    )
