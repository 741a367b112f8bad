from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from source_fixtures import jpeg, write_in_shop, write_kaggle_styles, write_mvc

from hashsearch.datasets.item import read_item
from hashsearch.datasets.sources import SOURCES, open_source
from hashsearch.errors import ArgumentError, DatasetError, DatasetMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_table(folder: Path) -> Path:
    jpeg(folder / "a.jpg")
    (folder / "shop.csv").write_text("image,bild\na.jpg,b.jpg\n")
    return folder / "shop.csv"


def write_folder(folder: Path) -> Path:
    jpeg(folder / "coats" / "a.jpg")
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "mvc": write_mvc,
    "in-shop": write_in_shop,
    "kaggle-styles": write_kaggle_styles,
    "catalogue": write_table,
    "folder": write_folder,
}
NAMES = {"catalogue": "shop.csv", "folder": "data"}


@pytest.fixture(params=SOURCES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def path(tmp_path: Path, kind: str) -> Path:
    return WRITERS[kind](tmp_path / "data")


def test_each_source_is_recognised_and_its_items_can_be_read(kind: str, path: Path) -> None:
    catalogue = open_source(path)
    assert catalogue == open_source(path, kind=kind)
    assert catalogue.name == NAMES.get(kind, kind)
    assert len({item.id for item in catalogue.items}) == len(catalogue.items) > 0
    for item in catalogue.items:
        assert read_item(item).width > 0


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("mvc", "image_links.json"),
        ("in-shop", "Eval/list_eval_partition.txt"),
        ("kaggle-styles", "styles.csv"),
    ],
    indirect=["kind"],
)
def test_the_file_that_a_folder_is_recognised_by_can_be_named(path: Path, file: str) -> None:
    assert open_source(path / file) == open_source(path)


def test_a_data_set_can_be_read_as_another_kind(tmp_path: Path) -> None:
    write_kaggle_styles(tmp_path / "data")
    assert open_source(tmp_path / "data", kind="folder").name == "data"
    styles = open_source(
        write_kaggle_styles(tmp_path / "own", ["1,,,,,,,,,2.jpg"]) / "styles.csv",
        kind="catalogue",
        columns={"image": "productDisplayName"},
    )
    assert styles.items[0].path == str(tmp_path / "own" / "2.jpg")


def test_columns_are_those_of_a_catalogue(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    assert open_source(path, columns={"image": "bild"}).items[0].id == "b.jpg"


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "catalogue"], indirect=True)
def test_columns_of_other_sources_are_refused(kind: str, path: Path) -> None:
    said = f"is read as {kind}, of which no columns can be named; leave them out, or name catalogue"
    with pytest.raises(ArgumentError, match=said):
        open_source(path, columns={"image": "bild"})


def test_the_seed_draws_the_split_of_mvc(tmp_path: Path) -> None:
    write_mvc(tmp_path)
    assert open_source(tmp_path, seed=1) == open_source(tmp_path, seed=1)
    assert any(open_source(tmp_path, seed=seed) != open_source(tmp_path) for seed in range(1, 5))


def test_an_unknown_kind_lists_the_known_ones(tmp_path: Path) -> None:
    known = "mvc, in-shop, kaggle-styles, catalogue, folder"
    with pytest.raises(ArgumentError, match=f"unknown kind 'zalando' of source; known: {known}"):
        open_source(tmp_path, kind="zalando")


def test_a_folder_whose_name_ends_like_a_table_is_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "shop.csv")
    assert [item.id for item in open_source(tmp_path / "shop.csv").items] == ["coats/a.jpg"]


def test_what_is_no_source_is_told_with_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("image\na.jpg\n")
    with pytest.raises(DatasetError, match=r"notes\.txt is no source .* \.csv, \.tsv, \.parquet"):
        open_source(tmp_path / "notes.txt")
    with pytest.raises(DatasetMissing, match=r"gone: no such file or folder; check its name"):
        open_source(tmp_path / "gone")
