"""Gallery files: what is written comes back, and nothing is ever half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import faiss
import h5py
import numpy as np
import numpy.typing as npt
import pytest

from hashsearch.codes import hamming_distance
from hashsearch.errors import GalleryBusy, GalleryMissing, GalleryWriteError
from hashsearch.gallery import INDEX_KINDS, Gallery, verify, writing

if TYPE_CHECKING:
    from pathlib import Path

N_BITS, FINE_BITS = 48, 64


def some_codes(seed: int, n_items: int = 200) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 256, (20, N_BITS // 8), np.uint8)
    fine = rng.integers(0, 256, (n_items, FINE_BITS // 8), np.uint8)
    return np.hstack([few[rng.integers(0, 20, n_items)], fine])


def some_gallery(seed: int = 0, n_items: int = 200) -> Gallery:
    return Gallery.from_codes(
        some_codes(seed, n_items),
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        ids=[f"photo-é{number}" for number in range(n_items)],
        labels=[["coat", "robe d'été", None][number % 3] for number in range(n_items)],
        paths=[f"photos/{number}.jpg" for number in range(n_items)],
        thumbnails=[bytes([number % 256]) * (number % 9) for number in range(n_items)],
        encoder_fingerprint="0f" * 32,
        encoder_name="test",
    )


def answers(gallery: Gallery) -> list[object]:
    queries = some_codes(0)[:5]
    found: list[object] = []
    for index in ("auto", *INDEX_KINDS):
        matches = gallery.nearest(queries, k=20, radius=3, index=index)
        found += [matches.ids, matches.labels, matches.paths, matches.distance.tolist()]
        found += [matches.full_distance.tolist(), matches.ball_size.tolist()]
    return [*found, [gallery.thumbnail(row) for row in range(len(gallery))]]


def test_an_opened_gallery_is_the_saved_one(tmp_path: Path) -> None:
    path = tmp_path / "shop.h5"
    made = some_gallery()
    made.save(path)
    opened = Gallery.open(path)
    assert answers(opened) == answers(made)
    np.testing.assert_array_equal(opened.codes(), made.codes())
    for name in ("n_bits", "fine_bits", "encoder_fingerprint", "encoder_name", "created"):
        assert getattr(opened, name) == getattr(made, name)
    assert (len(opened), opened.path) == (len(made), path)
    assert opened.info() == {
        **made.info(),
        "path": str(path),
        "file_bytes": path.stat().st_size,
        "file_bytes_per_item": path.stat().st_size / len(made),
    }
    json.dumps(opened.info())
    assert all(check.ok for check in verify(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["shop.h5"]


def test_a_gallery_of_codes_alone_comes_back(tmp_path: Path) -> None:
    made = Gallery.from_codes(np.array([[3], [1]], np.uint8), n_bits=8, fine_bits=0, indexes=[])
    made.save(tmp_path / "g.h5")
    opened = Gallery.open(tmp_path / "g.h5")
    assert opened.nearest(np.array([[1]], np.uint8), index="hash").ids == ["1", "0"]
    assert (opened.encoder_fingerprint, opened.encoder_name) == (None, None)
    assert opened.info()["indexes"] == {}


def test_an_opened_gallery_can_be_saved_elsewhere_and_over_itself(tmp_path: Path) -> None:
    some_gallery().save(tmp_path / "a.h5")
    opened = Gallery.open(tmp_path / "a.h5")
    opened.save(tmp_path / "new" / "b.h5")
    opened.save(tmp_path / "a.h5")
    first = (tmp_path / "a.h5").read_bytes()
    assert first == (tmp_path / "new" / "b.h5").read_bytes()


def test_the_file_can_be_read_with_h5py_alone(tmp_path: Path) -> None:
    made = some_gallery()
    made.save(tmp_path / "g.h5")
    with h5py.File(tmp_path / "g.h5") as file:
        assert file.attrs["format"] == "hashsearch-gallery"
        counts = np.diff(file["codes/offsets"][()]).astype(int)
        semantic = np.repeat(file["codes/distinct"][()], counts, axis=0)
        codes = np.hstack([semantic, file["items/fine"][()]])
        ids = file["items/id"].asstr()[()].tolist()
        names = file["labels/name"].asstr()[()].tolist()
        labels = [names[code] if code >= 0 else None for code in file["items/label"][()]]
        index = faiss.deserialize_index_binary(file["faiss/flat"][()])
    np.testing.assert_array_equal(codes, made.codes())
    assert ids == made.ids()
    assert labels == made.labels()
    assert index.ntotal == made.info()["distinct_codes"]


def test_who_has_the_old_generation_open_goes_on_with_it(tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    some_gallery(0).save(path)
    reader = Gallery.open(path)
    some_gallery(1).save(path)
    assert answers(reader) == answers(some_gallery(0))
    assert answers(Gallery.open(path)) == answers(some_gallery(1))


def test_a_link_keeps_pointing_to_the_gallery(tmp_path: Path) -> None:
    some_gallery(0).save(tmp_path / "real.h5")
    (tmp_path / "link.h5").symlink_to("real.h5")
    some_gallery(1).save(tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    assert answers(Gallery.open(tmp_path / "real.h5")) == answers(some_gallery(1))


def test_a_missing_gallery_says_how_to_build_one(tmp_path: Path) -> None:
    for path in (tmp_path / "none.h5", tmp_path / "no" / "folder.h5"):
        with pytest.raises(GalleryMissing, match="build-index"):
            Gallery.open(path)
    with pytest.raises(GalleryMissing, match="is a folder without manifest"):
        Gallery.open(tmp_path)


def test_the_second_writer_is_told_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    with writing(path) as writer:
        with pytest.raises(GalleryBusy, match=r"another process is writing .*g\.h5"):
            some_gallery(1).save(path)
        writer.write(some_gallery(0))
        writer.write(some_gallery(2))
    assert answers(Gallery.open(path)) == answers(some_gallery(2))
    some_gallery(1).save(path)
    assert answers(Gallery.open(path)) == answers(some_gallery(1))


def test_leaving_without_a_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), writing(tmp_path / "g.h5"):
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


class Interrupted(dict[str, npt.NDArray[Any]]):
    """Arrays of which one is not to be had: a Ctrl-C in the middle of a write."""

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name == "items/id":
            raise KeyboardInterrupt
        return super().__getitem__(name)


def with_datasets(gallery: Gallery, datasets: dict[str, npt.NDArray[Any]]) -> Gallery:
    return Gallery(replace(gallery.content, datasets=datasets))


def test_an_interrupted_write_leaves_the_old_gallery(tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    some_gallery(0).save(path)
    before = path.read_bytes()
    other = some_gallery(1)
    with pytest.raises(KeyboardInterrupt):
        with_datasets(other, Interrupted(other.content.datasets)).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.h5"]


STUCK = """
import sys, time
from dataclasses import replace
import numpy as np
from hashsearch.gallery import Gallery

class Stuck(dict):
    def __getitem__(self, name):
        if name == "items/id":
            print("writing", flush=True)
            time.sleep(600)
        return super().__getitem__(name)

content = Gallery.from_codes(np.zeros((9, 14), np.uint8)).content
Gallery(replace(content, datasets=Stuck(content.datasets))).save(sys.argv[1])
"""


def test_a_killed_writer_leaves_the_old_gallery_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "g.h5"
    some_gallery(0).save(path)
    before = path.read_bytes()
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            with pytest.raises(GalleryBusy):
                some_gallery(1).save(path)
        finally:
            process.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.glob(".g.h5.*.tmp"))) == 1
    assert path.read_bytes() == before
    some_gallery(1).save(path)
    assert answers(Gallery.open(path)) == answers(some_gallery(1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.h5"]


FULL_DISK = """
import resource, sys
import numpy as np
from hashsearch.errors import GalleryWriteError
from hashsearch.gallery import Gallery

gallery = Gallery.from_codes(np.random.default_rng(0).integers(0, 256, (3000, 14), np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    gallery.save(sys.argv[1])
except GalleryWriteError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [100, 2_000, 20_000, 100_000])
def test_a_full_disk_leaves_the_old_gallery(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "g.h5"
    some_gallery(0).save(path)
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(limit)],
        capture_output=True,
        text=True,
        check=True,  # HDF5 must not crash as the process ends
    )
    assert "free some space" in done.stdout
    assert done.stderr == ""
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.h5"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.h5").mkdir()
    for path in (tmp_path / "file" / "g.h5", tmp_path / "folder.h5", tmp_path / ("n" * 300)):
        with pytest.raises(GalleryWriteError, match="choose another place"):
            some_gallery().save(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.h5"]


def test_searching_an_opened_gallery_needs_no_faiss(tmp_path: Path) -> None:
    some_gallery().save(tmp_path / "g.h5")
    code = (
        "import sys, numpy as np; from hashsearch.gallery import Gallery; "
        f"Gallery.open({str(tmp_path / 'g.h5')!r}).nearest(np.zeros((1, 14), np.uint8)); "
        "assert 'faiss' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_distances_of_an_opened_gallery_are_hamming_distances(tmp_path: Path) -> None:
    some_gallery().save(tmp_path / "g.h5")
    opened = Gallery.open(tmp_path / "g.h5")
    query = some_codes(3)[:1]
    matches = opened.within(query, radius=N_BITS)
    expected = hamming_distance(query, opened.codes(matches.rows))[0]
    np.testing.assert_array_equal(matches.full_distance, expected)
    assert len(matches.rows) == len(opened)
