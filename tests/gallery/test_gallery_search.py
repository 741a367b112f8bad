"""The search against brute force: the same items, in the same order, whatever the index."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashsearch.codes import hamming_distance, pack_bits
from hashsearch.errors import ArgumentError, CodesError, EncoderMismatch
from hashsearch.gallery import SEARCHES, Gallery, faiss_indexes, hamming_index, search_threads
from hashsearch.gallery.threads import in_threads, parts

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.gallery import Matches

ON_CPU = [index for index in SEARCHES if index != "gpu"]
HAS_GPU = hasattr(faiss, "GpuIndexBinaryFlat") and faiss.get_num_gpus() > 0

with_a_fixture = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Case(NamedTuple):
    codes: npt.NDArray[np.uint8]
    ids: list[str]
    queries: npt.NDArray[np.uint8]
    n_bits: int
    fine_bits: int

    @property
    def gallery(self) -> Gallery:
        return Gallery.from_codes(
            self.codes, n_bits=self.n_bits, fine_bits=self.fine_bits, ids=self.ids
        )


def make_case(
    seed: int,
    n_items: int,
    n_centres: int,
    *,
    n_bits: int,
    fine_bits: int,
    n_queries: int,
    flip: float,
) -> Case:
    """Codes around a few centres, so that items share codes and have near ones."""
    rng = np.random.default_rng(seed)
    total = n_bits + fine_bits
    centres = rng.integers(0, 2, (n_centres, total))
    near = centres[rng.integers(0, n_centres, n_items + n_queries)]
    codes = pack_bits(near ^ (rng.random(near.shape) < flip))
    names = [f"{letter}{number}" for number in range(n_items) for letter in "aé€𝄞Z"]
    ids = rng.permutation(names)[:n_items].tolist()
    return Case(codes[:n_items], ids, codes[n_items:], n_bits, fine_bits)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return make_case(
        seed=draw(st.integers(0, 2**32 - 1)),
        n_items=draw(st.integers(1, 60)),
        n_centres=draw(st.integers(1, 6)),
        n_bits=8 * draw(st.integers(1, 32)),
        fine_bits=8 * draw(st.sampled_from([0, 1, 3, 8, 9, 16])),
        n_queries=draw(st.integers(0, 3)),
        flip=draw(st.sampled_from([0.0, 0.01, 0.1, 0.5])),
    )


def brute_force(case: Case, query: int, radius: int) -> list[tuple[str, int, int]]:
    """All items as (id, distance, full distance), in the one order."""
    width = case.n_bits // 8
    code = case.queries[query : query + 1]
    distance = hamming_distance(code[:, :width], case.codes[:, :width])[0].tolist()
    full = hamming_distance(code, case.codes)[0].tolist()
    items = zip(case.ids, distance, full, strict=True)
    return sorted(items, key=lambda item: (max(item[1] - radius, 0), item[2], item[0].encode()))


def listed(matches: Matches) -> list[list[tuple[str, int, int]]]:
    return [
        list(zip(one.ids, one.distance.tolist(), one.full_distance.tolist(), strict=True))
        for one in matches
    ]


def assert_exact(case: Case, gallery: Gallery, radius: int, k: int, index: str) -> None:
    expected = [brute_force(case, query, radius) for query in range(len(case.queries))]
    balls = [[item for item in items if item[1] <= radius] for items in expected]
    sizes = [len(ball) for ball in balls]

    nearest = gallery.nearest(case.queries, k=k, radius=radius, index=index)
    assert listed(nearest) == [items[:k] for items in expected]
    assert nearest.ball_size.tolist() == sizes
    assert nearest.in_ball.tolist() == [d <= radius for items in expected for _, d, _ in items[:k]]

    within = gallery.within(case.queries, radius=radius, index=index)
    assert listed(within) == balls
    assert within.ball_size.tolist() == sizes
    unranked = gallery.within(case.queries, radius=radius, ranked=False, index=index)
    assert [sorted(ball) for ball in listed(unranked)] == [sorted(ball) for ball in balls]
    assert all((np.diff(one.rows) > 0).all() for one in unranked)
    best = gallery.within(case.queries, radius=radius, limit=k, index=index)
    assert listed(best) == [ball[:k] for ball in balls]
    assert best.ball_size.tolist() == sizes
    only_sizes = gallery.within(case.queries, radius=radius, limit=0, index=index)
    assert only_sizes.rows.size == 0
    assert only_sizes.ball_size.tolist() == sizes


@settings(max_examples=150, deadline=None)
@given(case=cases(), data=st.data())
def test_every_index_equals_brute_force(case: Case, data: st.DataObject) -> None:
    radius = data.draw(st.integers(0, case.n_bits + 8), label="radius")
    k = data.draw(st.integers(1, len(case.ids) + 5), label="k")
    gallery = case.gallery
    for index in ON_CPU:
        assert_exact(case, gallery, radius, k, index)


@pytest.fixture
def tables_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash tables in every gallery, however small, and used whatever they cost."""
    monkeypatch.setattr("hashsearch.gallery.hamming_index._FEW_CODES", 0)
    monkeypatch.setattr("hashsearch.gallery.multi_index._PROBE", 0)
    monkeypatch.setattr("hashsearch.gallery.multi_index._CANDIDATE", 0)


@pytest.mark.usefixtures("tables_for_all")
@with_a_fixture
@given(case=cases(), data=st.data())
def test_hash_tables_equal_brute_force(case: Case, data: st.DataObject) -> None:
    radius = data.draw(st.integers(0, case.n_bits + 8), label="radius")
    k = data.draw(st.integers(1, len(case.ids) + 5), label="k")
    assert_exact(case, case.gallery, radius, k, "auto")


@pytest.fixture
def small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What certifies a GPU's answers, with FAISS's flat index on the CPU, asked for few codes."""

    def on_cpu(distinct: npt.NDArray[np.uint8]) -> faiss.IndexBinaryFlat:
        index = faiss.IndexBinaryFlat(8 * distinct.shape[1])
        index.add(faiss_indexes.readable(distinct))
        return index

    monkeypatch.setattr(faiss_indexes, "gpu_index", on_cpu)
    monkeypatch.setattr(hamming_index, "GPU_MOST", 9)
    monkeypatch.setattr(hamming_index, "_GPU_FIRST", 1)
    monkeypatch.setattr(hamming_index, "_GPU_QUERIES", 2)
    monkeypatch.setattr(hamming_index, "_FEW_CODES", 0)


@pytest.mark.usefixtures("small_gpu")
@with_a_fixture
@given(case=cases(), data=st.data())
def test_what_a_gpu_cannot_certify_is_found_without(case: Case, data: st.DataObject) -> None:
    radius = data.draw(st.integers(0, case.n_bits + 8), label="radius")
    k = data.draw(st.integers(1, 12), label="k")
    for index in ("gpu", "auto"):
        assert_exact(case, case.gallery, radius, k, index)


@pytest.mark.usefixtures("small_gpu")
def test_a_gpu_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(3, 500, 40, n_bits=32, fine_bits=8, n_queries=5, flip=0.1)
    gallery = case.gallery
    asked: list[int] = []

    def fails(*_: object) -> None:
        asked.append(1)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(faiss.IndexBinaryFlat, "search", fails)
    for _ in range(2):
        nearest = gallery.nearest(case.queries, k=5)
        assert listed(nearest) == [brute_force(case, query, 2)[:5] for query in range(5)]
    assert len(asked) == 1


@pytest.mark.skipif(not HAS_GPU, reason="FAISS has no GPU here")
@pytest.mark.parametrize("n_bits", [16, 48, 64, 256])
def test_a_gpu_answers_as_the_cpu_does(n_bits: int) -> None:
    case = make_case(7, 100_000, 300, n_bits=n_bits, fine_bits=64, n_queries=300, flip=0.1)
    for k, radius in ((1, 0), (10, 2), (300, 2), (3000, 5)):
        by_gpu, by_cpu = (
            case.gallery.nearest(case.queries, k=k, radius=radius, index=index)
            for index in ("gpu", "scan")
        )
        assert np.array_equal(by_gpu.rows, by_cpu.rows)
        assert np.array_equal(by_gpu.ball_size, by_cpu.ball_size)


@pytest.mark.skipif(HAS_GPU, reason="FAISS has a GPU here")
def test_a_missing_gpu_is_said() -> None:
    case = make_case(0, 20, 3, n_bits=16, fine_bits=0, n_queries=1, flip=0.1)
    with pytest.raises(ArgumentError, match=r"no GPU here.* use index 'auto'"):
        case.gallery.nearest(case.queries, index="gpu")


@pytest.mark.parametrize("n_items", [300, 3000])
def test_any_number_of_threads_gives_the_same_answer(
    n_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashsearch.gallery.gallery._QUERIES_A_THREAD", 2)
    monkeypatch.setattr("hashsearch.gallery.multi_index._CODES_A_THREAD", 50)
    monkeypatch.setattr("hashsearch.gallery.multi_index._AT_ONCE", 64)
    case = make_case(5, n_items, 40, n_bits=72, fine_bits=8, n_queries=21, flip=0.05)
    for count in (1, 2, 5, 40):
        with search_threads(count):
            for index in ON_CPU:
                assert_exact(case, case.gallery, 4, 7, index)
            one = case._replace(queries=case.queries[:1])
            assert_exact(one, one.gallery, 4, 7, "scan")


def test_a_search_within_a_search_waits_for_no_thread() -> None:
    with search_threads(2):
        assert len(parts(100, 10)) == 2
        assert in_threads(lambda _: len(parts(100, 10)), [0, 1, 2, 3]) == [1, 1, 1, 1]
    assert parts(0, 10) == [slice(0, 0)]
    assert [part.stop - part.start for part in parts(9, 10)] == [9]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_searches_with_threads_of_its_own() -> None:
    with search_threads(2):
        assert in_threads(str, [0, 1]) == ["0", "1"]
        child = os.fork()
        if not child:
            os._exit(0 if in_threads(str, [0, 1]) == ["0", "1"] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("n_bits", [16, 48, 64, 256])
@pytest.mark.parametrize("index", ON_CPU)
def test_indexes_are_exact_where_hashing_pays(index: str, n_bits: int) -> None:
    # Thousands of distinct codes: fewer probes than codes, so the hash tables do answer.
    case = make_case(7, 3000, 40, n_bits=n_bits, fine_bits=64, n_queries=3, flip=2 / n_bits)
    gallery = case.gallery
    for radius in (*range(7), n_bits // 2, n_bits, 10**12):
        assert_exact(case, gallery, radius, 10, index)


@given(case=cases())
def test_a_histogram_counts_the_items_at_each_distance(case: Case) -> None:
    found = case.gallery.histogram(case.queries)
    width = case.n_bits // 8
    distance = hamming_distance(case.queries[:, :width], case.codes[:, :width])
    expected = [np.bincount(row, minlength=case.n_bits + 1) for row in distance]
    assert found.dtype == np.int64
    assert found.shape == (len(case.queries), case.n_bits + 1)
    assert found.tolist() == [row.tolist() for row in expected]


@pytest.mark.parametrize("n_bits", [24, 48, 264])
def test_a_histogram_of_more_codes_than_are_counted_at_once(
    n_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hamming_index, "_COUNTED_AT_ONCE", 100)
    case = make_case(
        3, 1_050, 30, n_bits=n_bits, fine_bits=8, n_queries=2, flip=0.1
    )  # a last piece of fewer
    distance = hamming_distance(case.queries[:, : n_bits // 8], case.codes[:, : n_bits // 8])
    gallery = case.gallery
    for query, counts in enumerate(gallery.histogram(case.queries).tolist()):
        assert counts == np.bincount(distance[query], minlength=n_bits + 1).tolist()
        ball_size = gallery.within(case.queries, radius=9, limit=0).ball_size
        assert sum(counts[:10]) == ball_size[query]


def test_a_histogram_refuses_codes_of_another_width() -> None:
    gallery = Gallery.from_codes(np.zeros((2, 2), np.uint8), n_bits=8, fine_bits=8)
    with pytest.raises(CodesError, match="8 \\+ 8 bits need 2"):
        gallery.histogram(np.zeros((1, 1), np.uint8))


def test_every_radius_of_a_small_code() -> None:
    case = make_case(3, 300, 5, n_bits=8, fine_bits=8, n_queries=4, flip=0.2)
    for radius in range(10):
        for index in ON_CPU:
            assert_exact(case, case.gallery, radius, 7, index)


@pytest.mark.parametrize("fine_bits", [0, 64])
def test_ties_are_broken_by_id_across_codes(fine_bits: int) -> None:
    # 3,000 items tie at every distance: 3 semantic codes at distance 1, equal fine codes.
    rng = np.random.default_rng(0)
    codes = np.zeros((3000, 2 + fine_bits // 8), np.uint8)
    codes[:, 0] = rng.choice([1, 2, 4], 3000)
    ids = [str(number) for number in rng.permutation(3000)]
    query = np.zeros((1, codes.shape[1]), np.uint8)
    case = Case(codes, ids, query, 16, fine_bits)
    for k in (1, 10, 1500, 3000, 4000):
        assert_exact(case, case.gallery, 0, k, "auto")
        assert_exact(case, case.gallery, 1, k, "auto")


@pytest.mark.parametrize("n_distinct", [1, 2, 4, 5, 64])
def test_saved_indexes_lose_no_code(tmp_path: Path, n_distinct: int) -> None:
    # All codes share their first 40 bits: every bucket of most hash tables holds them all.
    codes = np.zeros((n_distinct, 6), np.uint8)
    codes[:, 5] = np.arange(n_distinct)
    case = Case(codes, [str(number) for number in range(n_distinct)], codes, 48, 0)
    case.gallery.save(tmp_path / "g.h5")
    opened = Gallery.open(tmp_path / "g.h5")
    for index in ON_CPU:
        for radius in range(4):
            assert_exact(case, opened, radius, n_distinct, index)


def test_rows_are_sorted_by_code_then_id_and_codes_come_back() -> None:
    case = make_case(5, 400, 6, n_bits=24, fine_bits=16, n_queries=0, flip=0.02)
    gallery = case.gallery
    order = sorted(range(400), key=lambda i: (case.codes[i, :3].tobytes(), case.ids[i].encode()))
    assert gallery.ids() == [case.ids[place] for place in order]
    np.testing.assert_array_equal(gallery.codes(), case.codes[order])
    np.testing.assert_array_equal(gallery.codes([7, 3]), case.codes[order][[7, 3]])


def test_what_belongs_to_an_item_stays_with_it() -> None:
    case = make_case(6, 50, 4, n_bits=16, fine_bits=8, n_queries=3, flip=0.1)
    labels = [None if number % 5 == 0 else f"kind {number % 3}" for number in range(50)]
    paths = [None if number % 7 == 0 else f"photos/{number}.jpg" for number in range(50)]
    pictures = [None if number % 2 else bytes([number]) * number for number in range(50)]
    gallery = Gallery.from_codes(
        case.codes,
        n_bits=16,
        fine_bits=8,
        ids=case.ids,
        labels=labels,
        paths=paths,
        thumbnails=pictures,
    )
    matches = gallery.nearest(case.queries, k=50)
    assert len(matches) == 3
    places = [case.ids.index(name) for name in matches.ids]
    assert matches.labels == [labels[place] for place in places]
    assert matches.paths == [paths[place] for place in places]
    found = [gallery.thumbnail(row) for row in matches.rows.tolist()]
    assert found == [pictures[place] or None for place in places]
    assert gallery.info()["labels"] == {
        name: labels.count(name) for name in ("kind 0", "kind 1", "kind 2")
    }


def test_ids_count_up_unless_given_and_the_rest_is_none() -> None:
    gallery = Gallery.from_codes(np.arange(12, dtype=np.uint8)[:, None], n_bits=8, fine_bits=0)
    assert gallery.ids() == [str(number) for number in range(12)]
    assert gallery.labels([0, 1]) == [None, None]
    assert gallery.paths([0]) == [None]
    assert gallery.thumbnail(0) is None
    assert (len(gallery), gallery.n_bits, gallery.fine_bits, gallery.path) == (12, 8, 0, None)


def test_info_counts() -> None:
    codes = np.array([[1], [1], [1], [9]], np.uint8)
    gallery = Gallery.from_codes(codes, n_bits=8, fine_bits=0, indexes=["flat"])
    info = gallery.info()
    assert (info["items"], info["distinct_codes"], info["largest_bucket"]) == (4, 2, 3)
    assert list(info["indexes"]) == ["flat"]
    # Two codes of 1 byte and three offsets of 8, and four places of ids of 4, over four items.
    assert math.isclose(info["searched_bytes_per_item"], (2 + 24 + 16) / 4)


def test_one_query_of_many_is_a_slice() -> None:
    case = make_case(8, 60, 3, n_bits=16, fine_bits=8, n_queries=4, flip=0.1)
    matches = case.gallery.within(case.queries, radius=1)
    alone = case.gallery.within(case.queries[2:3], radius=1)
    assert listed(matches[2]) == listed(alone)
    assert listed(matches[-1]) == listed(matches[3])
    assert len(list(matches)) == 4
    with pytest.raises(IndexError):
        matches[4]


def test_threads_with_different_radii_do_not_disturb_each_other() -> None:
    case = make_case(9, 3000, 40, n_bits=48, fine_bits=8, n_queries=20, flip=0.05)
    gallery = case.gallery
    calls = [(radius, index) for radius in range(6) for index in ON_CPU] * 4

    def sizes(call: tuple[int, str]) -> list[int]:
        radius, index = call
        matches = gallery.within(case.queries, radius=radius, limit=0, index=index)
        return [int(size) for size in matches.ball_size]

    expected = {radius: sizes((radius, "auto")) for radius in range(6)}
    with ThreadPoolExecutor(4) as pool:
        for (radius, _), found in zip(calls, pool.map(sizes, calls), strict=True):
            assert found == expected[radius]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be"),
        ({"k": 2.5}, "k must be"),
        ({"k": True}, "k must be"),
        ({"radius": -1}, "radius must be"),
        ({"radius": "2"}, "radius must be"),
        ({"index": "ivf"}, "auto, scan, mih, gpu, flat, hash, multihash"),
    ],
)
def test_nearest_refuses(arguments: dict[str, object], message: str) -> None:
    gallery = Gallery.from_codes(np.zeros((1, 1), np.uint8), n_bits=8, fine_bits=0)
    with pytest.raises(ArgumentError, match=message):
        gallery.nearest(np.zeros((1, 1), np.uint8), **arguments)  # type: ignore[arg-type]  # on purpose


def test_the_best_of_a_ball_cannot_be_had_unranked() -> None:
    gallery = Gallery.from_codes(np.zeros((3, 1), np.uint8), n_bits=8, fine_bits=0)
    query = np.zeros((1, 1), np.uint8)
    with pytest.raises(ArgumentError, match="limit 2 is of a ranked ball"):
        gallery.within(query, limit=2, ranked=False)
    assert gallery.within(query, limit=0, ranked=False).ball_size == [3]


def test_within_refuses_a_negative_limit_and_other_codes() -> None:
    gallery = Gallery.from_codes(np.zeros((1, 2), np.uint8), n_bits=8, fine_bits=8)
    with pytest.raises(ArgumentError, match="limit must be"):
        gallery.within(np.zeros((1, 2), np.uint8), limit=-1)
    with pytest.raises(CodesError, match="1 bytes wide"):
        gallery.within(np.zeros((1, 1), np.uint8))
    with pytest.raises(ArgumentError, match=r"0 \.\. 0"):
        gallery.ids([1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": ["a", "b", "a"]}, r"'a' is both ids\[0\] and ids\[2\]"),
        ({"ids": ["a", "", "c"]}, r"ids\[1\] is empty"),
        ({"ids": ["a", "b\0", "c"]}, r"ids\[1\] holds a NUL"),
        ({"ids": ["a", "\udc80", "c"]}, r"ids\[1\] cannot be written as UTF-8"),
        ({"ids": ["a", 2, "c"]}, r"ids\[1\] must be a str"),
        ({"ids": ["a", "b"]}, "2 entries for 3 codes"),
        ({"labels": ["a"]}, "labels has 1 entries"),
        ({"labels": ["a", 1, None]}, r"must be a str"),
        ({"paths": ["a", "b\0", None]}, r"paths\[1\] holds a NUL"),
        ({"thumbnails": [b"", "x", None]}, r"thumbnails\[1\] must be bytes"),
        ({"indexes": ["flat", "ivf"]}, "flat, hash, multihash"),
        ({"n_bits": 7}, "multiple of 8"),
    ],
)
def test_from_codes_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Gallery.from_codes(
            np.zeros((3, 6), np.uint8),
            **{"n_bits": 48, "fine_bits": 0, **arguments},  # type: ignore[arg-type]  # on purpose
        )


def test_a_gallery_needs_an_item() -> None:
    with pytest.raises(ArgumentError, match="at least one item"):
        Gallery.from_codes(np.zeros((0, 14), np.uint8))


def test_another_encoder_is_refused() -> None:
    codes = np.zeros((1, 14), np.uint8)
    gallery = Gallery.from_codes(codes, encoder_fingerprint="ab" * 32, encoder_name="shoes")
    gallery.check_encoder("ab" * 32)
    with pytest.raises(EncoderMismatch, match="shoes"):
        gallery.check_encoder("cd" * 32)
    Gallery.from_codes(codes).check_encoder("cd" * 32)  # codes from anywhere: nobody knows


@pytest.mark.parametrize("fine_bits", [0, 24, 64])
def test_large_balls_in_pieces_and_too_wide_for_a_word(
    monkeypatch: pytest.MonkeyPatch, fine_bits: int
) -> None:
    case = make_case(3, 400, 6, n_bits=8, fine_bits=fine_bits, n_queries=6, flip=0.05)
    for name, value in {"_ROWS_AT_ONCE": 7, "_LARGE_SLICE": 1, "_FEW_KEYS": 0}.items():
        monkeypatch.setattr(f"hashsearch.gallery.ranking.{name}", value)
    for word_bits in (63, 1):
        monkeypatch.setattr("hashsearch.gallery.ranking._WORD_BITS", word_bits)
        for radius in (0, 2):
            assert_exact(case, case.gallery, radius, k=30, index="auto")
