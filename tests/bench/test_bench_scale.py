from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bench_cases import encoder, image_set

from hashsearch.bench.scale import (
    Originals,
    copy_codes,
    format_scale,
    parse_scale,
    scaled_codes,
    uniform_codes,
)
from hashsearch.datasets.deform import deformed
from hashsearch.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path


def originals() -> Originals:
    return Originals(image_set(), encoder())


def test_copies_are_codes_of_deformed_images_in_turn(tmp_path: Path) -> None:
    copies = copy_codes(originals(), 300, seed=4, folder=tmp_path)
    chosen = np.arange(300) % len(image_set())
    views = deformed(image_set().images[chosen], seed=4)
    expected = encoder().encode_pixels(views[:, None])
    # Batches of other sizes may round a value near zero the other way.
    assert np.bitwise_count(copies ^ expected).mean() < 0.01


def test_a_second_call_reads_what_the_first_one_made_and_goes_on(tmp_path: Path) -> None:
    first = copy_codes(originals(), 10, folder=tmp_path)
    (made,) = tmp_path.rglob("*.npz")
    before = made.stat().st_mtime_ns
    longer = copy_codes(originals(), 4100, folder=tmp_path)
    assert np.array_equal(longer[:10], first)
    assert made.stat().st_mtime_ns == before
    assert len(list(tmp_path.rglob("*.npz"))) == 2
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []


@pytest.mark.parametrize("damage", [b"", b"no array", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_a_damaged_cache_file_is_made_again(tmp_path: Path, damage: bytes) -> None:
    whole = copy_codes(originals(), 5, folder=tmp_path)
    (made,) = tmp_path.rglob("*.npz")
    content = made.read_bytes()
    made.write_bytes(damage or content[:-1])
    assert np.array_equal(copy_codes(originals(), 5, folder=tmp_path), whole)
    assert made.read_bytes() == content


def test_a_flipped_bit_in_the_cache_is_noticed(tmp_path: Path) -> None:
    whole = copy_codes(originals(), 5, folder=tmp_path)
    (made,) = tmp_path.rglob("*.npz")
    content = bytearray(made.read_bytes())
    content[len(content) // 2] ^= 1
    made.write_bytes(content)
    assert np.array_equal(copy_codes(originals(), 5, folder=tmp_path), whole)


def test_other_seeds_and_other_images_have_caches_of_their_own(tmp_path: Path) -> None:
    one = copy_codes(originals(), 50, seed=0, folder=tmp_path)
    assert not np.array_equal(copy_codes(originals(), 50, seed=1, folder=tmp_path), one)
    fewer = Originals(image_set().subset(np.arange(100)), encoder())
    copy_codes(fewer, 50, seed=0, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_cache_lies_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path))
    copy_codes(originals(), 1)
    assert len(list((tmp_path / "copies").rglob("*.npz"))) == 1


def test_a_cache_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot write"):
        copy_codes(originals(), 1, folder=tmp_path / "file")


def test_real_items_come_first_and_sources_say_what_each_item_shows(tmp_path: Path) -> None:
    codes = encoder().encode_pixels(image_set().pixels)
    scaled = scaled_codes(600, codes, originals(), folder=tmp_path)
    assert len(scaled.codes) == 600
    assert scaled.n_real == len(codes)
    assert np.array_equal(scaled.codes[: len(codes)], codes)
    assert np.array_equal(scaled.sources, np.arange(600) % len(codes))
    # A copy is nearer to what it shows than to some other item.
    copies, sources = scaled.codes[len(codes) :], scaled.sources[len(codes) :]
    own = np.bitwise_count(copies ^ codes[sources]).sum(axis=1)
    other = np.bitwise_count(copies ^ codes[sources - 1]).sum(axis=1)
    assert own.mean() < other.mean()
    few = scaled_codes(7, codes, None)
    assert np.array_equal(few.codes, codes[:7])


def test_a_scale_out_of_reach_names_the_largest() -> None:
    codes = encoder().encode_pixels(image_set().pixels[:50])
    with pytest.raises(ArgumentError, match="largest scale is 50"):
        scaled_codes(51, codes, None)
    with pytest.raises(ArgumentError, match="1 item or more"):
        scaled_codes(0, codes, None)


@pytest.mark.parametrize("text", ["", "0", "k", "-1", "1.5k", "10g", "1 000", "1e3"])
def test_what_is_no_scale_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="no scale"):
        parse_scale(text)


@pytest.mark.parametrize("n_items", [1, 999, 1000, 1500, 100_000, 1_000_000, 2_500_000])
def test_scales_are_read_as_they_are_written(n_items: int) -> None:
    assert parse_scale(format_scale(n_items)) == n_items


def test_uniform_codes_are_fair_and_fixed_by_the_seed() -> None:
    codes = uniform_codes(2000, 6, seed=1)
    assert np.array_equal(codes, uniform_codes(2000, 6, seed=1))
    assert np.unpackbits(codes).mean() == pytest.approx(0.5, abs=0.01)
    assert len(np.unique(codes, axis=0)) == 2000
