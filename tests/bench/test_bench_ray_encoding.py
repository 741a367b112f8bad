"""The measurement of workers in small: all ways encode, and the rates are those of the times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hashsearch.bench import ray_encoding as module
from hashsearch.bench.builds import write_photos
from hashsearch.bench.ray_encoding import WAYS, encode_in_processes, lines, ray_encoding
from hashsearch.errors import HashsearchError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plain_pool_encodes_all(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 3)
    assert encode_in_processes(tmp_path / "photos", 2) == 3


@pytest.mark.slow
def test_every_way_is_timed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="pip install '.[ray]'")
    found = ray_encoding(2, [1], rounds=1, folder=tmp_path)
    assert [(each["way"], each["workers"]) for each in found["ways"]] == [(way, 1) for way in WAYS]
    for each in found["ways"]:
        assert list(each["seconds"]) == ["2", "6"]
        assert all(len(times) == 1 and times[0] > 0 for times in each["seconds"].values())
    assert not [*tmp_path.iterdir()]


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(HashsearchError, match=r"build-index .* failed: Error: .*nowhere"):
        module._timed("one machine", 1, tmp_path / "nowhere", tmp_path / "gallery.h5")


def test_the_quickest_of_each_says_the_rate_unless_it_cannot() -> None:
    ways = [
        {"way": "ray", "workers": count, "seconds": {"100": few, "300": many}}
        for count, few, many in (
            (1, [7.0, 6.0], [8.0, 9.0]),
            (2, [6.0], [5.0]),  # the first was disturbed
            (3, [1.0], [9.0]),  # the second was
        )
    ]
    _, one, two, three = lines({"ways": ways})
    assert one.split() == ["ray", "1", "6.0", "8.0", "100", "5.0"]
    assert two.split() == ["ray", "2", "6.0", "5.0", "-", "-"]
    assert three.split() == ["ray", "3", "1.0", "9.0", "-", "-"]
