from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from source_fixtures import mvc_rows, write_mvc

from hashsearch.datasets.item import read_item
from hashsearch.datasets.mvc import read_mvc
from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_an_item_says_what_the_three_lists_say(tmp_path: Path) -> None:
    catalogue = read_mvc(write_mvc(tmp_path / "data"))
    assert catalogue.name == "mvc"
    assert len(catalogue.items) == 12
    item = catalogue.items[5]
    assert item.id == "3163711-a-4x.jpg"
    assert item.image == item.path == str(tmp_path / "data" / "images" / item.id)
    assert item.label == "Shirts & Tops/T Shirts"
    assert item.key == "2"
    assert item.attributes == ("Cotton", "Shirts & Tops")
    assert item.columns == {
        "view": "1",
        "filename": "p7258522_s3163711_v1",
        "productId": "7258522",
        "styleId": "3163711",
        "colourId": "9",
        "productGender": "Womens",
        "category": "Shirts & Tops",
        "subCategory2": "T Shirts",
    }
    assert catalogue.items[0].attributes == ("Crew Neck", "Shirts & Tops")


def test_a_type_without_a_second_category_is_the_first(tmp_path: Path) -> None:
    items = read_mvc(write_mvc(tmp_path)).items
    assert {item.label for item in items} == {"Shirts & Tops", "Shirts & Tops/T Shirts"}
    assert "subCategory2" not in items[0].columns


@pytest.mark.parametrize("images", ["", "images", "image", "image_data", "photos of 2016"])
@pytest.mark.parametrize("by_filename", [False, True])
def test_images_are_found_where_they_lie_and_can_be_read(
    tmp_path: Path, images: str, by_filename: bool
) -> None:
    write_mvc(tmp_path, images=images, by_filename=by_filename)
    for item in read_mvc(tmp_path).items:
        assert read_item(item).size == (12, 16)


def test_the_place_of_most_images_is_taken_and_a_missing_one_is_an_item(tmp_path: Path) -> None:
    write_mvc(tmp_path, images="z")
    (tmp_path / "images").mkdir()
    (tmp_path / "z" / "3163710-p-4x.jpg").rename(tmp_path / "images" / "3163710-p-4x.jpg")
    items = read_mvc(tmp_path).items
    assert [item.path for item in items] == [str(tmp_path / "z" / item.id) for item in items]


def test_a_repeated_image_is_one_item_the_first_and_counted(tmp_path: Path) -> None:
    rows = mvc_rows()
    again = mvc_rows(articles=1, views=1)[0]
    again["labels"]["itemN"] = 77
    rows += [again, again]
    items = read_mvc(write_mvc(tmp_path, rows)).items
    assert [item.id for item in items] == [item.id for item in read_mvc(tmp_path).items]
    assert len(items) == 12
    assert items[0].key == "1"
    assert [item.columns.get("rows") for item in items] == ["3", *[None] * 11]


def test_each_article_trains_with_one_image_and_validates_with_one_of_another_view(
    tmp_path: Path,
) -> None:
    rows = mvc_rows(articles=20)
    for row in rows[::4]:
        row["info"]["viewId"] = 1  # of each article, two images are of one view
    catalogue = read_mvc(write_mvc(tmp_path, rows))
    parts = {part: catalogue.split(part) for part in ("train", "validation", "gallery")}
    assert [len(items) for items in parts.values()] == [20, 20, 40]
    for trains in parts["train"]:
        (validates,) = [item for item in parts["validation"] if item.key == trains.key]
        assert validates.columns["view"] != trains.columns["view"]
    views = Counter(item.columns["view"] for item in parts["train"])
    assert set(views) == {"1", "2", "3"}  # drawn, not always the first


def test_an_article_of_one_view_validates_nothing(tmp_path: Path) -> None:
    rows = mvc_rows(articles=1)
    for row in rows:
        row["info"]["viewId"] = 0
    catalogue = read_mvc(write_mvc(tmp_path, rows))
    assert len(catalogue.split("train")) == 1
    assert len(catalogue.split("gallery")) == 3


def test_the_split_is_that_of_its_seed(tmp_path: Path) -> None:
    write_mvc(tmp_path, mvc_rows(articles=20))
    first, again, other = (
        [item.split for item in read_mvc(tmp_path, seed).items] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_the_list_of_images_can_be_named(tmp_path: Path) -> None:
    write_mvc(tmp_path)
    assert read_mvc(tmp_path / "image_links.json") == read_mvc(tmp_path)


def edit(name: str, change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        rows = json.loads((folder / name).read_text())
        change(rows)
        (folder / name).write_text(json.dumps(rows))

    return apply


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a list too short": (
        edit("mvc_info.json", list.pop),
        r"mvc_info\.json has 11 rows, image_links\.json 12; .* fetch the three lists",
    ),
    "labels too short": (
        edit("attribute_labels.json", list.pop),
        r"attribute_labels\.json has 11 rows, image_links\.json 12",
    ),
    "no url": (
        edit("image_links.json", lambda rows: rows[1].clear()),
        r"image_links\.json, row 2: has no image_url_4x; fetch the list anew",
    ),
    "url of nothing": (
        edit("image_links.json", lambda rows: rows[2].update(image_url_4x="http://shop/")),
        r"image_links\.json, row 3: image_url_4x is 'http://shop/'; fetch",
    ),
    "no article": (
        edit("attribute_labels.json", lambda rows: rows[3].pop("itemN")),
        r"attribute_labels\.json, row 4: has no itemN",
    ),
    "half an attribute": (
        edit("attribute_labels.json", lambda rows: rows[3].update(Cotton=0.5)),
        r"attribute_labels\.json, row 4: Cotton is 0\.5, not 0 or 1",
    ),
    "an attribute that is a list": (
        edit("attribute_labels.json", lambda rows: rows[0].update(Cotton=[1])),
        r"attribute_labels\.json, row 1: Cotton is \[1\], not 0 or 1",
    ),
    "no view": (
        edit("mvc_info.json", lambda rows: rows[11].pop("viewId")),
        r"mvc_info\.json, row 12: has no viewId",
    ),
    "no JSON": (
        lambda folder: (folder / "mvc_info.json").write_text('[\n{"categ'),
        r"mvc_info\.json, line 2: is not JSON \(.*\); fetch it anew",
    ),
    "no UTF-8": (
        lambda folder: (folder / "mvc_info.json").write_bytes(b'[\n{"category": "\xff"}]'),
        r"mvc_info\.json, line 2: is not UTF-8 text",
    ),
    "no list": (
        lambda folder: (folder / "image_links.json").write_text('{"image_url_4x": "a/b.jpg"}'),
        r"image_links\.json is not a list of rows; fetch it anew",
    ),
    "an empty list": (
        lambda folder: (folder / "image_links.json").write_text("[]"),
        r"image_links\.json is not a list of rows",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_row_and_the_mend(tmp_path: Path, case: str) -> None:
    damage, said = WRONG[case]
    damage(write_mvc(tmp_path))
    with pytest.raises(DatasetError, match=said) as refused:
        read_mvc(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["image_links.json", "attribute_labels.json", "mvc_info.json"])
def test_a_missing_list_is_named(tmp_path: Path, name: str) -> None:
    (write_mvc(tmp_path) / name).unlink()
    with pytest.raises(DatasetMissing, match=rf"{name}: no such file"):
        read_mvc(tmp_path)


def test_no_image_at_all_is_told_with_a_name_to_look_for(tmp_path: Path) -> None:
    for image in (write_mvc(tmp_path) / "images").iterdir():
        image.unlink()
    with pytest.raises(DatasetMissing, match=r"no image of .* such as 3163710-p-4x\.jpg"):
        read_mvc(tmp_path)
