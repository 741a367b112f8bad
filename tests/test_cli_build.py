"""Builds that are stopped, brought up to date, or meet what cannot be read."""

from __future__ import annotations

import csv
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from tiny_encoder import encoder_bytes

from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery
from hashsearch.gallery import build as building

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
    assert names() == ["many.h5.encoded", "whole.h5"]
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


def test_a_file_that_is_as_large_and_as_old_has_not_changed(
    many: Path, run: Any, encoder_file: Path, encoded: list[int]
) -> None:
    assert run("build-index", many, "-e", encoder_file).status == 0
    encoded.clear()
    os.utime(many / "a" / "0000.png", ns=(0, 0))
    assert "1 changed" in run("build-index", many, "--update").out
    assert "0 changed" in run("build-index", many, "--update").out
    assert sum(encoded) == 1


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
