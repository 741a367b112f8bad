"""Other engines answer the same tasks, say what they cannot do, and are caught when wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from bench_cases import Forgetful, class_codes, gallery_of

from hashsearch.bench.peers import PEER_SETS, compare_with_peers
from hashsearch.bench.peers.system import Built, Codes, Peer, Rows, System, Task, Unable
from hashsearch.bench.scale import uniform_codes
from hashsearch.codes import hamming_distance
from hashsearch.errors import ArgumentError, GalleryError
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashsearch.bench.peers.comparison._SECONDS", 0.01)


def of_task(compared: dict[str, Any], task: str) -> list[dict[str, Any]]:
    return [system for system in compared["systems"] if system["task"] == task]


@pytest.mark.parametrize(("n_bits", "radius"), [(8, 2), (16, 2), (48, 0), (48, 3)])
def test_exact_engines_find_the_same_and_are_timed_beside(n_bits: int, radius: int) -> None:
    queries, _ = class_codes(8, n_bits=n_bits, seed=1)
    compared = compare_with_peers(gallery_of(300, n_bits=n_bits), queries, radius=radius)
    # Ours: its choice (of the ball, unranked and its size, too), by scan and by each of FAISS's
    # indexes, and of the nearest, its own order too. Theirs: Flat, Hash and MultiHash at four
    # settings, NumPy.
    for task, n_ours, n_peers in (("ball", 7, 4), ("nearest", 6, 10)):
        systems = of_task(compared, task)
        assert [system["name"] for system in systems].count("hashsearch") == n_ours
        assert len(systems) == n_ours + n_peers
        assert systems[0]["ratio"] == 1.0
        for system in systems:
            assert system["skipped"] is None
            lists_items = system["setting"] != "size and place"
            if system["exact"]:
                assert system["recall"] == (1.0 if lists_items else None)
            ratio = system["p50_us"] / systems[0]["p50_us"]
            assert system["ratio"] == pytest.approx(ratio, abs=0.001)


def test_the_gallery_s_own_order_goes_by_the_radius_of_the_run() -> None:
    # Two items: one of the query's type but unlike it, one of another type but nearer in all.
    codes = np.array([[0b1111, 0xFF], [0b111111, 0]], np.uint8)
    gallery = Gallery.from_codes(codes, n_bits=8, fine_bits=8, ids=["type", "look"])
    query = np.zeros((1, 2), np.uint8)
    for radius, recall in ((4, 0.0), (8, 1.0)):
        compared = compare_with_peers(gallery, query, radius=radius, k=1)
        own = [s for s in of_task(compared, "nearest") if s["setting"].startswith("two levels")]
        assert [system["recall"] for system in own] == [recall]


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
    # Uniform codes have empty balls, so no share of them can be found.
    assert of_task(compared, "ball")[0]["recall"] is None
    graph = [s for s in of_task(compared, "nearest") if s["name"] == "FAISS IndexBinaryHNSW(16)"]
    assert [system["setting"] for system in graph] == [f"efSearch {n}" for n in (16, 64, 256)]
    assert graph[-1]["recall"] == 1.0


def only(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    """Let ``one`` name the set of this peer alone."""
    monkeypatch.setitem(cast("dict[str, Any]", PEER_SETS), "one", [peer])


def peer_that_finds(share: float, *, exact: bool) -> Peer:
    """An engine that finds the nearest items, but for some."""

    def build(codes: Codes, task: Task, folder: Path) -> Built:
        del folder

        def search(asked: Codes) -> list[Rows]:
            distance = hamming_distance(asked, codes)
            if task.radius is None:
                found = [np.argsort(one, kind="stable")[: task.k] for one in distance]
            else:
                found = [np.flatnonzero(one <= task.radius) for one in distance]
            return [rows[: round(share * len(rows))] for rows in found]

        return Built([System("", exact, search, list)], 1)

    return Peer("forgetful", build)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_recall_is_the_share_that_is_found(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setitem(
        cast("dict[str, Any]", PEER_SETS), "one", [peer_that_finds(share, exact=False)]
    )
    codes = np.zeros((40, 2), np.uint8)
    codes[:, 1] = np.arange(40)
    gallery = Gallery.from_codes(codes, n_bits=8, fine_bits=8)
    compared = compare_with_peers(gallery, codes[:3], radius=0, peers="one")
    for task in ("ball", "nearest"):
        (found,) = [s for s in of_task(compared, task) if s["name"] == "forgetful"]
        assert found["recall"] == share


@pytest.mark.parametrize("radius", [0, None])
def test_an_exact_engine_that_misses_an_item_is_an_error(
    monkeypatch: pytest.MonkeyPatch, radius: int | None
) -> None:
    forgetful = peer_that_finds(0.9, exact=True)

    def build(codes: Codes, task: Task, folder: Path) -> Built:
        if task.radius != radius:
            raise Unable("the other task")
        return forgetful.build(codes, task, folder)

    only(monkeypatch, Peer("forgetful", build))
    queries, _ = class_codes(8, n_bits=8, seed=1)
    with pytest.raises(GalleryError, match="forgetful"):
        compare_with_peers(gallery_of(300, n_bits=8), queries, radius=0, peers="one")


def test_an_engine_that_breaks_costs_no_other_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(codes: Codes, task: Task, folder: Path) -> Built:
        raise OSError("no space left")

    only(monkeypatch, Peer("broken", build))
    queries, _ = class_codes(8, seed=1)
    compared = compare_with_peers(gallery_of(300), queries, radius=2, peers="one")
    for task in ("ball", "nearest"):
        systems = of_task(compared, task)
        assert systems[0]["p50_us"] > 0
        assert systems[-1]["skipped"] == "OSError: no space left"


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


def test_a_gallery_that_answers_differently_is_an_error() -> None:
    queries, _ = class_codes(8, seed=1)
    with pytest.raises(GalleryError, match="different items"):
        compare_with_peers(Forgetful(gallery_of(300).content), queries, radius=2)


def test_an_unknown_set_of_peers_is_refused() -> None:
    with pytest.raises(ArgumentError, match="basic, all"):
        compare_with_peers(gallery_of(10), np.zeros((1, 7), np.uint8), radius=2, peers="some")
