from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import struct
import tempfile
import threading
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from hashsearch.datasets import fashion_mnist
from hashsearch.datasets.image_set import ImageSet
from hashsearch.errors import ArgumentError, DatasetError, DatasetMissing
from hashsearch.images import read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
SHIPPED = Path(str(resources.files("hashsearch.datasets") / "sample"))


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    """The array as an IDX file."""
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def small_files(folder: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Write a test split of three images, plain; what was written."""
    images = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    labels = np.array([9, 0, 4], dtype=np.uint8)
    (folder / IMAGES).write_bytes(idx(images))
    (folder / LABELS).write_bytes(idx(labels))
    return images, labels


# The sample


def test_the_sample_is_the_published_test_split() -> None:
    sample = fashion_mnist.sample()
    # SHA-256 of the published t10k files, uncompressed.
    assert hashlib.sha256(idx(sample.images)).hexdigest() == (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    )
    assert hashlib.sha256(idx(sample.labels.astype(np.uint8))).hexdigest() == (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    )
    assert sample.class_names == fashion_mnist.CLASS_NAMES
    assert (sample.ids[0], sample.ids[-1]) == ("test-00000", "test-09999")
    assert sample.label_names[0] == "Ankle boot"
    assert sample.pixels.shape == (10_000, 1, 28, 28)


def test_the_example_images_can_be_read() -> None:
    paths = fashion_mnist.example_images()
    assert {path.suffix for path in paths} == {".png", ".jpg"}
    assert sum(path.stat().st_size for path in paths) < 150_000
    sizes = {path.suffix: read_image(path).size for path in paths}
    assert sizes == {".png": (28, 28), ".jpg": (400, 500)}


def test_the_sample_comes_with_its_licence() -> None:
    text = (SHIPPED / "LICENSE").read_text(encoding="utf-8")
    assert "The MIT License (MIT) Copyright © [2017] Zalando SE" in text


# Reading


def test_plain_and_compressed_files_are_read(tmp_path: Path) -> None:
    images, labels = small_files(tmp_path)
    plain = fashion_mnist.load("test", tmp_path)
    for name in (IMAGES, LABELS):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        (tmp_path / name).unlink()
    for loaded in (plain, fashion_mnist.load("test", tmp_path)):
        assert_array_equal(loaded.images, images)
        assert_array_equal(loaded.labels, labels)
        assert loaded.labels.dtype == np.int64
        assert loaded.ids == ("test-00000", "test-00001", "test-00002")
        assert loaded.label_names == ["Ankle boot", "T-shirt/top", "Coat"]


@pytest.mark.parametrize("present", [[], [IMAGES], [LABELS]])
def test_a_missing_set_names_three_ways_to_get_it(present: list[str], tmp_path: Path) -> None:
    small_files(tmp_path)
    for name in {IMAGES, LABELS} - set(present):
        (tmp_path / name).unlink()
    with pytest.raises(DatasetMissing) as caught:
        fashion_mnist.load("test", tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(tmp_path), "--data-dir", "apt-get install", "--download"):
        assert part in message


def test_the_cache_folder_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "absent")
    with pytest.raises(DatasetMissing, match=f"{tmp_path}/absent or {tmp_path}/fashion-mnist"):
        fashion_mnist.load("test")
    (tmp_path / "fashion-mnist").mkdir()
    images, _ = small_files(tmp_path / "fashion-mnist")
    assert_array_equal(fashion_mnist.load("test").images, images)


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        small_files(Path(folder))
        path = Path(folder) / name
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(DatasetError, match=f"^{path} is .*; get the file anew$"):
            fashion_mnist.load("test", Path(folder))


def test_a_file_with_more_than_it_says_is_refused(tmp_path: Path) -> None:
    small_files(tmp_path)
    with (tmp_path / IMAGES).open("ab") as file:
        file.write(b"more")
    with pytest.raises(DatasetError, match="cut short or too long"):
        fashion_mnist.load("test", tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"<html>not found</html>", b"PK\3\4", b"\0\0\x0d\1\0\0\0\1\0\0\0\0", b"\0\0\x08\0\7"],
)
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    small_files(tmp_path)
    (tmp_path / LABELS).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{LABELS} is not an IDX file of bytes"):
        fashion_mnist.load("test", tmp_path)


def test_sizes_that_overflow_are_refused(tmp_path: Path) -> None:
    small_files(tmp_path)
    (tmp_path / IMAGES).write_bytes(struct.pack(">4B4I", 0, 0, 8, 4, *[1 << 16] * 4))
    with pytest.raises(DatasetError, match="cut short or too long"):
        fashion_mnist.load("test", tmp_path)


@pytest.mark.parametrize("damage", ["cut", "altered", "no archive"])
def test_a_damaged_archive_is_refused(damage: str, tmp_path: Path) -> None:
    small_files(tmp_path)
    archive = bytearray(gzip.compress((tmp_path / IMAGES).read_bytes()))
    if damage == "altered":
        archive[len(archive) // 2] ^= 16
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(
        archive[:-20] if damage == "cut" else archive if damage == "altered" else b"text"
    )
    with pytest.raises(DatasetError, match=f"^{path} is damaged .*; get the file anew$"):
        fashion_mnist.load("test", tmp_path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        (IMAGES, np.zeros((3, 32, 32), np.uint8)),
        (IMAGES, np.zeros(3, np.uint8)),
        (LABELS, np.zeros((3, 1), np.uint8)),
        (LABELS, np.zeros(2, np.uint8)),
        (LABELS, np.array([0, 1, 10], np.uint8)),
    ],
)
def test_files_of_another_data_set_are_refused(
    name: str, array: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    small_files(tmp_path)
    (tmp_path / name).write_bytes(idx(array))
    with pytest.raises(DatasetError, match=f"^{tmp_path} does not hold Fashion-MNIST: "):
        fashion_mnist.load("test", tmp_path)


# Splitting


def labelled(labels: list[int]) -> ImageSet:
    return ImageSet(
        images=np.zeros((len(labels), 2, 2), np.uint8),
        labels=np.array(labels, dtype=np.int64),
        class_names=("a", "b", "c"),
        ids=tuple(f"item-{row}" for row in range(len(labels))),
    )


@given(st.permutations([0] * 5 + [1] * 7 + [2] * 4), st.integers(3, 11))
def test_the_validation_set_is_stratified_and_disjoint(labels: list[int], validation: int) -> None:
    images = labelled(labels)
    train, held = fashion_mnist.training_splits(images, validation)
    assert np.bincount(held.labels).tolist() == [validation // 3] * 3
    assert set(train.ids).isdisjoint(held.ids)
    assert sorted(train.ids + held.ids) == sorted(images.ids)
    # In the order of the whole set; the last ones of each class are held out.
    for part in (train, held):
        assert list(part.ids) == [name for name in images.ids if name in part.ids]
    for label in range(3):
        mine = [name for name, own in zip(images.ids, labels, strict=True) if own == label]
        assert set(mine[-(validation // 3) :]) <= set(held.ids)


def test_a_class_without_images_does_not_matter() -> None:
    train, held = fashion_mnist.training_splits(labelled([0, 0, 2, 2]), 3)
    assert (train.ids, held.ids) == (("item-0", "item-2"), ("item-1", "item-3"))


@pytest.mark.parametrize("validation", [-3, 0, 2, 6, 100])
def test_a_split_that_leaves_a_class_bare_is_refused(validation: int) -> None:
    with pytest.raises(ArgumentError, match=f"^{validation} validation images"):
        fashion_mnist.training_splits(labelled([0, 0, 1, 1, 1, 2, 2]), validation)


# ImageSet


def test_a_subset_keeps_images_labels_and_ids_together() -> None:
    images = ImageSet(
        images=np.arange(4, dtype=np.uint8).reshape(4, 1, 1),
        labels=np.array([0, 1, 1, 0]),
        class_names=("a", "b"),
        ids=("w", "x", "y", "z"),
    )
    part = images.subset(np.array([3, 1]))
    assert part.images.ravel().tolist() == [3, 1]
    assert part.label_names == ["a", "b"]
    assert part.ids == ("z", "x")
    assert len(part) == 2


@pytest.mark.parametrize(
    ("shape", "labels", "ids", "message"),
    [
        ((2, 1, 1), [0], ("a", "b"), "2 images, 1 labels and 2 ids"),
        ((2, 1, 1), [0, 0], ("a",), "2 images, 2 labels and 1 ids"),
        ((2, 1, 1), [0, 1], ("a", "b"), "labels must lie between 0 and 0"),
        ((2, 1, 1), [0, -1], ("a", "b"), "labels must lie between 0 and 0"),
        ((2, 1, 1), [0, 0], ("a", "a"), "ids must be unique"),
        ((2, 1), [0, 0], ("a", "b"), "images must be uint8"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    shape: tuple[int, ...], labels: list[int], ids: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        ImageSet(np.zeros(shape, np.uint8), np.array(labels), ("only",), ids)


# Downloading


class Source(http.server.ThreadingHTTPServer):
    """Serves the files of a folder; says which were asked for, and can break off."""

    daemon_threads = False  # so that closing waits for answers under way

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.breaks_off_at: int | None = None
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set/"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Source

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        path = self.server.folder / name
        if not path.exists():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may give up
            self.wfile.write(content[: self.server.breaks_off_at])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing on standard error."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in (f"{IMAGES}.gz", f"{LABELS}.gz"):
        (folder / name).write_bytes((SHIPPED / name).read_bytes())
    with Source(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_download_is_the_data_set_and_is_not_repeated(source: Source, tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    folder = tmp_path / "new" / "folder"

    def progress(name: str, done: int, total: int) -> None:
        told.setdefault(name, []).append((done, total))

    answer = fashion_mnist.download(
        folder, splits=["test"], source_url=source.url, progress=progress
    )
    assert answer == folder
    assert_array_equal(fashion_mnist.load("test", folder).images, fashion_mnist.sample().images)
    assert source.asked == [f"{IMAGES}.gz", f"{LABELS}.gz"]
    for name, calls in told.items():
        size = (SHIPPED / name).stat().st_size
        assert calls == sorted(calls)
        assert calls[-1] == (size, size)
    assert list(told) == source.asked
    fashion_mnist.download(folder, splits=["test"], source_url=source.url)
    assert len(source.asked) == 2


def test_only_what_is_damaged_or_missing_is_downloaded(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    # Plain counts as well as compressed.
    (folder / IMAGES).write_bytes(gzip.decompress((SHIPPED / f"{IMAGES}.gz").read_bytes()))
    (folder / f"{LABELS}.gz").write_bytes((SHIPPED / f"{LABELS}.gz").read_bytes()[:-30])
    fashion_mnist.download(folder, splits=["test"], source_url=source.url.rstrip("/"))
    assert source.asked == [f"{LABELS}.gz"]
    assert_array_equal(fashion_mnist.load("test", folder).labels, fashion_mnist.sample().labels)


def refused_download(source: Source, folder: Path) -> str:
    """The line with which a download is refused; nothing must be left behind."""
    with pytest.raises(DatasetError) as caught:
        fashion_mnist.download(folder, splits=["test"], source_url=source.url)
    assert list(folder.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_altered_file_is_refused(source: Source, tmp_path: Path) -> None:
    labels = bytearray(gzip.decompress((SHIPPED / f"{LABELS}.gz").read_bytes()))
    labels[100] ^= 1
    (source.folder / f"{IMAGES}.gz").write_bytes(gzip.compress(bytes(labels)))
    message = refused_download(source, tmp_path / "to")
    assert message == f"{source.url}{IMAGES}.gz arrived cut short or altered; try again later"


@pytest.mark.parametrize("length", [0, 1000, 200_000])
def test_a_download_that_breaks_off_is_refused(length: int, source: Source, tmp_path: Path) -> None:
    source.breaks_off_at = length
    message = refused_download(source, tmp_path / "to")
    assert f"{source.url}{IMAGES}.gz" in message


def test_an_interrupted_download_leaves_nothing(source: Source, tmp_path: Path) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fashion_mnist.download(
            tmp_path / "to", splits=["test"], source_url=source.url, progress=interrupt
        )
    assert list((tmp_path / "to").iterdir()) == []


def test_a_source_without_the_file_is_refused(source: Source, tmp_path: Path) -> None:
    (source.folder / f"{IMAGES}.gz").unlink()
    message = refused_download(source, tmp_path / "to")
    assert message.startswith(f"cannot download {source.url}{IMAGES}.gz (")
    assert message.endswith("--data-dir")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "no url", "http://127.0.0.1:x/"])
def test_a_source_that_cannot_be_reached_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"cannot download {url}"):
        fashion_mnist.download(tmp_path, source_url=url)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"cannot make the folder .*; name another"):
        fashion_mnist.download(tmp_path / "file" / "folder")
