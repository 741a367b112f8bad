from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from source_fixtures import IN_SHOP_ROWS, write_in_shop

from hashsearch.datasets.in_shop import read_in_shop
from hashsearch.datasets.item import read_item
from hashsearch.errors import DatasetError, DatasetMissing

PARTITION = "Eval/list_eval_partition.txt"
BOXES = "Anno/list_bbox_inshop.txt"
NAMES = "Anno/attributes/list_attr_cloth.txt"
MARKS = "Anno/attributes/list_attr_items.txt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_in_shop(tmp_path / "in-shop")


def test_an_item_says_what_the_lists_say(folder: Path) -> None:
    catalogue = read_in_shop(folder)
    assert catalogue.name == "in-shop"
    assert [item.id for item in catalogue.items] == [name for name, _, _ in IN_SHOP_ROWS]
    item = catalogue.items[1]
    assert item.image == item.path == str(folder / "Img" / item.id)
    assert (item.label, item.key, item.split) == ("WOMEN/Dresses", "id_00000002", "train")
    assert item.box == (2, 1, 10, 14)
    assert item.attributes == ("cotton", "3/4 sleeve")
    assert item.columns == {
        "gender": "WOMEN",
        "category": "Dresses",
        "view": "additional",
        "clothes_type": "full-body",
        "pose_type": "side",
    }


def test_men_and_women_have_types_of_their_own(folder: Path) -> None:
    labels = [item.label for item in read_in_shop(folder).items]
    assert labels[2:] == ["MEN/Shorts", "MEN/Shorts", "WOMEN/Shorts"]


def test_the_published_split_and_attributes_of_blanks(folder: Path) -> None:
    catalogue = read_in_shop(folder)
    sizes = {part: len(catalogue.split(part)) for part in ("train", "query", "gallery")}
    assert sizes == {"train": 2, "query": 1, "gallery": 2}
    assert catalogue.items[2].attributes == ("heather grey",)  # not what is marked 0 or -1
    assert catalogue.items[4].attributes == ()  # of an article that has no row


def test_images_are_read_cut_to_their_boxes(folder: Path) -> None:
    sizes = [read_item(item).size for item in read_in_shop(folder).items]
    assert sizes == [(8, 13)] * 4 + [(12, 16)]


@pytest.mark.parametrize("as_handed_out", [True, False])
def test_without_annotations_there_are_no_boxes_and_no_attributes(
    tmp_path: Path, as_handed_out: bool
) -> None:
    write_in_shop(tmp_path, as_handed_out=as_handed_out, annotations=False)
    for item in read_in_shop(tmp_path).items:
        assert (item.box, item.attributes) == (None, ())
        assert set(item.columns) == {"gender", "category", "view"}
        assert read_item(item).size == (12, 16)


def test_lists_beside_the_images_say_the_same(folder: Path, tmp_path: Path) -> None:
    flat = write_in_shop(tmp_path / "flat", as_handed_out=False)
    for one, other in zip(read_in_shop(folder).items, read_in_shop(flat).items, strict=True):
        assert one.path == str(folder / "Img" / one.id)
        assert other.path == str(flat / one.id)
        assert (one.box, one.attributes, one.columns) == (
            other.box,
            other.attributes,
            other.columns,
        )


def test_the_list_of_the_split_can_be_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = write_in_shop(tmp_path / "flat", as_handed_out=False)
    assert read_in_shop(folder / PARTITION) == read_in_shop(folder)
    assert read_in_shop(flat / "list_eval_partition.txt") == read_in_shop(flat)
    monkeypatch.chdir(folder / "Eval")
    assert read_in_shop(Path("list_eval_partition.txt")) == read_in_shop(folder)


def test_a_missing_image_is_an_item(folder: Path) -> None:
    (folder / "Img" / IN_SHOP_ROWS[0][0]).unlink()
    assert len(read_in_shop(folder).items) == len(IN_SHOP_ROWS)


def test_carriage_returns_and_a_mark_in_front_change_nothing(folder: Path) -> None:
    before = read_in_shop(folder)
    for name in (PARTITION, BOXES, NAMES, MARKS):
        text = (folder / name).read_text().replace("\n", "\r\n")
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_in_shop(folder) == before


WRONG = {
    "count": (PARTITION, "5\n", "6\n", r"line 1: says 6 rows, and 5 follow; fetch"),
    "no count": (PARTITION, "5\n", "", "line 1: is 'image_name .*', not the number of rows"),
    "nothing": (PARTITION, None, "", "line 1: is '', not the number of rows"),
    "no rows": (PARTITION, None, "0\nimage_name item_id evaluation_status\n", "lists nothing"),
    "header": (
        PARTITION,
        "image_name item_id evaluation_status",
        "image_name evaluation_status",
        "line 2: the header is 'image_name evaluation_status', not .*; take the list of the In",
    ),
    "cut short": (PARTITION, "id_00000080 query", "id_00", "line 5: has 2 values, not 3"),
    "split": (PARTITION, "query", "val", "line 5: 'val' is none of train, query, gallery; mend"),
    "path": (PARTITION, "img/MEN/Shorts", "img/Shorts", "line 5: img/Shorts/.* is not img/GENDER"),
    "twice": (PARTITION, "01_2_side", "01_1_front", "line 6: repeats .*front.jpg of line 5; rem"),
    "box": (BOXES, "002 001 010 014", "002 001 010 x", "line 3: 002 001 010 x is no box; write"),
    "box cut short": (BOXES, "002 001 010 014", "002 001", "line 3: has 5 values, not 7"),
    "boxes' count": (BOXES, "4\n", "3\n", "line 1: says 3 rows, and 4 follow"),
    "boxes' header": (BOXES, "clothes_type", "type", "line 2: the header is .*; take the list"),
    "names' header": (NAMES, "attribute_name", "attribute_name attribute_type", "line 2: the he"),
    "names' count": (NAMES, "cotton", "", "line 1: says 3 rows, and 2 follow"),
    "too few marks": (MARKS, "1 -1 1", "1 -1", "line 3: has 2 marks; .*cloth.txt names 3 attr"),
    "no mark": (MARKS, "1 -1 1", "1 -1 2", "line 3: a mark is none of 1, -1 and 0; fetch"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_line_and_the_mend(folder: Path, case: str) -> None:
    name, old, new, said = WRONG[case]
    text = (folder / name).read_text()
    (folder / name).write_text(new if old is None else text.replace(old, new, 1))
    assert (folder / name).read_text() != text
    with pytest.raises(DatasetError, match=said) as refused:
        read_in_shop(folder)
    assert str(refused.value).startswith(str(folder / name))
    assert "\n" not in str(refused.value)


def test_no_list_and_no_images_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"no list_eval_partition\.txt in .* or its Eval; nam"):
        read_in_shop(tmp_path)
    shutil.rmtree(folder / "Img")
    with pytest.raises(DatasetMissing, match=r"no folder img/WOMEN in .* or its Img; unpack"):
        read_in_shop(folder)
