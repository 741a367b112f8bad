"""The measurements of builds in small: what they say holds, and a difference would be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hashsearch.bench import builds
from hashsearch.encoder import Encoder
from hashsearch.errors import GalleryDamaged

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_KILLED_ITEMS", 300)


def test_killed_builds_are_counted_and_done_at_last(tmp_path: Path) -> None:
    found = builds.kills(1, folder=tmp_path)
    assert (found["killed"], found["images"]) == (1, 300)
    assert found["finished"] >= 1
    assert not [*tmp_path.iterdir()]


def test_a_build_that_ends_otherwise_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "same_items", lambda one, other: False)
    with pytest.raises(GalleryDamaged, match="differs from a build that nobody disturbed"):
        builds.kills(1, folder=tmp_path)


def test_memory_is_looked_at_until_the_gallery_is_there(tmp_path: Path) -> None:
    found = builds.memory(500, folder=tmp_path, every=0.05)
    assert found["images"] == 500
    assert found["gallery_bytes"] > 0
    assert found["curve"]
    assert all(look["own_bytes"] > 0 for look in found["curve"])


def test_a_build_of_photos_is_compared_with_its_parts(tmp_path: Path) -> None:
    found = builds.reading(4, Encoder.load("fashion-mnist"), folder=tmp_path, rounds=1)
    assert set(found["images_per_s"]) == {"reading", "network", "build"}
    slower = min(found["images_per_s"]["reading"], found["images_per_s"]["network"])
    assert found["share"] == pytest.approx(found["images_per_s"]["build"] / slower, rel=0.02)
    assert 0 < found["bound"] < 1
