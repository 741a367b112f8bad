from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from bench_cases import class_codes
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from tiny_encoder import FINE_BITS, N_BITS

from hashsearch import bench
from hashsearch.bench.pairs import judged_pairs, pair_distances, separation
from hashsearch.bench.plots import draw
from hashsearch.codes import pack_bits
from hashsearch.datasets.pairs import JudgedPairs
from hashsearch.errors import ArgumentError
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from pathlib import Path


def gallery_of(n_items: int, *, labelled: bool = False, fine_bits: int = FINE_BITS) -> Gallery:
    codes, labels = class_codes(n_items, fine_bits=fine_bits)
    return Gallery.from_codes(
        codes,
        n_bits=N_BITS,
        fine_bits=fine_bits,
        labels=labels.tolist() if labelled else None,
    )


def measured_pairs(
    gallery: Gallery, pairs: JudgedPairs, *, radius: int, seed: int = 0
) -> dict[str, Any]:
    """Of the rows of a gallery."""
    return judged_pairs(gallery.codes(), pairs, n_bits=gallery.n_bits, radius=radius, seed=seed)


def judged(queries: Any, items: Any, relevant: Any) -> JudgedPairs:
    return JudgedPairs(
        "judged.csv",
        np.asarray(queries, dtype=np.int64),
        np.asarray(items, dtype=np.int64),
        np.asarray(relevant, dtype=bool),
    )


def some_pairs(gallery: Gallery, n_pairs: int, seed: int = 0) -> JudgedPairs:
    """Different pairs, more often relevant the nearer they are."""
    rng = np.random.default_rng(seed)
    both = rng.choice(len(gallery) * (len(gallery) - 1), n_pairs, replace=False)
    queries, items = both // (len(gallery) - 1), both % (len(gallery) - 1)
    items += items >= queries
    pairs = judged(queries % 12, items, np.zeros(n_pairs))
    distance, _ = pair_distances(gallery.codes(), pairs, gallery.n_bits)
    return judged(queries % 12, items, rng.random(n_pairs) < np.exp(-distance / 6))


def ladder() -> Gallery:
    """Nine items; item d has its first d semantic bits set, and as many fine bits."""
    bits = np.zeros((9, 16), dtype=bool)
    for number in range(9):
        bits[number, :number] = bits[number, 8 : 8 + number] = True
    return Gallery.from_codes(pack_bits(bits), n_bits=8, fine_bits=8)


def rows_of(gallery: Gallery, numbers: list[int]) -> list[int]:
    row_of = {name: row for row, name in enumerate(gallery.ids())}
    return [row_of[str(number)] for number in numbers]


@given(st.integers(2, 40), st.sampled_from([0, 8, 40]), st.integers(0, 1000))
@settings(max_examples=25)
def test_distances_are_the_bits_that_differ(n_items: int, fine_bits: int, seed: int) -> None:
    gallery = gallery_of(n_items, fine_bits=fine_bits)
    rng = np.random.default_rng(seed)
    pairs = judged(rng.integers(0, n_items, 30), rng.integers(0, n_items, 30), np.ones(30))
    distance, full_distance = pair_distances(gallery.codes(), pairs, gallery.n_bits)
    codes = gallery.codes()
    for place in range(30):
        other = codes[pairs.queries[place]] ^ codes[pairs.items[place]]
        bits = [bin(int(byte)).count("1") for byte in other]
        assert distance[place] == sum(bits[: N_BITS // 8])
        assert full_distance[place] == sum(bits)
    assert {distance.dtype, full_distance.dtype} == {np.dtype(np.int32)}


def test_the_measurement_equals_slow_loops() -> None:
    gallery = gallery_of(80)
    pairs = some_pairs(gallery, 300)
    measured = measured_pairs(gallery, pairs, radius=3)
    distance, full_distance = pair_distances(gallery.codes(), pairs, gallery.n_bits)
    relevant = pairs.relevant
    assert (measured["pairs"], measured["relevant"]) == (300, sum(relevant))
    assert measured["irrelevant"] == 300 - sum(relevant)
    assert measured["queries"] == len(set(pairs.queries.tolist()))
    for radius in range(N_BITS + 1):
        outside = [d > radius for d, wanted in zip(distance, relevant, strict=True) if wanted]
        inside = [d <= radius for d, wanted in zip(distance, relevant, strict=True) if not wanted]
        curve = measured["curve"]
        assert curve["relevant_outside"]["value"][radius] == pytest.approx(np.mean(outside))
        assert curve["irrelevant_inside"]["value"][radius] == pytest.approx(np.mean(inside))
    for name, bits in (("distance", distance), ("full_distance", full_distance)):
        shown = measured["at_distance"][name]
        for kind, wanted in (("relevant", True), ("irrelevant", False)):
            assert shown[kind] == [
                sum((bits == d) & (relevant == wanted)) for d in range(len(shown[kind]))
            ]
            assert sum(shown[kind]) == measured[kind]
        wins = [
            (near < far) + (near == far) / 2 for near in bits[relevant] for far in bits[~relevant]
        ]
        assert measured["separation"][name] == pytest.approx(np.mean(wins))
    for wrong in ("relevant_outside", "irrelevant_inside"):
        at_radius, curve = measured[wrong], measured["curve"][wrong]
        assert [at_radius[end] for end in ("value", "low", "high")] == [
            curve[end][3] for end in ("value", "low", "high")
        ]
        assert at_radius["low"] < at_radius["value"] < at_radius["high"]
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_the_measurement_by_hand() -> None:
    gallery = ladder()
    zero, one, eight = rows_of(gallery, [0, 1, 8])
    near, edge, beyond = rows_of(gallery, [1, 2, 3])
    pairs = judged(
        [zero, zero, zero, zero, eight],
        [near, edge, beyond, eight, zero],
        [True, True, True, False, False],
    )
    measured = measured_pairs(gallery, pairs, radius=2)
    assert measured["relevant_outside"] == {
        "value": 1 / 3,  # item 3, at distance 3
        "low": None,  # one query has relevant pairs: nothing is known of others
        "high": None,
        "queries": 1,
    }
    assert measured["irrelevant_inside"]["value"] == 0
    # None of two queries: 1 - sqrt(0.025).
    assert measured["irrelevant_inside"]["high"] == pytest.approx(0.8418861)
    assert measured["curve"]["radius"] == list(range(9))
    outside = measured["curve"]["relevant_outside"]["value"]
    assert_allclose(outside, [1, 2 / 3, 1 / 3, 0, 0, 0, 0, 0, 0])
    assert measured["curve"]["irrelevant_inside"]["value"] == [0] * 8 + [1]
    assert measured["at_distance"]["full_distance"]["relevant"][:7] == [0, 0, 1, 0, 1, 0, 1]
    assert measured["separation"] == {"distance": 1.0, "full_distance": 1.0}
    assert (measured["pairs"], measured["queries"]) == (5, 2)
    assert one == near


def test_the_curves_are_monotone_and_end_where_all_is_inside() -> None:
    gallery = gallery_of(60)
    curve = measured_pairs(gallery, some_pairs(gallery, 200), radius=2)["curve"]
    for wrong, sign, last in (("relevant_outside", -1, 0), ("irrelevant_inside", 1, 1)):
        value = np.array(curve[wrong]["value"])
        assert np.all(sign * np.diff(value) >= 0)
        assert value[-1] == last
        # The interval of a share of 0 or 1 is of another kind.
        between = (value > 0) & (value < 1)
        for end in ("low", "high"):
            assert np.all(sign * np.diff(np.array(curve[wrong][end])[between]) >= -1e-12)


@pytest.mark.parametrize("relevant", [True, False])
def test_pairs_of_one_kind_alone(relevant: bool) -> None:
    gallery = gallery_of(30)
    some = some_pairs(gallery, 50)
    pairs = judged(some.queries, some.items, np.full(50, relevant))
    result = bench.run(gallery, scales=[], pairs=pairs)
    measured = result["pairs"]
    there, missing = ("relevant_outside", "irrelevant_inside")[:: 1 if relevant else -1]
    assert measured[there]["value"] is not None
    assert measured[missing] == {"value": None, "low": None, "high": None, "queries": 0}
    assert set(measured["curve"][missing]["value"]) == {None}
    assert measured["separation"] == {"distance": None, "full_distance": None}
    (table,) = (table for table in bench.tables(result) if table.title.startswith("Judged"))
    assert [row[0] for row in table.rows] == ["relevant" if relevant else "irrelevant"]
    assert "probability" not in table.note
    assert "pairs.png" in draw(result)


def test_the_order_of_the_pairs_changes_nothing_and_the_seed_only_the_interval() -> None:
    gallery = gallery_of(50)
    pairs = some_pairs(gallery, 120)
    order = np.random.default_rng(1).permutation(120)
    shuffled = judged(pairs.queries[order], pairs.items[order], pairs.relevant[order])
    measured = measured_pairs(gallery, pairs, radius=2)
    assert measured_pairs(gallery, shuffled, radius=2) == measured
    other = measured_pairs(gallery, pairs, radius=2, seed=1)
    assert other["relevant_outside"]["value"] == measured["relevant_outside"]["value"]
    assert other["relevant_outside"]["low"] != measured["relevant_outside"]["low"]


def test_a_radius_beyond_the_code_holds_every_pair() -> None:
    gallery = gallery_of(30)
    measured = measured_pairs(gallery, some_pairs(gallery, 60), radius=1000)
    assert measured["relevant_outside"]["value"] == 0
    assert measured["irrelevant_inside"]["value"] == 1


def test_what_is_not_in_the_gallery_is_refused() -> None:
    gallery = gallery_of(5)
    for pairs in (judged([0], [5], [True]), judged([-1], [2], [True])):
        with pytest.raises(ArgumentError, match=r"names row (5|-1) of 5 items"):
            measured_pairs(gallery, pairs, radius=2)
    with pytest.raises(ArgumentError, match="radius must be 0 or more, not -1"):
        measured_pairs(gallery, judged([0], [1], [True]), radius=-1)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
def test_separation_is_the_statistic_of_mann_and_whitney(near: list[int], far: list[int]) -> None:
    statistic = scipy.stats.mannwhitneyu(far, near, method="asymptotic").statistic
    counted = separation(np.bincount(near, minlength=7), np.bincount(far, minlength=7))
    assert counted == pytest.approx(statistic / (len(near) * len(far)))


def test_separation_by_hand() -> None:
    assert separation([2, 0], [0, 3]) == 1.0
    assert separation([0, 2], [3, 0]) == 0.0
    assert separation([4, 0], [5, 0]) == 0.5
    assert separation([0, 0], [1, 2]) is None
    assert separation([1, 2], [0, 0]) is None


# In the record


@pytest.mark.parametrize("labelled", [True, False])
def test_a_run_records_the_pairs_of_any_gallery(tmp_path: Path, labelled: bool) -> None:
    gallery = gallery_of(60, labelled=labelled)
    pairs = some_pairs(gallery, 150)
    result = bench.run(gallery, radius=3, scales=[], pairs=pairs, seed=4)
    assert result["pairs"] == {
        "protocol": "pairs",
        **measured_pairs(gallery, pairs, radius=3, seed=4),
    }
    assert bool(result["quality"]) == labelled
    (tmp_path / "pairs.png").touch()
    files = bench.record(result, tmp_path)
    assert json.loads(files[0].read_text()) == result
    (path,) = (path for path in files if path.name == "pairs.png")
    with Image.open(path) as picture:
        assert picture.size == (720, 500)

    without = bench.run(gallery, scales=[])
    assert without["pairs"] is None
    assert all(not table.title.startswith("Judged") for table in bench.tables(without))
    bench.record(without, tmp_path)
    assert not path.exists()


def test_the_table_says_what_the_record_says() -> None:
    gallery = gallery_of(60)
    pairs = some_pairs(gallery, 150)
    result = bench.run(gallery, radius=3, scales=[], pairs=pairs)
    (table,) = (table for table in bench.tables(result) if table.title.startswith("Judged"))
    assert table.title.startswith("Judged pairs: judged.csv, ")
    distance, full_distance = pair_distances(gallery.codes(), pairs, gallery.n_bits)
    measured = result["pairs"]
    for row, kind, wrong, members in (
        (table.rows[0], "relevant", "relevant_outside", pairs.relevant),
        (table.rows[1], "irrelevant", "irrelevant_inside", ~pairs.relevant),
    ):
        named = dict(zip(table.columns, row, strict=True))
        assert (named["judged"], named["pairs"]) == (kind, str(sum(members)))
        assert named["queries"] == str(len(set(pairs.queries[members].tolist())))
        share = measured[wrong]
        assert named["wrong side of radius 3"] == (
            f"{share['value']:.4f} [{share['low']:.4f}, {share['high']:.4f}]"
        )
        quantiles = np.quantile(
            distance[members], [0, 0.25, 0.5, 0.75, 1], method="inverted_cdf"
        ).tolist()
        shown = [int(named[name]) for name in ("least", "25 %", "median", "75 %", "most")]
        assert_array_equal(shown, quantiles)
        assert int(named["full median"]) == np.quantile(
            full_distance[members], 0.5, method="inverted_cdf"
        )
    assert f"with probability {measured['separation']['distance']:.4f}" in table.note


def test_the_share_of_one_query_is_shown_without_an_interval() -> None:
    gallery = gallery_of(10)
    result = bench.run(gallery, scales=[], pairs=judged([0, 0], [1, 2], [True, True]))
    (table,) = (table for table in bench.tables(result) if table.title.startswith("Judged"))
    assert table.rows[0][3] == f"{result['pairs']['relevant_outside']['value']:.4f}"
    assert "pairs.png" in draw(result)


def test_the_plot_shows_the_radius_and_the_pairs() -> None:
    gallery = gallery_of(40)
    result = bench.run(gallery, scales=[])
    pixels = []
    for radius, seed in ((1, 0), (4, 0), (1, 1)):
        measured = measured_pairs(gallery, some_pairs(gallery, 90, seed), radius=radius)
        plots = draw({**result, "latency": [], "pairs": measured})
        pixels.append(np.asarray(Image.open(io.BytesIO(plots["pairs.png"]))))
    assert (pixels[0] != pixels[1]).any()
    assert (pixels[0] != pixels[2]).any()
