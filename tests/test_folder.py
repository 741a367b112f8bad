from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from source_fixtures import jpeg
from tiny_encoder import encoder_bytes

from hashsearch.datasets.folder import SUFFIXES, folder_items, read_folder
from hashsearch.datasets.item import read_item
from hashsearch.encoder import Encoder
from hashsearch.errors import DatasetError, DatasetMissing
from hashsearch.gallery.build import build


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_sub_folders_are_types_and_ids_are_paths_in_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "top.png", "coats/a.jpg", "coats/winter/b.jpg")
    assert [(item.id, item.label, item.image, item.path) for item in folder_items(tmp_path)] == [
        (name, label, str(tmp_path / name), str(tmp_path / name))
        for name, label in [
            ("top.png", None),
            ("coats/a.jpg", "coats"),
            ("coats/winter/b.jpg", "coats/winter"),
        ]
    ]


def test_paths_are_absolute_where_the_folder_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "photos/a.png")
    monkeypatch.chdir(tmp_path)
    (item,) = folder_items(Path("photos"))
    assert (item.id, item.path) == ("a.png", str(tmp_path / "photos" / "a.png"))


def test_every_known_ending_in_any_case_and_no_other(tmp_path: Path) -> None:
    known = [f"image{ending}" for ending in SUFFIXES]
    shouted = [f"IMAGE{ending.upper()}" for ending in SUFFIXES]
    touch(tmp_path, *known, *shouted, "notes.txt", "jpg", "a.jpg.part", "a.svg")
    assert {item.id for item in folder_items(tmp_path)} == {*known, *shouted}


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".b.png", ".thumbs/c.png", "d/.e/f.png")
    assert [item.id for item in folder_items(tmp_path)] == ["a.png"]


def test_a_hidden_folder_that_is_named_is_read(tmp_path: Path) -> None:
    touch(tmp_path, ".photos/a.png")
    assert [item.id for item in folder_items(tmp_path / ".photos")] == ["a.png"]


def test_the_order_is_that_of_the_names(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/10.png", "z.png", "a/1.png", "B/1.png", "é.png")
    assert [item.id for item in folder_items(tmp_path)] == [
        "z.png",
        "é.png",
        "B/1.png",
        "a/1.png",
        "b/10.png",
        "b/2.png",
    ]


def test_links_to_files_are_items_and_a_loop_of_links_is_one(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert [item.id for item in folder_items(tmp_path)] == [
        "dangling.png",
        "link.png",
        "self.png",
        "real/a.png",
    ]


def test_a_link_to_a_folder_elsewhere_stands_where_its_name_does(tmp_path: Path) -> None:
    touch(tmp_path, "store/coats/winter/a.png", "store/b.png", "shop/zebra/c.png", "shop/d.png")
    (tmp_path / "shop" / "more").symlink_to(tmp_path / "store", target_is_directory=True)
    assert [(item.id, item.label) for item in folder_items(tmp_path / "shop")] == [
        ("d.png", None),
        ("more/b.png", "more"),
        ("more/coats/winter/a.png", "more/coats/winter"),
        ("zebra/c.png", "zebra"),
    ]


def test_a_loop_of_folders_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "shop/a.png", "shop/coats/b.png", "beside/c.png")
    for name, target in {
        "loop": "shop",
        "coats/up": "shop",
        "coats/out": "",
        "me": "shop/me",
    }.items():
        (tmp_path / "shop" / name).symlink_to(tmp_path / target, target_is_directory=True)
    assert [item.id for item in folder_items(tmp_path / "shop")] == [
        "a.png",
        "coats/b.png",
        "coats/out/beside/c.png",
    ]


def test_a_folder_is_read_in_its_own_place_before_any_link_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "z/deep/a.png")
    (tmp_path / "a").symlink_to(tmp_path / "z" / "deep", target_is_directory=True)
    (tmp_path / "b").symlink_to(tmp_path / "z", target_is_directory=True)
    assert [item.id for item in folder_items(tmp_path)] == ["z/deep/a.png"]


def test_of_two_links_to_one_folder_the_first_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/a.png", "shop/x/b.png")
    for name in ("two", "one", "x/zero"):
        (tmp_path / "shop" / name).symlink_to(tmp_path / "store", target_is_directory=True)
    assert [item.id for item in folder_items(tmp_path / "shop")] == ["one/a.png", "x/b.png"]


def test_a_link_of_a_linked_folder_is_followed_and_a_hidden_one_is_not(tmp_path: Path) -> None:
    touch(tmp_path, "first/a.png", "second/b.png", "third/c.png", "shop/d.png")
    for name, target in {"shop/1": "first", "first/2": "second", "first/.3": "third"}.items():
        (tmp_path / name).symlink_to(tmp_path / target, target_is_directory=True)
    assert [item.id for item in folder_items(tmp_path / "shop")] == [
        "d.png",
        "1/a.png",
        "1/2/b.png",
    ]


def test_a_folder_that_is_a_link_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png")
    (tmp_path / "shop").symlink_to(tmp_path / "real", target_is_directory=True)
    (item,) = folder_items(tmp_path / "shop")
    assert (item.id, item.path) == ("a.png", str(tmp_path / "shop" / "a.png"))


def test_items_can_be_read(tmp_path: Path) -> None:
    jpeg(tmp_path / "coats" / "a.jpg")
    (item,) = folder_items(tmp_path)
    assert read_item(item).size == (12, 16)


def test_the_catalogue_has_the_name_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "shop/coats/a.png")
    assert read_folder(tmp_path / "shop").name == "shop"
    monkeypatch.chdir(tmp_path / "shop" / "coats")
    assert read_folder(Path("..")).name == "shop"
    assert read_folder(Path()).name == "coats"


@pytest.mark.skipif(os.geteuid() == 0, reason="to root, every folder can be read")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "locked/b.png")
    (tmp_path / "locked").chmod(0)
    with pytest.raises(DatasetError, match=r"cannot read the folder .*locked: .*; check its perm"):
        folder_items(tmp_path)


def test_a_folder_called_like_an_image_is_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "shoes.png/a.png")
    assert [(item.id, item.label) for item in folder_items(tmp_path)] == [
        ("shoes.png/a.png", "shoes.png")
    ]


def test_a_pipe_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    touch(tmp_path, "a.png")
    assert [item.id for item in folder_items(tmp_path)] == ["a.png"]


def test_a_folder_without_images_is_refused_with_the_endings(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(DatasetError, match=rf"{tmp_path}.*\.jpg"):
        folder_items(tmp_path)


@pytest.mark.parametrize("name", ["gone", "file.png"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "file.png")
    with pytest.raises(DatasetMissing, match=rf"{name} is not a folder; name a folder"):
        folder_items(tmp_path / name)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse such a name")
def test_a_name_that_is_not_utf8_is_listed_and_the_others_are_built(tmp_path: Path) -> None:
    Image.new("L", (28, 28), 200).save(tmp_path / "good.png")
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.png"))
    bad.write_bytes((tmp_path / "good.png").read_bytes())
    result = build(folder_items(tmp_path), Encoder(encoder_bytes(), threads=1))
    assert result.gallery.ids() == ["good.png"]
    (skipped,) = result.skipped
    assert skipped.id == os.fsdecode(b"b\xff.png")
    assert skipped.reason.endswith("its path is not UTF-8; rename it")
