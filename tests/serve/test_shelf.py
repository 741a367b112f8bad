"""Generations of galleries, and what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from serving import make_gallery
from tiny_encoder import FINE_BITS, N_BITS, encoder_bytes

from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, GalleryDamaged, GalleryMissing
from hashsearch.gallery import Gallery
from hashsearch.serve import Encoders, Shelf, shelf

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def indexes(tmp_path: Path, encoder_file: Path) -> Path:
    make_gallery(tmp_path, encoder_file).save(tmp_path / "indexes" / "shop.h5")
    return tmp_path / "indexes"


def some_codes(n_items: int) -> Gallery:
    return Gallery.from_codes(np.zeros((n_items, 5), np.uint8), n_bits=N_BITS, fine_bits=FINE_BITS)


def test_named_galleries_come_in_their_order(indexes: Path) -> None:
    some_codes(2).save(indexes / "codes.h5")
    paths = [indexes / "shop.h5", indexes / "codes.h5"]
    for order in (paths, paths[::-1]):
        served = Shelf(order, indexes, Encoders())
        assert [generation.name for generation in served] == [path.stem for path in order]
        assert served.get(None).name == order[0].stem


def test_of_a_folder_the_one_written_last_is_the_default(indexes: Path) -> None:
    some_codes(2).save(indexes / "codes.h5")
    assert Shelf(None, indexes, Encoders()).get(None).name == "codes"


def test_what_is_named_must_be_usable(indexes: Path, tmp_path: Path) -> None:
    with pytest.raises(GalleryMissing, match="there is no gallery at"):
        Shelf([indexes / "none.h5"], indexes, Encoders())
    damaged = indexes / "damaged.h5"
    damaged.write_bytes((indexes / "shop.h5").read_bytes()[:-1])
    with pytest.raises(GalleryDamaged):
        Shelf([damaged], indexes, Encoders())
    # Of a folder it is left out.
    assert [generation.name for generation in Shelf(None, indexes, Encoders())] == ["shop"]
    some_codes(1).save(tmp_path / "shop.h5")
    with pytest.raises(ArgumentError, match="two galleries are called shop"):
        Shelf([indexes / "shop.h5", tmp_path / "shop.h5"], indexes, Encoders())


def test_a_gallery_that_has_not_changed_is_not_opened_again(indexes: Path) -> None:
    served = Shelf(None, indexes, Encoders())
    before = served.get("shop")
    served.look()
    assert served.get("shop") is before
    assert served.loads == {("shop", "opened"): 1}


def test_damage_to_an_array_is_found_before_it_is_served(indexes: Path) -> None:
    served = Shelf(None, indexes, Encoders())
    before = served.get("shop")
    path = indexes / "shop.h5"
    content = bytearray(path.read_bytes())
    place = content.index(before.gallery.content.datasets["items/fine"].tobytes())
    content[place] ^= 1
    other = indexes / "other"
    other.write_bytes(content)
    other.replace(path)
    for _ in range(2):  # it is told once
        served.look()
    assert served.get("shop") is before
    assert served.loads["shop", "refused"] == 1


def test_an_encoder_is_loaded_once_and_let_go(indexes: Path, encoder_file: Path) -> None:
    encoders = Encoders()
    served = Shelf(None, indexes, encoders)
    first = served.get("shop").encoder
    some = Gallery.open(indexes / "shop.h5").without(["copy"])
    some.save(indexes / "shop.h5")
    served.look()
    assert len(served.get("shop").gallery) == len(some)
    assert served.get("shop").encoder is first
    assert first is not None
    assert first.fingerprint == Encoder.load(encoder_file).fingerprint


def test_an_encoder_that_is_chosen_searches_what_does_not_say_who_made_it(indexes: Path) -> None:
    some_codes(2).save(indexes / "codes.h5")
    assert Shelf(None, indexes, Encoders()).get("codes").encoder is None
    chosen = Encoder(encoder_bytes(seed=5))
    served = Shelf(None, indexes, Encoders(chosen))
    assert served.get("codes").encoder is chosen
    assert served.get("shop").encoder is not chosen


def test_filtered_galleries_are_kept_up_to_a_limit(
    indexes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = Shelf(None, indexes, Encoders()).get("shop")
    bags = generation.only({"label": ["Bag", "Shirt"]})
    assert generation.only({"label": ["Shirt", "Bag"]}) is bags
    assert generation.only({}) is generation.gallery
    monkeypatch.setattr(shelf, "_KEPT", len(bags) + generation.gallery.n_distinct)
    coats = generation.only({"label": ["Coat"]})
    assert generation.only({"label": ["Coat"]}) is coats
    assert generation.only({"label": ["Bag", "Shirt"]}) is not bags


def test_filtered_galleries_are_kept_up_to_a_number(indexes: Path) -> None:
    gallery = Gallery.from_codes(
        np.zeros((300, 5), np.uint8),
        n_bits=N_BITS,
        fine_bits=FINE_BITS,
        labels=[str(number) for number in range(300)],
    )
    gallery.save(indexes / "many.h5")
    generation = Shelf(None, indexes, Encoders()).get("many")
    made = [generation.only({"label": [str(number)]}) for number in range(256)]
    assert generation.only({"label": ["0"]}) is made[0]  # and is the newest again
    generation.only({"label": ["256"]})
    assert generation.only({"label": ["0"]}) is made[0]
    assert generation.only({"label": ["2"]}) is made[2]
    assert generation.only({"label": ["1"]}) is not made[1]


@pytest.mark.parametrize("labelled", [True, False])
def test_samples_are_few_and_different(indexes: Path, labelled: bool) -> None:
    rng = np.random.default_rng(0)
    labels = [f"type {number % 30}" for number in range(300)] if labelled else None
    codes = rng.integers(0, 256, (300, 5), dtype=np.uint8)
    gallery = Gallery.from_codes(codes, n_bits=16, fine_bits=24, labels=labels)
    gallery.save(indexes / "many.h5")
    generation = Shelf(None, indexes, Encoders()).get("many")
    rows = generation.samples
    assert len(rows) == len({*rows.tolist()}) == 12
    if labelled:
        assert len({*gallery.labels(rows)}) == 12
