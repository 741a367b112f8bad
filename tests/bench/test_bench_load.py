"""The measurements of the service in small: they measure, and tell what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hashsearch.bench import endurance, load, service
from hashsearch.encoder import Encoder

if TYPE_CHECKING:
    import http.client
    from pathlib import Path

    from hashsearch.gallery import Gallery


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("fashion-mnist", threads=1)


@pytest.fixture(scope="module")
def gallery(encoder: Encoder) -> Gallery:
    return service.scaled_gallery(300, encoder)


def test_rates_stand_beside_the_bare_loop(
    gallery: Gallery, encoder: Encoder, tmp_path: Path
) -> None:
    found = load.throughput(
        gallery, encoder, seconds=0.3, clients=(1, 2), rounds=1, folder=tmp_path
    )
    assert found["items"] == 300
    for kind in ("id", "image"):
        figures = found["by"][kind]
        assert set(figures["clients"]) == {"1", "2"}
        for seen in figures["clients"].values():
            assert seen["per_s"] > 0
            assert seen["share"] == pytest.approx(seen["per_s"] / figures["bare_per_s"], rel=0.02)
            assert 0 < seen["p50_ms"] <= seen["p99_ms"]
            assert seen["failed"] == 0
    assert not [*tmp_path.iterdir()]


def test_good_requests_succeed_among_bad_ones_and_new_generations(
    gallery: Gallery, tmp_path: Path
) -> None:
    found = endurance.endurance(gallery, 0.08, folder=tmp_path, swap_s=1.5, every=0.1)
    assert found["good"] > 0 < found["bad"]
    assert (found["failed"], found["not_refused"]) == (0, 0)
    assert found["swaps"] >= 2
    assert found["generations"] >= 2
    assert all(size > 0 for size in found["own_bytes"])
    assert found["growth"] > 0


def test_another_answer_than_the_librarys_is_a_failure(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endurance, "K", 3)
    found = endurance.endurance(gallery, 0.03, folder=tmp_path, every=0.1)
    assert 0 < found["failed"] < found["good"]


def test_a_search_that_fails_is_counted(
    gallery: Gallery, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        return 503, b""

    monkeypatch.setattr(load, "answer", refused)
    found = load.throughput(gallery, encoder, seconds=0.05, clients=(1,), rounds=1, folder=tmp_path)
    assert all(figures["clients"]["1"]["failed"] > 0 for figures in found["by"].values())
