"""Builds that are stopped, brought up to date, or meet what cannot be read."""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from tiny_encoder import encoder_bytes

from hashsearch.datasets.item import Item
from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery
from hashsearch.gallery import build as building
from hashsearch.gallery.stamps import content_stamp, entry_stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

COUNT = 700  # images: three batches


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two types of images, in the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "many"
    rng = np.random.default_rng(3)
    for kind in ("a", "b"):
        (folder / kind).mkdir(parents=True)
    for number in range(COUNT):
        draw(folder / "ab"[number % 2] / f"{number:04d}.png", rng)
    return folder


def draw(path: Path, rng: np.random.Generator) -> None:
    Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(path)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the network saw, a call each; the list can be made to stop it."""
    seen: list[int] = []
    encode = Encoder.encode_pixels

    def counted(
        self: Encoder, pixels: npt.NDArray[np.uint8], *, batch_size: int | None = None
    ) -> npt.NDArray[np.uint8]:
        codes = encode(self, pixels, batch_size=batch_size)
        seen.append(len(pixels))
        return codes

    monkeypatch.setattr(Encoder, "encode_pixels", counted)
    return seen


@contextmanager
def stopping_after(batches: int) -> Iterator[None]:
    """Builds stop when so many batches are kept and the next one is encoded."""
    keep, done = building._keep, list[int]()

    def stopping(*args: Any) -> Any:
        if len(done) == batches:
            raise KeyboardInterrupt
        done.append(1)
        return keep(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_keep", stopping)
        yield


def same(one: Gallery, other: Gallery) -> None:
    assert one.ids() == other.ids()
    assert_array_equal(one.codes(), other.codes())
    assert one.labels() == other.labels()
    assert one.paths() == other.paths()
    assert [one.thumbnail(row) for row in range(len(one))] == [
        other.thumbnail(row) for row in range(len(other))
    ]
    assert {name: one.column(name) for name in one.column_names} == {
        name: other.column(name) for name in other.column_names
    }


def names(folder: str = "indexes") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def listed(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- stopped -----------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_build_that_was_stopped_goes_on(
    many: Path, run: Any, encoder_file: Path, encoded: list[int], batches: int
) -> None:
    assert run("build-index", many, "-e", encoder_file, "--name", "whole").status == 0
    encoded.clear()
    with stopping_after(batches):
        assert run("build-index", many, "-e", encoder_file).status == 1
    assert names() == ["many.h5.encoded", "whole.h5"][not batches :]
    encoded.clear()
    draw(many / "a" / "0000.png", np.random.default_rng(9))
    assert run("build-index", many, "-e", encoder_file).status == 0
    changed = batches > 0  # the first image is in the first batch
    assert sum(encoded) == COUNT - 256 * batches + changed
    assert names() == ["many.h5", "whole.h5"]
    assert run("build-index", many, "-e", encoder_file, "--name", "whole").status == 0
    same(Gallery.open("indexes/whole.h5"), Gallery.open("indexes/many.h5"))


def test_what_is_added_goes_on_likewise(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many / "a", "-e", encoder_file, "--name", "all").status == 0
    with stopping_after(1):
        assert run("add", many / "b", "-g", "all").status == 1
    encoded.clear()
    assert run("add", many / "b", "-g", "all").status == 0
    assert sum(encoded) == COUNT // 2 - 256
    assert len(Gallery.open("indexes/all.h5")) == COUNT
    assert names() == ["all.h5"]


def test_what_another_encoder_has_encoded_is_of_no_use(
    many: Path, run: Any, encoder_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(encoder_bytes(seed=1))
    with stopping_after(1):
        assert run("build-index", many, "-e", other).status == 1
    assert run("build-index", many, "-e", encoder_file).status == 0
    assert run("build-index", many, "-e", encoder_file, "--name", "whole").status == 0
    same(Gallery.open("indexes/whole.h5"), Gallery.open("indexes/many.h5"))


def test_a_damaged_journal_costs_only_time(many: Path, run: Any, encoder_file: Path) -> None:
    Path("indexes").mkdir()
    Path("indexes/many.h5.encoded").write_bytes(b"no database" * 1000)
    assert run("build-index", many, "-e", encoder_file).status == 0
    assert names() == ["many.h5"]


def test_a_journal_of_another_release_costs_only_time(
    many: Path, run: Any, encoder_file: Path
) -> None:
    Path("indexes").mkdir()
    with closing(sqlite3.connect("indexes/many.h5.encoded")) as connection:
        connection.execute("create table item (id text)")
    assert run("build-index", many, "-e", encoder_file).status == 0
    assert names() == ["many.h5"]


def test_a_journal_that_is_damaged_inside_says_what_to_do(
    many: Path, run: Any, encoder_file: Path
) -> None:
    with stopping_after(2):
        run("build-index", many, "-e", encoder_file)
    journal = Path("indexes/many.h5.encoded")
    content = bytearray(journal.read_bytes())
    for place in range(4096 * 2, len(content), 4096):
        content[place : place + 64] = bytes(64)
    journal.write_bytes(content)
    told = run("build-index", many, "-e", encoder_file)
    assert told.status == 1
    assert "many.h5.encoded is damaged" in told.error
    assert "delete it" in told.error


def test_a_journal_that_somebody_reads_is_kept(many: Path, run: Any, encoder_file: Path) -> None:
    with stopping_after(2):
        run("build-index", many, "-e", encoder_file)
    journal = Path("indexes/many.h5.encoded")
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("begin immediate")
        before = journal.stat().st_ino
        told = run("build-index", many, "-e", encoder_file)
    assert told.status == 1
    assert "locked" in told.error
    assert journal.stat().st_ino == before


def test_what_is_added_leaves_the_journal_of_a_build_alone(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many / "b", "-e", encoder_file, "--name", "x").status == 0
    with stopping_after(1):
        run("build-index", many / "a", "-e", encoder_file, "--name", "x")
    assert run("add", many / "a", "-g", "x").status == 0
    encoded.clear()
    assert run("build-index", many / "a", "-e", encoder_file, "--name", "x").status == 0
    assert sum(encoded) == COUNT // 2 - 256


def test_a_pipe_is_refused_and_not_waited_for(many: Path, run: Any, encoder_file: Path) -> None:
    os.mkfifo(many / "pipe.jpg")
    Path("shop.csv").write_text("image\nmany/pipe.jpg\nmany/a/0000.png\n")
    done = run("build-index", "shop.csv", "-e", encoder_file)
    assert done.status == 1
    assert "pipe.jpg is a pipe or a device" in done.err
    assert len(Gallery.open("indexes/shop.h5")) == 1
    assert "is a pipe" in run("query", many / "pipe.jpg").error


def test_a_read_only_gallery_is_told_before_anything_is_encoded(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many, "-e", encoder_file).status == 0
    Path("indexes/many.h5").chmod(0o444)
    encoded.clear()
    refused = run("build-index", many, "-e", encoder_file)
    assert refused.status == 1
    assert "it is read-only" in refused.error
    assert encoded == []


def test_a_long_text_costs_its_own_bytes_alone(many: Path, run: Any, encoder_file: Path) -> None:
    lines = ["image,text"]
    lines += [
        f"many/{'ab'[n % 2]}/{n:04d}.png,{f'{n} ' * (20_000 if n == 7 else 1)}"
        for n in range(COUNT)
    ]
    Path("shop.csv").write_text("\n".join(lines) + "\n")
    assert run("build-index", "shop.csv", "-e", encoder_file, "--no-thumbnails").status == 0
    assert Path("indexes/shop.h5").stat().st_size < 500_000
    assert run("build-index", "shop.csv", "--update").status == 0


def test_a_column_that_is_called_as_a_role_is_kept_beside_it(
    many: Path, run: Any, encoder_file: Path
) -> None:
    text = (
        "image,type,label,item,path\nmany/a/0000.png,hat,EUR1,x,/p\nmany/b/0001.png,cap,EUR2,y,/q\n"
    )
    Path("shop.csv").write_text(text)
    roles = ["--column", "label=type", "--column", "image=image", "--column", "item="]
    assert run("build-index", "shop.csv", "-e", encoder_file, *roles).status == 0
    gallery = Gallery.open("indexes/shop.h5")
    assert sorted(filter(None, gallery.labels())) == ["cap", "hat"]
    assert set(gallery.column("column label")) == {"EUR1", "EUR2"}
    assert set(gallery.column("column path")) == {"/p", "/q"}
    assert set(gallery.column("column item")) == {"x", "y"}


# --- brought up to date ------------------------------------------------------------------


def test_an_update_encodes_what_is_new_or_has_changed(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many, "-e", encoder_file).status == 0
    encoded.clear()
    rng = np.random.default_rng(5)
    draw(many / "a" / "new.png", rng)
    draw(many / "b" / "0001.png", rng)
    (many / "a" / "0002.png").unlink()
    (many / "a" / "0004.png").rename(many / "b" / "0004.png")  # another id: gone, and new
    done = run("build-index", many, "--update")
    assert done.status == 0
    assert "2 added, 1 changed, 2 removed" in done.out
    assert sum(encoded) == 3
    assert run("build-index", many, "-e", encoder_file, "--name", "whole").status == 0
    same(Gallery.open("indexes/whole.h5"), Gallery.open("indexes/many.h5"))
    encoded.clear()
    assert run("build-index", many, "--update", "--json").json["changed"] == 0
    assert encoded == []


def test_time_or_content_says_what_has_changed(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many, "-e", encoder_file).status == 0
    encoded.clear()
    touched, altered = many / "a" / "0000.png", many / "a" / "0002.png"
    os.utime(touched, ns=(0, 0))
    entry = altered.stat()
    image = Image.open(altered).point(lambda value: 255 - value)
    image.save(altered)
    with altered.open("ab") as file:
        file.write(bytes(max(entry.st_size - altered.stat().st_size, 0)))
    os.utime(altered, ns=(entry.st_atime_ns, entry.st_mtime_ns))
    assert altered.stat().st_size == entry.st_size
    done = run("build-index", many, "--update", "--checksum")
    assert "0 added, 1 changed, 0 removed" in done.out
    assert sum(encoded) == 1


def test_a_file_of_another_time_but_the_same_content_has_not_changed(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many, "-e", encoder_file).status == 0
    encoded.clear()
    os.utime(many / "a" / "0000.png", ns=(0, 0))
    shutil.copytree(many, many.parent / "moved")
    shutil.rmtree(many)
    assert "0 changed" in run("build-index", "moved", "--name", "many", "--update").out
    assert encoded == []
    gallery = Gallery.open("indexes/many.h5")
    assert all(path and path.startswith(f"{many.parent}/moved/") for path in gallery.paths())


def test_another_file_of_the_same_size_and_time_is_another(
    many: Path, run: Any, encoder_file: Path
) -> None:
    first, second = many / "a" / "0000.png", many / "b" / "0001.png"
    for path in (first, second):
        Image.open(path).save(path.with_suffix(".bmp"))
        os.utime(path.with_suffix(".bmp"), ns=(5, 5))
    catalogue = Path("one.csv")
    catalogue.write_text("id,image\nX,many/a/0000.bmp\n")
    assert run("build-index", catalogue, "-e", encoder_file).status == 0
    catalogue.write_text("id,image\nX,many/b/0001.bmp\n")
    assert "1 changed" in run("build-index", catalogue, "--update").out
    found = run("query", many / "b" / "0001.bmp", "-k", "1", "--json").json
    assert found["queries"][0]["matches"][0]["full_distance"] == 0


def test_an_update_knows_what_add_remove_and_compact_left(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many / "a", "-e", encoder_file, "--name", "x").status == 0
    assert run("add", many / "b", "-g", "x").status == 0
    assert run("remove", "0000.png", "0001.png", "-g", "x").status == 0
    assert run("compact", "-g", "x").status == 0
    encoded.clear()
    assert "0 changed" in run("build-index", many / "a", "--name", "x", "--update").out
    assert sum(encoded) == 1
    assert len(Gallery.open("indexes/x.h5")) == COUNT // 2


def test_an_update_keeps_the_chosen_indexes(many: Path, run: Any, encoder_file: Path) -> None:
    assert run("build-index", many, "-e", encoder_file).status == 0
    Gallery.open("indexes/many.h5").indexed(["hash"]).save("indexes/many.h5")
    assert run("build-index", many, "--update").status == 0
    assert Gallery.open("indexes/many.h5").indexes == ("hash",)


@pytest.mark.parametrize(
    "change", [{"box": (0, 0, 20, 20)}, {"image": b"another"}, {"image": b"longer content"}]
)
def test_a_stamp_tells_box_and_content(tmp_path: Path, change: dict[str, Any]) -> None:
    item = Item("x", b"content")
    assert content_stamp(item)[0] == content_stamp(Item("y", b"content"))[0]
    assert content_stamp(replace(item, **change))[0] != content_stamp(item)[0]


def test_a_stamp_tells_path_size_and_time(tmp_path: Path) -> None:
    path, other = tmp_path / "one", tmp_path / "two"
    stamps = []
    for target, content, time in (
        (path, b"1", 1),
        (path, b"1", 2),
        (path, b"12", 1),
        (other, b"1", 1),
    ):
        target.write_bytes(content)
        os.utime(target, ns=(time, time))
        stamps.append(entry_stamp(Item("x", str(target))))
    assert len({*stamps}) == 4
    assert entry_stamp(Item("x", str(tmp_path / "gone"))) == 0


def test_labels_and_columns_are_those_of_today(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    catalogue = Path("shop.csv")
    catalogue.write_text("image,label,season\nmany/a/0000.png,hat,\nmany/b/0001.png,coat,winter\n")
    assert run("build-index", catalogue, "-e", encoder_file).status == 0
    encoded.clear()
    catalogue.write_text("image,label,price\nmany/a/0000.png,cap,7\nmany/b/0001.png,coat,9\n")
    assert run("build-index", catalogue, "--update").status == 0
    assert encoded == []
    gallery = Gallery.open("indexes/shop.h5")
    assert gallery.column_names == ["label", "price"]
    assert dict(zip(gallery.ids(), gallery.labels(), strict=True)) == {
        "many/a/0000.png": "cap",
        "many/b/0001.png": "coat",
    }


def test_a_gallery_without_thumbnails_stays_without(
    many: Path, run: Any, encoder_file: Path
) -> None:
    assert run("build-index", many, "-e", encoder_file, "--no-thumbnails").status == 0
    assert run("build-index", many, "--update").status == 0
    assert not Gallery.open("indexes/many.h5").has_thumbnails
    assert run("build-index", many, "--update", "--thumbnails").status == 0
    gallery = Gallery.open("indexes/many.h5")
    assert all(gallery.thumbnail(row) for row in range(len(gallery)))


def test_an_update_keeps_to_the_encoder_of_the_gallery(
    many: Path, run: Any, encoder_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(encoder_bytes(seed=1))
    assert run("build-index", many, "-e", encoder_file).status == 0
    before = Path("indexes/many.h5").read_bytes()
    refused = run("build-index", many, "--update", "-e", other)
    assert refused.status == 1
    assert "was built with encoder" in refused.error
    assert Path("indexes/many.h5").read_bytes() == before


def test_the_first_update_builds(many: Path, run: Any, encoder_file: Path) -> None:
    done = run("build-index", many, "-e", encoder_file, "--update")
    assert f"{COUNT} added, 0 changed, 0 removed" in done.out


# --- what cannot be read -----------------------------------------------------------------


def test_what_is_skipped_is_listed_in_a_file(many: Path, run: Any, encoder_file: Path) -> None:
    (many / "a" / "0000.png").write_bytes(b"no image")
    (many / "b" / "0001.png").write_bytes((many / "b" / "0003.png").read_bytes()[:200])
    for command in (["build-index", many, "-e", encoder_file], ["build-index", many, "--update"]):
        done = run(*command)
        assert done.status == 1
        assert f"{COUNT - 2:,} items" in done.out
        records = listed("indexes/many.skipped.csv")
        assert [record["id"] for record in records] == ["a/0000.png", "b/0001.png"]
        assert [record["path"] for record in records] == [
            str(many / "a" / "0000.png"),
            str(many / "b" / "0001.png"),
        ]
        assert "is not an image" in records[0]["reason"]
        assert "damaged" in records[1]["reason"]
    draw(many / "a" / "0000.png", np.random.default_rng(1))
    (many / "b" / "0001.png").unlink()
    assert run("build-index", many, "--update").status == 0
    assert names() == ["many.h5"]


def test_of_many_skipped_images_a_few_are_told(many: Path, run: Any, encoder_file: Path) -> None:
    for number in range(30):
        (many / "a" / f"bad{number}.png").write_bytes(b"no image")
    done = run("build-index", many, "-e", encoder_file)
    assert done.err.count("Skipped") == 20
    assert "10 more are skipped; all are listed in indexes/many.skipped.csv" in done.err
    assert len(listed("indexes/many.skipped.csv")) == 30


def test_where_nothing_can_be_read_all_is_listed(run: Any, many: Path, encoder_file: Path) -> None:
    Path("bad").mkdir()
    for number in range(3):
        Path(f"bad/{number}.jpg").write_bytes(b"no image")
    refused = run("build-index", "bad", "-e", encoder_file)
    assert refused.status == 1
    assert "none of the 3 images can be read" in refused.err
    assert len(listed("indexes/bad.skipped.csv")) == 3


def test_what_add_skips_has_a_list_of_its_own_and_can_be_mended(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    (many / "a" / "bad.png").write_bytes(b"no image")
    (many / "b" / "bad.png").write_bytes(b"no image")
    run("build-index", many / "a", "-e", encoder_file, "--name", "x")
    assert run("add", many / "b", "-g", "x").status == 1
    assert [record["path"] for record in listed("indexes/x.skipped.csv")] == [
        str(many / "a" / "bad.png")
    ]
    assert [record["path"] for record in listed("indexes/x.added.skipped.csv")] == [
        str(many / "b" / "bad.png")
    ]
    draw(many / "b" / "bad.png", np.random.default_rng(1))
    encoded.clear()
    again = run("add", many / "b", "-g", "x", "--json")
    assert (again.json["added"], again.json["already_there"]) == (1, COUNT // 2)
    assert sum(encoded) == 1
    assert "x.added.skipped.csv" not in names()
    assert run("add", many / "b", "-g", "x").status == 0


def test_files_with_other_endings_are_mentioned(many: Path, run: Any, encoder_file: Path) -> None:
    (many / "a" / "photo.psd").write_bytes(b"")
    (many / "a" / "other.PSD").write_bytes(b"")
    (many / "a" / "phone.heic").write_bytes(b"")
    (many / "notes.txt").write_text("hello")
    shutil.copy(many / "a" / "0000.png", many / "a" / "photo.jfif")
    done = run("build-index", many, "-e", encoder_file)
    assert "passes over 3 files with other endings: .psd (2), .txt (1)" in done.err
    assert f"{COUNT + 1:,} items, 1 skipped" in done.out
    assert "phone.heic is not an image that can be read; use" in done.err


def test_strictly_a_bad_image_ends_it(many: Path, run: Any, encoder_file: Path) -> None:
    (many / "a" / "0100.png").write_bytes(b"no image")
    done = run("build-index", many, "-e", encoder_file, "--strict")
    assert done.status == 1
    assert "0100.png is not an image" in done.error
    assert "many.h5" not in names()
    shutil.copy(many / "a" / "0102.png", many / "a" / "0100.png")
    assert run("build-index", many, "-e", encoder_file, "--strict").status == 0
    assert names() == ["many.h5"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--checksum"], "--checksum is for --update"),
        (["--codes", "x.npy", "--name", "x", "--update"], "--codes takes no photos"),
        (["--source", "mvc"], "are for PHOTOS"),
    ],
)
def test_options_without_a_use_are_refused(
    many: Path, run: Any, options: list[str], said: str
) -> None:
    refused = run("build-index", *options)
    assert refused.status == 2
    assert said in refused.error
