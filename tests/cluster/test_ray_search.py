"""Shards that lie with Ray actors, on nodes that are killed: real processes, nothing is feigned."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from hashsearch.errors import ArgumentError, GalleryMissing, ShardMissing
from hashsearch.gallery import Gallery, write_shards

if TYPE_CHECKING:
    from pathlib import Path

    from hashsearch.cluster.local import LocalCluster
    from hashsearch.gallery import Matches

pytest.importorskip("ray")
from hashsearch.cluster.search import RayGallery

pytestmark = pytest.mark.slow

ITEMS = 4000
SHARDS = 3


@pytest.fixture(scope="module")
def whole() -> Gallery:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (ITEMS, 10), dtype=np.uint8)
    codes[:, :4] = rng.integers(0, 256, (60, 4), dtype=np.uint8)[rng.integers(0, 60, ITEMS)]
    return Gallery.from_codes(
        codes,
        n_bits=32,
        fine_bits=48,
        ids=[f"item {number}" for number in rng.permutation(ITEMS)],
        labels=[f"type {code[0] % 5}" for code in codes],
    )


@pytest.fixture(scope="module")
def folder(whole: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("galleries") / "shop.shards"
    write_shards([whole], folder, SHARDS)
    return folder


@pytest.fixture(scope="module")
def queries(whole: Gallery) -> npt.NDArray[np.uint8]:
    return whole.codes(range(0, ITEMS, 200))


def told(matches: Matches) -> tuple[object, ...]:
    return (
        matches.offsets.tolist(),
        matches.ids,
        matches.labels,
        matches.distance.tolist(),
        matches.full_distance.tolist(),
        matches.ball_size.tolist(),
        matches.missing,
    )


def test_actors_answer_as_one_file_does(
    cluster: LocalCluster, whole: Gallery, folder: Path, queries: npt.NDArray[np.uint8]
) -> None:
    gallery = RayGallery.open(folder)
    assert len({node for nodes in gallery.nodes() for node in nodes}) == 3
    for of_shards, of_file in (
        (gallery, whole),
        (gallery.only(labels=["type 1"]), whole.only(labels=["type 1"])),
        (
            gallery.only(labels=["type 1", "type 2"]).without(whole.only(labels=["type 2"]).ids()),
            whole.only(labels=["type 1"]),
        ),
        (gallery.only(ids=["item 7"]), whole.only(ids=["item 7"])),  # in one shard
    ):
        assert told(of_shards.nearest(queries, k=7)) == told(of_file.nearest(queries, k=7))
        for limit in (None, 0, 3):
            assert told(of_shards.within(queries, radius=3, limit=limit)) == told(
                of_file.within(queries, radius=3, limit=limit)
            )
        np.testing.assert_array_equal(of_shards.histogram(queries), of_file.histogram(queries))
    with pytest.raises(ArgumentError, match="k must be"):
        gallery.nearest(queries, k=0)


def test_a_killed_node_costs_no_answer(
    cluster: LocalCluster, whole: Gallery, folder: Path, queries: npt.NDArray[np.uint8]
) -> None:
    gallery = RayGallery.open(folder, deadline=60)
    victim = next(node for nodes in gallery.nodes() for node in nodes if node in cluster.workers)
    expected = [told(whole.nearest(queries[[place]])) for place in range(len(queries))]
    killing = threading.Timer(0.5, cluster.kill, [victim])
    killing.start()
    asked = wrong = 0
    until = time.monotonic() + 5
    while time.monotonic() < until:
        place = asked % len(queries)
        wrong += told(gallery.nearest(queries[[place]])) != expected[place]
        asked += 1
    killing.join()
    assert wrong == 0
    assert asked > len(queries)
    assert victim not in {node for nodes in gallery.nodes() for node in nodes}


def test_killed_actors_come_back_and_errors_end_with_that(
    cluster: LocalCluster, whole: Gallery, folder: Path, queries: npt.NDArray[np.uint8]
) -> None:
    gallery = RayGallery.open(folder, deadline=0.2)
    assert len(gallery.nodes()) == SHARDS
    expected = told(whole.nearest(queries))
    cluster.kill_actors(cluster.workers[0])
    reasons: list[str] = []
    answers: list[tuple[object, ...]] = []

    def ask() -> None:
        try:
            answers.append(told(gallery.nearest(queries)))
        except ShardMissing as error:
            reasons.append(str(error))
            answers.clear()

    until = time.monotonic() + 60
    while len(answers) < 20 and time.monotonic() < until:
        ask()
    assert all("its process is gone" in each or "still being opened" in each for each in reasons)
    assert reasons
    assert answers == [expected] * 20


def test_an_answer_that_lacks_a_shard_is_an_error_or_says_so(
    cluster: LocalCluster, whole: Gallery, tmp_path: Path, queries: npt.NDArray[np.uint8]
) -> None:
    folder = tmp_path / "shop.shards"
    shards = write_shards([whole], folder, 2)
    strict, partial = (
        RayGallery.open(folder, deadline=3, partial_ok=partial_ok) for partial_ok in (False, True)
    )
    lost = folder / shards.shard_names[1]
    lost.rename(tmp_path / "away")  # before the actors have looked
    for gallery in (strict, partial):
        with pytest.raises(GalleryMissing, match=f"lacks its shard {lost.name}"):
            gallery.nodes()
    with pytest.raises(
        ShardMissing, match=f"no answer of shard {lost.name} within 3 seconds .*lacks its shard"
    ):
        strict.nearest(queries)
    found = partial.nearest(queries)
    assert found.missing == (lost.name,)
    assert found[0].missing == (lost.name,)
    assert told(found)[:-1] == told(shards.shards[0].nearest(queries))[:-1]
    # What is counted, is counted whole, by whoever asks if need be.
    np.testing.assert_array_equal(partial.histogram(queries), whole.histogram(queries))
    with pytest.raises(ShardMissing, match=f"no answer of shard {lost.name}"):
        strict.histogram(queries)
    (tmp_path / "away").rename(lost)
    assert told(strict.nearest(queries)) == told(whole.nearest(queries))
    assert told(partial.nearest(queries)) == told(whole.nearest(queries))


def test_replicas_lie_on_different_nodes_and_answer_for_one_another(
    cluster: LocalCluster, whole: Gallery, tmp_path: Path, queries: npt.NDArray[np.uint8]
) -> None:
    write_shards([whole], tmp_path / "two", 2)
    gallery = RayGallery.open(tmp_path / "two", replicas=2, deadline=60)
    placed = gallery.nodes()
    assert all(len({*nodes}) == 2 for nodes in placed)
    expected = told(whole.nearest(queries))
    cluster.kill(cluster.workers[0])
    # Ray needs some 15 seconds to find that the node is gone.
    began = time.monotonic()
    for _ in range(10):
        assert told(gallery.nearest(queries)) == expected
    assert time.monotonic() - began < 10


def test_what_cannot_be_is_refused(
    cluster: LocalCluster, folder: Path, whole: Gallery, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match="replicas must be 1 or more"):
        RayGallery.open(folder, replicas=0)
    with pytest.raises(ArgumentError, match="deadline above 0"):
        RayGallery.open(folder, deadline=0)
    whole.save(tmp_path / "one.h5")
    with pytest.raises(GalleryMissing, match=r"one\.h5 is not in shards; make a folder"):
        RayGallery.open(tmp_path / "one.h5")
