"""One sentence says how good codes are, and the map gives each type a colour."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hashsearch.bench.inspection import figures_of, inspect_gallery, verdict
from hashsearch.bench.inspection.plots import draw
from hashsearch.codes import pack_bits
from hashsearch.gallery import Gallery


def gallery_of(bits: npt.NDArray[np.bool_], labels: list[str] | None) -> Gallery:
    return Gallery.from_codes(pack_bits(bits), n_bits=bits.shape[1], fine_bits=0, labels=labels)


def types_of(n_types: int, n_each: int, *, flipped: float = 0.0) -> Gallery:
    """Types of far codes of 32 bits, of which a share is flipped at random."""
    rng = np.random.default_rng(0)
    label = np.arange(n_types * n_each) % n_types
    bits = (rng.random((n_types, 32)) < 0.5)[label] ^ (rng.random((len(label), 32)) < flipped)
    return gallery_of(bits, [f"type {number}" for number in label])


def judged(gallery: Gallery, *, radius: int = 2) -> str:
    return verdict(inspect_gallery(gallery, radius=radius)).judgement


@pytest.mark.parametrize(
    ("flipped", "radius", "said"),
    [
        (0.01, 2, "Good codes: 9"),
        (0.08, 1, "Good codes, but a radius of 1 does not suit them: "),
        (0.22, 12, "Fair codes: "),
        (0.35, 12, "Poor codes: "),
        (0.5, 2, "These codes are no better than chance (mAP 0."),
    ],
)
def test_codes_are_judged_by_their_ranking_and_the_radius_beside_it(
    flipped: float, radius: int, said: str
) -> None:
    assert judged(types_of(6, 60, flipped=flipped), radius=radius).startswith(said)


def test_a_judgement_says_on_what_it_rests() -> None:
    found = inspect_gallery(types_of(6, 60, flipped=0.03))
    assert found.of_types is not None
    ranking = found.of_types.quality["map"]
    told = verdict(found)
    assert f"mAP {ranking['value']:.3f} [{ranking['low']:.3f}, {ranking['high']:.3f}]" in (
        told.judgement
    )
    assert told.judgement.endswith("72 of the items, of 6 types, asked 288 others).")


def test_few_queries_prove_less_than_many() -> None:
    few, many = types_of(2, 20, flipped=0.25), types_of(2, 300, flipped=0.25)
    values = [inspect_gallery(each).of_types for each in (few, many)]
    assert judged(many).startswith("Good codes")
    assert judged(few).startswith("Fair codes")
    assert all(of is not None and of.quality["map"]["value"] > 0.9 for of in values)


def test_nothing_is_judged_without_types_or_of_few_items() -> None:
    bits = np.random.default_rng(0).random((200, 32)) < 0.5
    assert "cannot be told without five items of a type" in judged(gallery_of(bits, None))
    assert judged(gallery_of(bits[:19], ["a"] * 19)).startswith("Fewer than 20 items prove nothing")


def test_of_one_type_every_order_is_right_and_proves_nothing() -> None:
    bits = np.random.default_rng(0).random((200, 32)) < 0.5
    told = verdict(inspect_gallery(gallery_of(bits, ["coat"] * 200)))
    assert "cannot be told where all items are of one type" in told.judgement
    assert not any("chance" in finding for finding in told.findings)


def test_a_larger_radius_is_advised_only_where_it_would_help() -> None:
    by_chance = types_of(6, 60, flipped=0.5)
    far = types_of(6, 60, flipped=0.12)
    for gallery, advised in ((by_chance, False), (far, True)):
        told = verdict(inspect_gallery(gallery, radius=0)).findings
        empty = [finding for finding in told if "have nobody in their ball" in finding]
        assert [finding.endswith(": raise the radius") for finding in empty] == [advised]


def test_strangers_are_told_as_a_share_of_a_ball_and_of_all_strangers() -> None:
    # Two of ten types share a code: for these two half of a ball and a ninth of all strangers.
    label = np.arange(1_000) % 10
    bits = np.kron(np.eye(10, dtype=bool), np.ones((1, 4), bool))[np.maximum(label, 1)]
    made = figures_of(inspect_gallery(gallery_of(bits, [f"type {each}" for each in label])))
    (figure,) = [each for each in made if each.name == "strangers_within"]
    assert figure.value == pytest.approx(0.1, abs=0.01)
    assert figure.text == "10 % of a ball; 2.2 % of all strangers"


def test_ten_types_have_ten_colours_on_the_map() -> None:
    bits = np.kron(np.eye(10, dtype=bool), np.ones((1, 8), bool))[np.arange(200) % 10]
    labels = [f"type {row % 10}" for row in range(200)]
    drawn = draw(inspect_gallery(gallery_of(bits, labels)))["map"]
    pixels = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB")).reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    is_grey = np.ptp(colours.astype(int), axis=1) < 10
    # The tenth is black.
    assert np.count_nonzero(counts[~is_grey] > 300) == 9
