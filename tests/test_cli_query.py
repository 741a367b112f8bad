"""What a shop does with a query: filters, columns, articles, items as queries, copies."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Callable

ARTICLES = 6
VIEWS = 3


@pytest.fixture
def store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any], encoder_file: Path
) -> Path:
    """A gallery of a catalogue: articles with nearly the same image three times, and columns."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    lines = ["sku,image,label,item,season,price,attributes"]
    (tmp_path / "images").mkdir()
    for article in range(ARTICLES):
        pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
        for view in range(VIEWS):
            pixels[4 * view : 4 * view + 2] ^= 255
            Image.fromarray(pixels).save(tmp_path / "images" / f"{article}-{view}.png")
            season = ("summer", "winter")[article % 2]
            lines.append(
                f"{article}{view},images/{article}-{view}.png,{'coat' if article < 3 else 'hat'},"
                f"P{article},{season},{10 * article},{'wool|red' if article < 2 else 'red'}"
            )
    (tmp_path / "store.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    built = run(
        "build-index",
        "store.csv",
        "-e",
        encoder_file,
        "--column",
        "id=sku",
        "--column",
        "item=item",
    )
    assert built.status == 0
    return tmp_path


def matches(answer: Any) -> list[dict[str, Any]]:
    (query,) = answer.json["queries"]
    found: list[dict[str, Any]] = query["matches"]
    return found


def test_a_match_has_what_the_catalogue_says_of_it(store: Path, run: Any) -> None:
    (match,) = matches(run("query", "images/1-0.png", "-k", "1", "--json"))
    assert match["id"] == "10"
    assert match["path"] == str(store / "images" / "1-0.png")
    assert match["columns"] == {
        "attributes": "wool|red",
        "item": "P1",
        "price": "10",
        "season": "winter",
    }


def test_the_table_shows_the_columns_that_are_asked_for(store: Path, run: Any) -> None:
    shown = run("query", "images/1-0.png", "-k", "1", "--show", "season", "--show", "path")
    header = next(line for line in shown.out.splitlines() if "rank" in line)
    names = [cell.strip() for cell in header.strip("┃").split("┃")]
    assert names[2:5] == ["label", "season", "path"]
    assert "winter" in shown.out
    assert str(store / "images" / "1-0.png") in shown.out
    refused = run("query", "images/1-0.png", "--show", "colour")
    assert refused.status == 2
    assert "there are path, attributes, item, price, season" in refused.error


def test_csv_has_a_line_a_match(store: Path, run: Any) -> None:
    answer = run("query", "images/1-0.png", "images/4-1.png", "-k", "2", "--csv")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [(row["query"], row["rank"], row["id"]) for row in rows[::2]] == [
        ("images/1-0.png", "1", "10"),
        ("images/4-1.png", "1", "41"),
    ]
    assert rows[0]["season"] == "winter"
    assert rows[0]["distance"] == "0"
    assert run("query", "images/1-0.png", "--csv", "--json").status == 2


@pytest.mark.parametrize(
    ("conditions", "articles"),
    [
        (["season=winter"], {"P1", "P3", "P5"}),
        (["season=winter", "label=coat"], {"P1"}),
        (["price=10", "price=20"], {"P1", "P2"}),
        (["attributes=wool"], {"P0", "P1"}),
        (["attributes=red", "label=hat", "season=summer"], {"P4"}),
    ],
)
def test_only_what_meets_the_conditions_is_found(
    store: Path, run: Any, conditions: list[str], articles: set[str]
) -> None:
    options = [part for condition in conditions for part in ("--where", condition)]
    found = matches(run("query", "images/1-0.png", "-k", "99", "--json", *options))
    assert {match["columns"]["item"] for match in found} == articles
    assert len(found) == VIEWS * len(articles)


@pytest.mark.parametrize(
    ("condition", "status", "said"),
    [
        ("season=autumn", 1, "has the season 'autumn'; there are summer, winter"),
        ("colour=red", 1, "has a colour; its columns are label, attributes, item, price, season"),
        ("season=wintr", 1, "there are winter ..."),
        ("winter", 2, "--where takes COLUMN=VALUE, not 'winter'"),
    ],
)
def test_a_condition_that_means_nothing_says_what_would(
    store: Path, run: Any, condition: str, status: int, said: str
) -> None:
    refused = run("query", "images/1-0.png", "--where", condition)
    assert refused.status == status
    assert said in refused.error


def test_each_article_is_found_once(store: Path, run: Any) -> None:
    every = matches(run("query", "images/1-0.png", "-k", "99", "--json"))
    once = matches(run("query", "images/1-0.png", "-k", "99", "--json", "--distinct"))
    assert once[0]["columns"]["item"] == "P1"
    assert len(once) == len({match["columns"]["item"] for match in once}) == ARTICLES
    best: dict[str, str] = {}
    for match in every:
        best.setdefault(match["columns"]["item"], match["id"])
    assert [match["id"] for match in once] == list(best.values())
    few = matches(run("query", "images/1-0.png", "-k", "4", "--json", "--distinct"))
    assert [match["id"] for match in few] == [match["id"] for match in once[:4]]


def test_an_item_can_be_the_query(store: Path, run: Any) -> None:
    by_id = matches(run("query", "--id", "20", "-k", "5", "--json"))
    by_image = matches(run("query", "images/2-0.png", "-k", "6", "--json"))
    assert [match["id"] for match in by_id] == [m["id"] for m in by_image if m["id"] != "20"]
    others = matches(run("query", "--id", "20", "-k", "99", "--json", "--distinct"))
    assert len(others) == ARTICLES - 1
    assert "P2" not in {match["columns"]["item"] for match in others}
    elsewhere = matches(run("query", "--id", "20", "-k", "99", "--json", "--where", "label=hat"))
    assert {match["label"] for match in elsewhere} == {"hat"}
    refused = run("query", "--id", "nobody")
    assert refused.status == 1
    assert "'nobody'" in refused.error


def test_an_item_needs_no_encoder(store: Path, run: Any, encoder_file: Path) -> None:
    export = run("export", "codes.parquet")
    assert export.status == 0
    run("build-index", "--codes", "codes.parquet", "--name", "again")
    assert len(matches(run("query", "-g", "again", "--id", "20", "-k", "3", "--json"))) == 3


def test_images_may_be_listed_in_a_file(store: Path, run: Any) -> None:
    Path("list.txt").write_text("images/0-0.png\n\nimages/gone.png\nimages/1-1.png\n")
    answer = run("query", "--images-file", "list.txt", "-k", "1", "--json")
    assert answer.status == 1
    assert "gone.png: no such file" in answer.err
    assert [query["query"] for query in answer.json["queries"]] == [
        "images/0-0.png",
        "images/1-1.png",
    ]


def test_files_of_the_matches_are_copied(store: Path, run: Any) -> None:
    assert run("query", "images/3-1.png", "-k", "2", "--copy-to", "one").status == 0
    first, second = sorted(path.name for path in Path("one").iterdir())
    assert first == "001-3-1.png"
    assert second.startswith("002-3-")
    assert Path("one/001-3-1.png").read_bytes() == Path("images/3-1.png").read_bytes()
    run("query", "images/3-1.png", "--id", "00", "-k", "1", "--copy-to", "two")
    assert sorted(path.name for path in Path("two").iterdir()) == ["001-00", "002-3-1"]
    Path("images/3-1.png").rename("query.png")
    gone = run("query", "query.png", "-k", "2", "--copy-to", "three")
    assert gone.status == 1
    assert "Not copied:" in gone.err
    assert [path.name for path in Path("three").iterdir()] == [second]


def test_the_file_of_a_large_item_is_found_at_distance_0(
    store: Path, run: Any, encoder_file: Path
) -> None:
    Path("large").mkdir()
    rng = np.random.default_rng(8)
    for number in range(4):
        small = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        small.resize((1800, 1800), Image.Resampling.BICUBIC).save(f"large/{number}.jpg")
    assert run("build-index", "large", "-e", encoder_file).status == 0
    for number in range(4):
        (match,) = matches(run("query", f"large/{number}.jpg", "-k", "1", "--json"))
        assert (match["id"], match["full_distance"]) == (f"{number}.jpg", 0)


def test_files_are_copied_into_an_empty_folder_only(store: Path, run: Any) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    refused = run("query", "images/3-1.png", "-k", "2", "--copy-to", "full")
    assert refused.status == 1
    assert "full is not empty" in refused.error
    long = f"images/{'x' * 240}.png"
    Path(long).write_bytes(Path("images/3-1.png").read_bytes())
    done = run("query", "--id", "31", long, "-k", "1", "--copy-to", "long")
    assert done.status == 0
    assert len([*Path("long").rglob("*.png")]) == 2


def test_a_sheet_shows_items_that_search(store: Path, run: Any) -> None:
    done = run("query", "--id", "20", "images/3-1.png", "-k", "2", "--sheet", "found.png")
    assert done.status == 0
    with Image.open("found.png") as sheet:
        assert sheet.height > 2 * 112


def test_a_query_of_nothing_says_what_to_give(store: Path, run: Any) -> None:
    refused = run("query")
    assert refused.status == 2
    assert "--id" in refused.error


def test_columns_go_on_through_add_remove_and_compact(
    store: Path, run: Any, encoder_file: Path
) -> None:
    Path("more.csv").write_text("sku,image,item,season\n99,images/0-0.png,P9,autumn\n")
    assert run("add", "more.csv", "--column", "id=sku").status == 0
    assert run("remove", "00", "01", "02").status == 0
    assert run("compact").status == 0
    gallery = Gallery.open("indexes/store.h5")
    found = dict(zip(gallery.ids(), gallery.column("season"), strict=True))
    assert found["99"] == "autumn"
    assert found["10"] == "winter"
    items = gallery.column("item")
    assert "P0" not in items
    assert "P9" in items
    assert run("info", "--json").json["columns"]["season"] == 3
    assert run("verify").status == 0
