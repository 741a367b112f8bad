"""Small data sets in the exact forms of the real ones, with their quirks."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MVC_ATTRIBUTES = ("Cotton", "Crew Neck", "Shirts & Tops")
IN_SHOP_ATTRIBUTES = ("cotton", "heather grey", "3/4 sleeve")
KAGGLE_HEADER = (
    "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,"
    "productDisplayName"
)


def jpeg(path: Path, number: int = 0, size: tuple[int, int] = (12, 16)) -> None:
    """Write a small photo, its folders too, whose colour tells its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (40 * number % 256, 90, 200)).save(path)


def mvc_rows(articles: int = 3, views: int = 4) -> list[dict[str, dict[str, Any]]]:
    """The rows of the three lists: each article has one image of each view.

    Texts stand in quotes where the real lists have them so, and numbers are floats or texts.
    """
    rows: list[dict[str, dict[str, Any]]] = []
    for article in range(articles):
        for view in range(views):
            product, style = 7258521 + article, 3163710 + article
            url = f"http://www.zappos.com/images/z/3/1/6/3/7/1/{style}-{'pabc'[view % 4]}"
            rows.append(
                {
                    "links": {"image_url_4x": f"{url}-4x.jpg"},
                    "labels": {
                        "filename": f"p{product}_s{style}_v{view}",
                        "itemN": article + 1,
                        "Cotton": article % 2,
                        "Crew Neck": float(view == 0),
                        "Shirts & Tops": "1",
                    },
                    "info": {
                        "productId": product,
                        "styleId": style,
                        "itemN": article + 1,
                        "viewId": view,
                        "productGender": '"Womens"',
                        "category": '"Shirts & Tops"',
                        "subCategory2": "T Shirts" if article % 2 else "",
                        "brandName": None,
                        "colourId": 9.0,
                        "image_url_2x": f"{url}-2x.jpg",
                        "image_url_4x": f"{url}-4x.jpg",
                    },
                }
            )
    return rows


def write_mvc(
    folder: Path,
    rows: Sequence[Mapping[str, Mapping[str, Any]]] | None = None,
    *,
    images: str = "images",
    by_filename: bool = False,
) -> Path:
    """MVC: three lists of rows, and the images in a folder of this one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = mvc_rows() if rows is None else rows
    files = {
        "links": "image_links.json",
        "labels": "attribute_labels.json",
        "info": "mvc_info.json",
    }
    for part, name in files.items():
        (folder / name).write_text(json.dumps([row[part] for row in rows]))
    for number, row in enumerate(rows):
        name = row["links"]["image_url_4x"].rpartition("/")[2]
        if by_filename:
            name = f"{row['labels']['filename']}.jpg"
        jpeg(folder / images / name, number)
    return folder


IN_SHOP_ROWS = (
    ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train"),
    ("img/WOMEN/Dresses/id_00000002/02_7_additional.jpg", "id_00000002", "train"),
    ("img/MEN/Shorts/id_00000080/01_1_front.jpg", "id_00000080", "query"),
    ("img/MEN/Shorts/id_00000080/01_2_side.jpg", "id_00000080", "gallery"),
    ("img/WOMEN/Shorts/id_00000091/04_3_back.jpg", "id_00000091", "gallery"),
)


def in_shop_list(header: str, rows: Sequence[Sequence[str]]) -> str:
    """A list of the In-shop benchmark: the first column is filled up with blanks."""
    lines = [f"{len(rows)}", header]
    lines += [" ".join((f"{row[0]:<70}", *row[1:])) + " " for row in rows]
    return "\n".join(lines) + "\n"


def write_in_shop(folder: Path, *, as_handed_out: bool = True, annotations: bool = True) -> Path:
    """The In-shop benchmark: in the folders of its archives, or all lists beside ``img``."""
    partition, boxes, attributes = "Eval/", "Anno/", "Anno/attributes/"
    if not as_handed_out:
        partition = boxes = attributes = ""
    files = {
        f"{partition}list_eval_partition.txt": in_shop_list(
            "image_name item_id evaluation_status", IN_SHOP_ROWS
        )
    }
    if annotations:
        files[f"{boxes}list_bbox_inshop.txt"] = in_shop_list(
            "image_name clothes_type pose_type x_1 y_1 x_2 y_2",
            # One image has no box: it is shown whole.
            [
                (
                    name,
                    "3" if "Dresses" in name else "2",
                    str(number + 1),
                    *["002", "001", "010", "014"],
                )
                for number, (name, _, _) in enumerate(IN_SHOP_ROWS[:-1])
            ],
        )
        files[f"{attributes}list_attr_cloth.txt"] = in_shop_list(
            "attribute_name", [(name,) for name in IN_SHOP_ATTRIBUTES]
        )
        files[f"{attributes}list_attr_items.txt"] = in_shop_list(
            "item_id attribute_labels",
            [
                ("id_00000002", *["1", "-1", "1"]),
                ("id_00000080", *["-1", "1", "0"]),
            ],
        )
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for number, (name, _, _) in enumerate(IN_SHOP_ROWS):
        jpeg(folder / ("Img" if as_handed_out else "") / name, number)
    return folder


KAGGLE_ROWS = (
    "15970,Men,Apparel,Topwear,Shirts,Navy Blue,Fall,2011,Casual,Turtle Check Men Navy Blue Shirt",
    "39386,Men,Apparel,Bottomwear,Jeans,Blue,Summer,2012,NA,Peter England Men, Party, Blue Jeans",
    "59263,Women,Accessories,Watches,Watches,,Winter,2016,Casual,Titan 5\" Women's Watch",
)


def write_kaggle_styles(
    folder: Path, rows: Sequence[str] = KAGGLE_ROWS, header: str = KAGGLE_HEADER
) -> Path:
    """``styles.csv`` of Kaggle's fashion product images, and ``images`` beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "styles.csv").write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    for number, row in enumerate(rows):
        jpeg(folder / "images" / f"{row.partition(',')[0]}.jpg", number)
    return folder


def write_fashion_mnist(folder: Path) -> Path:
    """Training images and labels, as few as leave each class some beside the validation set."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels = (np.arange(5100) % 10).astype(np.uint8)
    images = rng.integers(0, 60, (len(labels), 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4 : 2 * label + 8, 4:24] = 200
    header = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    header = struct.pack(">4BI", 0, 0, 8, 1, len(labels))
    (folder / "train-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return folder
