from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from source_fixtures import KAGGLE_HEADER, KAGGLE_ROWS, write_kaggle_styles

from hashsearch.datasets.item import read_item
from hashsearch.datasets.kaggle_styles import read_kaggle_styles
from hashsearch.errors import DatasetError, DatasetMissing

if TYPE_CHECKING:
    from pathlib import Path


def test_an_item_says_what_its_line_says(tmp_path: Path) -> None:
    catalogue = read_kaggle_styles(write_kaggle_styles(tmp_path))
    assert catalogue.name == "kaggle-styles"
    item = catalogue.items[0]
    assert item.id == "15970"
    assert item.image == item.path == str(tmp_path / "images" / "15970.jpg")
    assert (item.label, item.key, item.split) == ("Shirts", None, None)
    assert item.columns == {
        "gender": "Men",
        "masterCategory": "Apparel",
        "subCategory": "Topwear",
        "baseColour": "Navy Blue",
        "season": "Fall",
        "year": "2011",
        "usage": "Casual",
        "productDisplayName": "Turtle Check Men Navy Blue Shirt",
    }
    assert [read_item(each).size for each in catalogue.items] == [(12, 16)] * 3


def test_commas_of_a_name_and_na_and_quotes_are_kept(tmp_path: Path) -> None:
    _, jeans, watch = read_kaggle_styles(write_kaggle_styles(tmp_path)).items
    assert jeans.columns["productDisplayName"] == "Peter England Men, Party, Blue Jeans"
    assert jeans.columns["usage"] == "NA"
    assert watch.columns["productDisplayName"] == "Titan 5\" Women's Watch"
    assert "baseColour" not in watch.columns


def test_a_name_in_quotes_and_one_that_ends_in_a_comma(tmp_path: Path) -> None:
    rows = ('1,,,,Shirts,,,,,"Red, wide ""A"" shirt"', "2,,,,Shirts,,,,,Blue shirt,")
    quoted, comma = read_kaggle_styles(write_kaggle_styles(tmp_path, rows)).items
    assert quoted.columns == {"productDisplayName": 'Red, wide "A" shirt'}
    assert comma.columns == {"productDisplayName": "Blue shirt,"}


def test_copies_that_are_filled_up_to_one_width_say_the_same(tmp_path: Path) -> None:
    plain = read_kaggle_styles(write_kaggle_styles(tmp_path))
    rows = [row + "," * (11 - row.count(",")) for row in KAGGLE_ROWS]
    write_kaggle_styles(tmp_path, rows, f"{KAGGLE_HEADER},,")
    assert read_kaggle_styles(tmp_path) == plain


def test_the_file_can_be_named_and_a_missing_image_is_an_item(tmp_path: Path) -> None:
    write_kaggle_styles(tmp_path)
    (tmp_path / "images" / "15970.jpg").unlink()
    assert len(read_kaggle_styles(tmp_path / "styles.csv").items) == 3


def test_a_product_without_a_type_has_no_label(tmp_path: Path) -> None:
    (item,) = read_kaggle_styles(write_kaggle_styles(tmp_path, ["1,,,,,,,,,Shirt"])).items
    assert item.label is None


WRONG = {
    "empty": ("", "line 1: the header is not id,gender,.*; fetch the file anew, or read one of yo"),
    "other header": ("id,label\n", "line 1: the header is not id,"),
    "a column between": (KAGGLE_HEADER.replace("gender", "") + "\n", "line 1: the header is not"),
    "no line": (KAGGLE_HEADER + "\n", "lists no product; fetch it anew"),
    "cut short": (
        f"{KAGGLE_HEADER}\n{KAGGLE_ROWS[0]}\n39386,Men,Apparel\n",
        "line 3: the number of values is 3, that of columns 10; complete the line",
    ),
    "id twice": (
        f"{KAGGLE_HEADER}\n{KAGGLE_ROWS[0]}\n\n{KAGGLE_ROWS[0]}\n",
        "line 4: repeats the id 15970 of line 2; remove one of them",
    ),
    "no id": (f"{KAGGLE_HEADER}\n,,,,Shirts,,,,,Shirt\n", "line 2: has no id; give it one"),
    "open quote": (f'{KAGGLE_HEADER}\n1,,,,,,,,,"Shirt\n', r"line 2: is not CSV \(.*\); mend the"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_its_line_and_the_mend(tmp_path: Path, case: str) -> None:
    text, said = WRONG[case]
    write_kaggle_styles(tmp_path)
    (tmp_path / "styles.csv").write_text(text)
    with pytest.raises(DatasetError, match=said) as refused:
        read_kaggle_styles(tmp_path)
    assert str(refused.value).startswith(str(tmp_path / "styles.csv"))
    assert "\n" not in str(refused.value)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"styles\.csv: no such file"):
        read_kaggle_styles(tmp_path)
    (tmp_path / "styles.csv").write_text(KAGGLE_HEADER + "\n" + KAGGLE_ROWS[0] + "\n")
    with pytest.raises(DatasetMissing, match=r"no folder .*images; put the images beside"):
        read_kaggle_styles(tmp_path)
