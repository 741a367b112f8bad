"""Commands that change a gallery, or search a part of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import PHOTOS_PER_TYPE
from PIL import Image

from hashsearch.gallery import Gallery, writing

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 2 * PHOTOS_PER_TYPE


@pytest.fixture
def further(tmp_path: Path) -> Path:
    """A folder of three images that are not in the shop."""
    folder = tmp_path / "further"
    (folder / "new").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number in range(3):
        pixels = rng.integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "new" / f"{number}.png")
    return folder


def opened() -> Gallery:
    return Gallery.open("indexes/shop.h5")


def test_added_items_are_found(shop: Path, run: Any, further: Path, encoder_file: Path) -> None:
    was = opened()
    added = run("add", further, "-e", encoder_file)
    assert added.status == 0
    assert added.out == f"indexes/shop.h5: {SIZE} items before, {SIZE + 3} now.\n"
    gallery = opened()
    assert sorted(gallery.ids()) == sorted([*was.ids(), "new/0.png", "new/1.png", "new/2.png"])
    assert gallery.indexes == was.indexes
    assert gallery.has_thumbnails
    found = run("query", further / "new" / "1.png", "-e", encoder_file, "-k", "1", "--json")
    assert found.json["queries"][0]["matches"][0]["id"] == "new/1.png"
    # Who opened the gallery before has what it was.
    assert len(was) == SIZE
    assert was.nearest(was.codes([3]), k=1).distance.tolist() == [0]


def test_what_is_added_as_json_lists_what_was_skipped(
    shop: Path, run: Any, further: Path, encoder_file: Path
) -> None:
    (further / "new" / "bad.png").write_bytes(b"no image")
    added = run("add", further, "-e", encoder_file, "--json")
    assert added.status == 1
    assert (added.json["added"], added.json["items"]) == (3, SIZE + 3)
    assert [each["id"] for each in added.json["skipped"]] == ["new/bad.png"]
    assert "Skipped" in added.err


def test_a_name_that_is_not_utf_8_is_skipped_and_one_that_is_not_there_refused(
    shop: Path, run: Any, further: Path, encoder_file: Path
) -> None:
    (further / "new" / "1.png").rename(further / "new" / "\udcff.png")
    added = run("add", further, "-e", encoder_file, "--json")
    assert (added.status, added.json["added"], len(added.json["skipped"])) == (1, 2, 1)
    for name in ("\udcff", "dark/0.png\0"):
        assert "1 of 1 ids are not in the gallery" in run("remove", name).error


def test_a_gallery_that_was_added_to_is_not_replaced_without_a_word(
    shop: Path, run: Any, photos: Path, further: Path, encoder_file: Path
) -> None:
    assert run("build-index", photos, "-e", encoder_file).status == 0
    assert run("add", further, "-g", "photos", "-e", encoder_file).status == 0
    refused = run("build-index", photos, "-e", encoder_file)
    assert refused.status == 1
    assert f"holds images of {further / 'new'}" in refused.error


@pytest.mark.parametrize("command", ["add", "remove", "compact"])
def test_a_gallery_that_is_not_there_leaves_no_folder(
    shop: Path, run: Any, further: Path, encoder_file: Path, command: str
) -> None:
    arguments: dict[str, list[Any]] = {
        "add": [further, "-e", encoder_file],
        "remove": ["a"],
        "compact": [],
    }
    refused = run(command, *arguments[command], "-g", "no/such/shop.h5")
    assert "there is no gallery at no/such/shop.h5" in refused.error
    assert not (shop / "no").exists()


def test_adding_an_id_again_is_refused_and_changes_nothing(
    shop: Path, run: Any, photos: Path, encoder_file: Path
) -> None:
    before = (shop / "indexes" / "shop.h5").read_bytes()
    again = run("add", photos, "-e", encoder_file)
    assert again.status == 0  # the very files: there is nothing to add
    others = shop / "others"
    shutil.copytree(photos, others)
    again = run("add", others, "-e", encoder_file)
    assert again.status == 1
    assert "16 of 16 ids are in the gallery already" in again.error
    assert (shop / "indexes" / "shop.h5").read_bytes() == before


def test_images_are_not_added_with_another_encoder(shop: Path, run: Any, further: Path) -> None:
    refused = run("add", further, "-e", "fashion-mnist")
    assert refused.status == 1
    assert "was built with encoder" in refused.error


def test_removed_items_are_found_no_more(shop: Path, run: Any) -> None:
    (shop / "ids.txt").write_bytes("\ufeffdark/1.png\r\n\nlight/2.png\n".encode())
    removed = run("remove", "dark/0.png", "--ids-file", "ids.txt")
    assert removed.status == 0
    assert removed.out == f"indexes/shop.h5: {SIZE} items before, {SIZE - 3} now.\n"
    assert not {"dark/0.png", "dark/1.png", "light/2.png"} & {*opened().ids()}
    assert run("verify").status == 0
    assert run("remove", "dark/2.png", "--json").json == {
        "gallery": "indexes/shop.h5",
        "removed": 1,
        "items": SIZE - 4,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dark/0.png\ndark/99.png\n", "1 of 2 ids are not in the gallery (first: 'dark/99.png')"),
        (b"\n\n", "lists no id"),
        (b"\xff\xfe", "is not UTF-8"),
        (None, "cannot read ids.txt: No such file"),
    ],
)
def test_a_list_that_is_wrong_removes_nothing(
    shop: Path, run: Any, content: bytes | None, message: str
) -> None:
    if content is not None:
        (shop / "ids.txt").write_bytes(content)
    refused = run("remove", "--ids-file", "ids.txt")
    assert refused.status == 1
    assert message in refused.error
    assert len(opened()) == SIZE


def test_to_remove_nothing_or_all_is_refused(shop: Path, run: Any) -> None:
    assert run("remove").status == 2
    everything = run("remove", *opened().ids())
    assert everything.status == 1
    assert "a gallery needs at least one" in everything.error
    assert len(opened()) == SIZE


@pytest.mark.parametrize("command", ["add", "remove", "compact"])
def test_a_second_writer_is_told_at_once(
    shop: Path, run: Any, further: Path, encoder_file: Path, command: str
) -> None:
    arguments: dict[str, list[Any]] = {
        "add": [further, "-e", encoder_file],
        "remove": ["dark/0.png"],
        "compact": [],
    }
    with writing("indexes/shop.h5"):
        refused = run(command, *arguments[command])
    assert refused.status == 1
    assert "another process is writing" in refused.error
    assert len(opened()) == SIZE


def test_compact_takes_no_item_and_some_bytes(
    shop: Path, run: Any, tmp_path: Path, encoder_file: Path
) -> None:
    folder = tmp_path / "wide"
    folder.mkdir()
    Image.new("L", (28, 28), 7).save(folder / f"{'w' * 200}.png")
    assert run("add", folder, "-e", encoder_file).status == 0
    assert run("remove", f"{'w' * 200}.png").status == 0
    before = opened()
    compacted = run("compact", "--json")
    assert compacted.json["bytes"] < compacted.json["bytes_before"] - SIZE * 150
    assert opened().ids() == before.ids()
    assert opened().paths() == before.paths()
    assert run("compact").out.startswith(f"indexes/shop.h5: {compacted.json['bytes']:,} bytes")


def test_compact_makes_the_hash_tables_that_many_codes_are_to_have(
    shop: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "mih/places" not in opened().content.datasets
    monkeypatch.setattr("hashsearch.gallery.hamming_index._FEW_CODES", 2)
    assert "without hash tables; `hashsearch compact` makes them" in run("info").out
    assert run("compact").status == 0
    assert "mih/places" in opened().content.datasets
    assert "search" in run("info").out
    assert "hash tables of about" in run("info", "--json").json["search"]


def test_a_query_finds_only_what_it_is_to_find(
    shop: Path, run: Any, photos: Path, encoder_file: Path
) -> None:
    def found(*options: str) -> list[str]:
        answer = run(
            "query", photos / "dark" / "0.png", "-e", encoder_file, "-k", "99", "--json", *options
        )
        return sorted(match["id"] for match in answer.json["queries"][0]["matches"])

    (shop / "some.txt").write_text("dark/0.png\ndark/1.png\nlight/2.png\n")
    (shop / "others.txt").write_text("dark/1.png\nsold-long-ago\n")
    dark = [f"dark/{number}.png" for number in range(PHOTOS_PER_TYPE)]
    light = [f"light/{number}.png" for number in range(PHOTOS_PER_TYPE)]
    assert found() == dark + light
    assert found("--label", "light") == light
    assert found("--label", "light", "--label", "dark") == dark + light
    assert found("--only", "some.txt") == ["dark/0.png", "dark/1.png", "light/2.png"]
    assert found("--only", "some.txt", "--label", "dark", "--without", "others.txt") == [
        "dark/0.png"
    ]


def test_filters_that_leave_nothing_say_so(
    shop: Path, run: Any, photos: Path, encoder_file: Path
) -> None:
    query = ["query", photos / "dark" / "0.png", "-e", encoder_file]
    assert "the label 'Hat'; there are dark, light" in run(*query, "--label", "Hat").error
    (shop / "all.txt").write_text("\n".join(opened().ids()))
    assert "no item is left" in run(*query, "--without", "all.txt").error


@pytest.mark.parametrize("out", ["out", "out.parquet"])
def test_an_exported_gallery_is_built_again(shop: Path, run: Any, out: str) -> None:
    exported = run("export", out)
    assert exported.status == 0
    assert exported.out.startswith(f"{SIZE} items: out")
    built = run("build-index", "--codes", out, "--name", "again")
    assert built.status == 0
    again = Gallery.open("indexes/again.h5")
    assert again.ids() == opened().ids()
    assert again.labels() == opened().labels()
    np.testing.assert_array_equal(again.codes(), opened().codes())
    assert again.encoder_fingerprint == opened().encoder_fingerprint
    assert "Try `hashsearch query IMAGE`" in built.out


def test_codes_without_an_encoder_cannot_be_searched_by_photo_and_say_so(
    shop: Path, run: Any, encoder_file: Path
) -> None:
    width = opened().codes().shape[1]
    np.save("codes.npy", np.zeros((3, width), np.uint8))
    built = run("build-index", "--codes", "codes.npy", "--name", "x", "--bits", opened().n_bits)
    assert "build it with --encoder" in built.out
    built = run("build-index", "--codes", "codes.npy", "--name", "x", "-e", encoder_file)
    assert "Try `hashsearch query IMAGE`" in built.out
    assert Gallery.open("indexes/x.h5").encoder_fingerprint == opened().encoder_fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codes", "x.npy"], "--name"),
        (["--codes", "x.npy", "--name", "y", "photos"], "takes no photos"),
        (["--codes", "x.npy", "--name", "y", "--no-thumbnails"], "takes no photos"),
        (["--bits", "8"], "--bits is for --codes alone"),
        (["--fine-bits", "8"], "--fine-bits is for --codes alone"),
    ],
)
def test_options_that_do_not_go_together(
    shop: Path, run: Any, arguments: list[str], message: str
) -> None:
    refused = run("build-index", *arguments)
    assert refused.status == 2
    assert message in refused.error


def test_ids_that_are_gone_can_be_passed_over(shop: Path, run: Any) -> None:
    (shop / "sold.txt").write_text("dark/0.png\nlong gone\n")
    refused = run("remove", "--ids-file", "sold.txt")
    assert refused.status == 1
    assert "1 of 2 ids are not in the gallery" in refused.error
    done = run("remove", "--ids-file", "sold.txt", "--ignore-missing", "--json")
    assert (done.json["removed"], done.json["items"]) == (1, SIZE - 1)
