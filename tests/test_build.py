from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from tiny_encoder import FINE_BITS, N_BITS, encoder_bytes

from hashsearch.datasets.item import Item
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, DatasetError
from hashsearch.gallery.build import build
from hashsearch.images import read_image

if TYPE_CHECKING:
    from pathlib import Path

BATCH = 7


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(encoder_bytes(), name="tiny", threads=1)


def items(count: int) -> list[Item]:
    images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return [
        Item(id=f"item {number}", image=image, label=f"type {number % 3}", path=f"/{number}.png")
        for number, image in enumerate(images)
    ]


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH + 1])
def test_every_item_arrives_once_with_its_own_code(encoder: Encoder, count: int) -> None:
    made = items(count)
    done: list[int] = []
    result = build(made, encoder, batch_size=BATCH, on_progress=done.append)
    gallery = result.gallery
    assert not result.skipped
    assert sum(done) == count
    assert (gallery.n_bits, gallery.fine_bits) == (N_BITS, FINE_BITS)
    assert gallery.encoder_fingerprint == encoder.fingerprint
    assert gallery.encoder_name == "tiny"
    stored = {
        name: (code.tobytes(), label, path)
        for name, code, label, path in zip(
            gallery.ids(), gallery.codes(), gallery.labels(), gallery.paths(), strict=True
        )
    }
    assert stored == {
        item.id: (encoder.encode([item.image])[0].tobytes(), item.label, item.path) for item in made
    }


def test_no_items_are_no_gallery(encoder: Encoder) -> None:
    with pytest.raises(DatasetError, match="none of the 0 images"):
        build([], encoder)


def test_an_image_that_cannot_be_read_is_listed_and_the_others_stay(
    encoder: Encoder, tmp_path: Path
) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    made = items(2 * BATCH)
    made[3] = Item("text", text)
    made[BATCH] = Item("gone", tmp_path / "gone.png")
    # A whole batch of bad ones leaves nothing for the network.
    made[BATCH + 1 :] = [Item(f"bad {number}", b"no image") for number in range(BATCH)]
    done: list[int] = []
    result = build(made, encoder, batch_size=BATCH, on_progress=done.append)
    assert sum(done) == len(made)
    assert set(result.gallery.ids()) == {f"item {number}" for number in (0, 1, 2, 4, 5, 6)}
    assert [skipped.id for skipped in result.skipped] == [
        "text",
        "gone",
        *(f"bad {number}" for number in range(BATCH)),
    ]
    reasons = [skipped.reason for skipped in result.skipped]
    assert str(text) in reasons[0]
    assert "is not an image" in reasons[0]
    assert "no such file" in reasons[1]


def test_bad_images_alone_are_an_error_that_names_one(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none of the 2 images can be read \(first: .*a\.jpg"):
        build([Item("a", tmp_path / "a.jpg"), Item("b", tmp_path / "b.jpg")], encoder)


def test_two_items_of_one_id_are_refused_before_anything_is_encoded(encoder: Encoder) -> None:
    done: list[int] = []
    made = [*items(3 * BATCH), items(1)[0]]
    with pytest.raises(ArgumentError, match="'item 0'"):
        build(made, encoder, batch_size=BATCH, on_progress=done.append)
    assert not done


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Item("na\udcffme", np.zeros((28, 28), np.uint8)), "id is not UTF-8; rename it"),
        (Item("a", np.zeros((28, 28), np.uint8), label="\udcff"), "label is not UTF-8"),
        (Item("a", np.zeros((28, 28), np.uint8), path="/\udcff"), "path is not UTF-8"),
        (Item("a\0b", np.zeros((28, 28), np.uint8)), "NUL"),
        (Item("", np.zeros((28, 28), np.uint8)), "without an id"),
    ],
)
def test_an_item_whose_texts_cannot_be_stored_is_listed(
    encoder: Encoder, item: Item, reason: str
) -> None:
    result = build([*items(2), item], encoder)
    assert len(result.gallery) == 2
    assert [skipped.id for skipped in result.skipped] == [item.id]
    assert reason in result.skipped[0].reason


def test_thumbnails_show_the_items(encoder: Encoder) -> None:
    dark, light = np.zeros((40, 20), np.uint8), np.full((400, 200), 255, np.uint8)
    gallery = build([Item("dark", dark), Item("light", light)], encoder).gallery
    for row, name in enumerate(gallery.ids()):
        stored = gallery.thumbnail(row)
        assert stored is not None
        picture = read_image(stored)
        assert picture.size == ((20, 40) if name == "dark" else (48, 96))
        assert abs(np.asarray(picture).mean() - (0 if name == "dark" else 255)) < 3


def test_without_thumbnails_labels_and_paths_the_gallery_has_none(encoder: Encoder) -> None:
    bare = [Item(item.id, item.image) for item in items(3)]
    gallery = build(bare, encoder, thumbnails=False).gallery
    assert [gallery.thumbnail(row) for row in range(3)] == [None] * 3
    assert gallery.labels() == gallery.paths() == [None] * 3


def test_an_item_may_lack_the_label_that_others_have(encoder: Encoder) -> None:
    some = items(2)
    gallery = build([Item("bare", some[0].image), some[1]], encoder).gallery
    assert dict(zip(gallery.ids(), gallery.labels(), strict=True)) == {
        "bare": None,
        "item 1": "type 1",
    }


def test_files_are_read_as_the_encoder_reads_them(encoder: Encoder, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    rng = np.random.default_rng(0)
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (90, 60, 3), dtype=np.uint8)).save(path)
    gallery = build([Item(path.name, path) for path in paths], encoder).gallery
    order = np.argsort(gallery.ids())
    assert_array_equal(gallery.codes()[order], encoder.encode(paths))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_stopping_halfway_leaves_no_thread(encoder: Encoder, error: type[BaseException]) -> None:
    before = set(threading.enumerate())

    def stop(count: int) -> None:
        raise error

    # The traceback holds the frame of the build: nothing is cleaned up for being forgotten.
    with pytest.raises(error) as caught:
        build(items(40 * BATCH), encoder, batch_size=BATCH, on_progress=stop)
    assert set(threading.enumerate()) == before
    assert caught.value.__traceback__ is not None


def test_a_batch_holds_one_image_at_least(encoder: Encoder) -> None:
    with pytest.raises(ArgumentError, match="batch_size"):
        build(items(1), encoder, batch_size=0)
