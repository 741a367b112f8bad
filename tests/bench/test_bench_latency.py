from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from bench_cases import Forgetful, class_codes, gallery_of
from tiny_encoder import FINE_BITS, N_BITS

from hashsearch.bench.latency import (
    brute_force_recall,
    build_and_time,
    search_times,
    summarise,
    time_gallery,
)
from hashsearch.bench.machine import describe_machine
from hashsearch.errors import ArgumentError, GalleryError


def test_times_are_those_of_each_query_in_microseconds() -> None:
    queries, _ = class_codes(4)
    seen = []

    def search(query: npt.NDArray[np.uint8]) -> None:
        seen.append(query)
        time.sleep(0.002)

    times = search_times(search, queries)
    assert np.array_equal(np.concatenate(seen), queries)
    assert (times >= 2000).all()


def test_the_summary_is_numpy_percentiles_and_the_mean_rate() -> None:
    summary = summarise(np.arange(1, 101, dtype=np.float64))
    assert summary == {"p50_us": 50.5, "p95_us": 95.0, "p99_us": 99.0, "queries_per_s": 19802.0}


def test_a_built_gallery_is_timed_and_its_answers_are_right() -> None:
    codes, _ = class_codes(400)
    queries, _ = class_codes(30, seed=1)
    built, timed = build_and_time(codes, queries, n_bits=N_BITS, fine_bits=FINE_BITS, radius=2)
    assert len(built) == timed["items"] == 400
    assert timed["distinct_codes"] == len(np.unique(codes[:, : N_BITS // 8], axis=0))
    assert timed["recall"] == 1.0
    assert timed["recall_queries"] == 20
    assert timed["file_bytes"] > 400 * timed["code_bytes"] == 400 * codes.shape[1]
    assert [entry["operation"] for entry in timed["operations"]] == ["nearest", "within", "size"]
    for entry in timed["operations"]:
        assert 0 < entry["p50_us"] <= entry["p95_us"] <= entry["p99_us"]
        assert entry["batched_queries_per_s"] > 0
        assert entry["all_cores_queries_per_s"] > 0
    # The distinct codes, the fine codes of a ball, and 16 bytes of each item that is listed.
    ball = np.median(built.within(queries, radius=2, limit=0).ball_size)
    scan, fine = N_BITS // 8 * built.n_distinct, ball * FINE_BITS // 8
    least = {"nearest": scan + fine, "within": scan + fine + 16 * ball, "size": scan}
    for entry in timed["operations"]:
        floor = least[entry["operation"]] / timed["memory_gb_per_s"] / 1000
        assert entry["floor_us"] == pytest.approx(floor, rel=0.01)


@pytest.mark.parametrize("radius", [0, 3, N_BITS])
def test_recall_is_one_for_a_right_search_at_any_radius(radius: int) -> None:
    queries, _ = class_codes(10, seed=1)
    assert brute_force_recall(gallery_of(100), queries, radius=radius, k=7) == 1.0
    assert brute_force_recall(gallery_of(3), queries, radius=radius, k=7) == 1.0


def test_a_wrong_answer_shows_in_the_recall_and_stops_the_run() -> None:
    forgetful = Forgetful(gallery_of(200).content)
    queries, _ = class_codes(10, seed=1)
    balls = [int(gallery_of(200).within(queries[row : row + 1]).ball_size[0]) for row in range(10)]
    wanted = sum(balls) + 10 * 5
    recall = brute_force_recall(forgetful, queries, radius=2, k=5)
    assert recall == pytest.approx(1 - sum(size > 0 for size in balls) / wanted)
    with pytest.raises(GalleryError, match="brute force"):
        time_gallery(forgetful, queries, radius=2)
    with pytest.raises(ArgumentError, match="no queries"):
        time_gallery(gallery_of(10), queries[:0], radius=2)


def test_the_machine_is_described_without_its_name() -> None:
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert machine["packages"]["numpy"] == np.__version__
    assert set(machine) == {"cpu", "cores", "memory_gib", "system", "python", "packages"}
