"""Other engines answer the same tasks, say what they cannot do, and are caught when wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bench_cases import Forgetful, class_codes, gallery_of

from hashsearch.bench.peers import PEER_SETS, compare_with_peers
from hashsearch.bench.scale import uniform_codes
from hashsearch.errors import ArgumentError, GalleryError
from hashsearch.gallery import Gallery


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashsearch.bench.peers.comparison._SECONDS", 0.01)


def of_task(compared: dict[str, Any], task: str) -> list[dict[str, Any]]:
    return [system for system in compared["systems"] if system["task"] == task]


@pytest.mark.parametrize(("n_bits", "radius"), [(8, 2), (16, 2), (48, 0), (48, 3)])
def test_exact_engines_find_the_same_and_are_timed_beside(n_bits: int, radius: int) -> None:
    queries, _ = class_codes(8, n_bits=n_bits, seed=1)
    compared = compare_with_peers(gallery_of(300, n_bits=n_bits), queries, radius=radius)
    for task, n_ours, n_peers in (("ball", 7, 4), ("nearest", 4, 10)):
        systems = of_task(compared, task)
        assert [system["name"] for system in systems].count("hashsearch") == n_ours
        assert len(systems) == n_ours + n_peers
        assert systems[0]["ratio"] == 1.0
        for system in systems:
            assert system["skipped"] is None
            assert system["recall"] == 1.0 or not system["exact"] or system["setting"][:4] == "size"
            ratio = system["p50_us"] / systems[0]["p50_us"]
            assert system["ratio"] == pytest.approx(ratio, abs=0.001)


def test_what_an_engine_cannot_do_is_told() -> None:
    queries, _ = class_codes(8, seed=1)
    compared = compare_with_peers(gallery_of(300), queries, radius=20)
    skipped = {system["name"]: system["skipped"] for system in of_task(compared, "ball")}
    assert skipped["FAISS IndexBinaryFlat"] is None
    assert "nflip 20" in skipped["FAISS IndexBinaryHash(16)"]


def test_every_engine_answers_or_says_why_not() -> None:
    codes, asked = uniform_codes(400, 8, seed=0), uniform_codes(6, 8, seed=1)
    gallery = Gallery.from_codes(codes, n_bits=48, fine_bits=16)
    compared = compare_with_peers(gallery, asked, radius=2, peers="all")
    for task in ("ball", "nearest"):
        systems = of_task(compared, task)
        assert {peer.name for peer in PEER_SETS["all"]} < {system["name"] for system in systems}
        for system in systems:
            if system["skipped"]:
                assert "no search by radius" in system["skipped"] or "pip" in system["skipped"]
            elif task == "nearest":
                assert 0 <= system["recall"] <= 1
    # Uniform codes have empty balls, so no share of them can be found.
    assert of_task(compared, "ball")[0]["recall"] is None
    graph = [s for s in of_task(compared, "nearest") if s["name"] == "FAISS IndexBinaryHNSW(16)"]
    assert [system["setting"] for system in graph] == [f"efSearch {n}" for n in (16, 64, 256)]
    assert graph[-1]["recall"] == 1.0


def test_an_engine_that_is_slow_to_build_is_left_out_of_large_galleries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for peer in PEER_SETS["all"]:
        if peer.most_items is not None:
            monkeypatch.setitem(peer.__dict__, "most_items", 100)
    queries, _ = class_codes(8, seed=1)
    compared = compare_with_peers(gallery_of(300), queries, radius=2, peers="all")
    systems = of_task(compared, "nearest")
    left_out = [system["name"] for system in systems if "takes hours" in str(system["skipped"])]
    assert left_out == ["FAISS IndexBinaryHNSW(16)", "usearch HNSW(16)", "Milvus Lite"]


def test_an_exact_engine_that_answers_differently_is_an_error() -> None:
    queries, _ = class_codes(8, seed=1)
    with pytest.raises(GalleryError, match="different items"):
        compare_with_peers(Forgetful(gallery_of(300).content), queries, radius=2)


def test_an_unknown_set_of_peers_is_refused() -> None:
    with pytest.raises(ArgumentError, match="basic, all"):
        compare_with_peers(gallery_of(10), np.zeros((1, 7), np.uint8), radius=2, peers="some")
