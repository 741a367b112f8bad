from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_encoder import encoder_bytes

from hashsearch.datasets.folder import SUFFIXES, folder_items
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
        (name, label, tmp_path / name, str(tmp_path / name))
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


def test_links_to_folders_are_not_followed_and_links_to_files_are(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png")
    (tmp_path / "real" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert {item.id for item in folder_items(tmp_path)} == {
        "real/a.png",
        "link.png",
        "dangling.png",
        "self.png",
    }


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
