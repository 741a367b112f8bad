"""The command that finds near-identical items: table, CSV, ids to remove, sheets."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from hashsearch.gallery import Gallery
from hashsearch.images import read_image, thumbnail

if TYPE_CHECKING:
    from pathlib import Path

GREEN = Image.new("RGB", (28, 28), (20, 160, 60))
NAMES = ["=a", "+b", "-c", "@d", 'e,"f"', "g", "Wäsche", "h"]


@pytest.fixture
def shop_of_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A chain of three, each a bit from the next; two pairs of one code each; one alone."""
    monkeypatch.chdir(tmp_path)
    codes = np.array([[1, 0], [0, 0], [1, 1], *[[240, 0]] * 2, *[[0, 240]] * 2, [255, 255]])
    path = tmp_path / "indexes" / "codes.h5"
    path.parent.mkdir()
    Gallery.from_codes(
        codes.astype(np.uint8),
        n_bits=8,
        fine_bits=8,
        ids=NAMES,
        labels=["Bag", None, *["Coat"] * 6],
        paths=["photos/a.jpg", *[None] * 7],
        thumbnails=[thumbnail(GREEN)] * 8,
    ).save(path)
    return path


def table(path: str) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:  # noqa: PTH123 - as people read it
        return [*csv.DictReader(file)]


def test_equal_codes_are_told_with_what_can_be_removed(shop_of_codes: Path, run: Any) -> None:
    done = run("duplicates")
    assert done.status == 0
    assert "items that have one code, the largest groups of 2" in done.out
    assert "4 of 8 items are in 2 groups." in done.out
    assert "2 items are beyond the first of their group" in done.out
    assert "--extras FILE" in done.out
    assert "farther" not in done.out
    assert done.err == ""


def test_a_chain_is_one_group_and_a_warning(shop_of_codes: Path, run: Any) -> None:
    done = run("duplicates", "codes", "--max-distance", "1")
    assert "7 of 8 items are in 3 groups." in done.out
    assert "1 of them are farther than 1 bit from the first" in done.out
    first = next(line for line in done.out.splitlines() if "=a" in line or "+b" in line)
    assert "+b, -c, =a" in first


def test_the_csv_file_lists_every_item_of_every_group(shop_of_codes: Path, run: Any) -> None:
    done = run("duplicates", shop_of_codes, "--max-distance", "1", "--limit", "0", "--csv", "o.csv")
    assert done.status == 0
    assert "first ids" not in done.out
    assert done.err == "Wrote o.csv\n"
    rows = table("o.csv")
    assert [*rows[0]] == ["group", "id", "label", "path", "distance"]
    assert [(row["group"], row["id"], row["distance"]) for row in rows] == [
        ("1", "+b", "0"),
        ("1", "-c", "2"),
        ("1", "=a", "1"),
        ("2", "@d", "0"),
        ("2", 'e,"f"', "0"),
        ("3", "Wäsche", "0"),
        ("3", "g", "0"),
    ]
    assert [(row["label"], row["path"]) for row in rows[1:4]] == [
        ("Coat", ""),
        ("Bag", "photos/a.jpg"),
        ("Coat", ""),
    ]


def test_the_ids_written_are_those_that_remove_takes(shop_of_codes: Path, run: Any) -> None:
    done = run("duplicates", "--max-distance", "1", "--extras", "more ids.txt")
    assert "`hashsearch remove --ids-file 'more ids.txt' --gallery indexes/codes.h5`" in done.out
    assert run("remove", "--ids-file", "more ids.txt", "--gallery", "indexes/codes.h5").status == 0
    assert sorted(Gallery.open(shop_of_codes).ids()) == ["+b", "@d", "Wäsche", "h"]
    again = run("duplicates", "--max-distance", "1")
    assert again.status == 0
    assert again.out == (
        "indexes/codes.h5: no duplicates; no two of 4 items differ in at most 1 bit.\n"
    )


def test_an_id_that_ends_a_line_cannot_be_listed(shop_of_codes: Path, run: Any) -> None:
    Gallery.from_codes(np.zeros((2, 2), np.uint8), n_bits=16, fine_bits=0, ids=["a", "b\nc"]).save(
        "indexes/lines.h5"
    )
    refused = run("duplicates", "lines", "--extras", "ids.txt")
    assert refused.status == 1
    assert "'b\\nc'" in refused.error
    assert run("duplicates", "lines", "--csv", "o.csv").status == 0
    assert [row["id"] for row in table("o.csv")] == ["a", "b\nc"]


def test_sheets_show_the_largest_groups(shop_of_codes: Path, run: Any) -> None:
    codes = np.repeat(np.arange(30, dtype=np.uint8)[:, None], 2, axis=0)
    Gallery.from_codes(codes, n_bits=8, fine_bits=0).save("indexes/pairs.h5")
    done = run("duplicates", "pairs", "--limit", "19", "--sheets", "out/sheets")
    assert "Wrote 3 sheets to out/sheets" in done.err
    folder = shop_of_codes.parents[1] / "out" / "sheets"
    names = [f"sheet-00{number}.png" for number in (1, 2, 3)]
    assert sorted(path.name for path in folder.iterdir()) == names
    heights = [read_image(folder / name).height for name in names]
    assert heights[0] == heights[1] > heights[2]
    assert (
        "Wrote 1 sheet to one" in run("duplicates", "pairs", "--sheets", "one", "--limit", "1").err
    )
    assert "no sheet" in run("duplicates", "--limit", "0", "--sheets", "none").err


def test_one_document_holds_it_all(shop_of_codes: Path, run: Any) -> None:
    done = run("duplicates", "--max-distance", "1", "--limit", "2", "--json", "--csv", "o.csv")
    assert done.json == {
        "gallery": "indexes/codes.h5",
        "max_distance": 1,
        "items": 8,
        "groups": 3,
        "items_in_groups": 7,
        "extras": 4,
        "farther_than_max_distance": 1,
        "largest": [
            {"group": 1, "items": 3, "largest_distance": 2, "first_ids": ["+b", "-c", "=a"]},
            {"group": 2, "items": 2, "largest_distance": 0, "first_ids": ["@d", 'e,"f"']},
        ],
    }


def test_a_gallery_that_is_not_there_and_a_distance_that_is_none(
    shop_of_codes: Path, run: Any
) -> None:
    assert "there are: codes" in run("duplicates", "other").error
    assert run("duplicates", "--max-distance", "-1").status == 2
