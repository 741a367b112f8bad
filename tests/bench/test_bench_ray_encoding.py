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
        ((short,), (long,)) = each["seconds"].values()
        if long > short:
            assert each["photos_per_s"] == pytest.approx(4 / (long - short), rel=0.2)
        else:
            assert each["photos_per_s"] is None
    assert not [*tmp_path.iterdir()]


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(HashsearchError, match=r"build-index .* failed: Error: .*nowhere"):
        module._timed("one machine", 1, tmp_path / "nowhere", tmp_path / "gallery.h5")


def test_shares_are_of_as_many_plain_processes() -> None:
    ways = [
        {"way": way, "workers": count, "photos_per_s": rate, "start_s": 1.0}
        for way, count, rate in (
            ("multiprocessing", 1, 100.0),
            ("multiprocessing", 2, None),
            ("ray", 1, 90.0),
            ("ray", 2, 170.0),
        )
    ]
    _, _, _, one, two = lines({"ways": ways})
    assert one.split() == ["ray", "1", "90", "1.0", "s", "90%"]
    assert two.split() == ["ray", "2", "170", "1.0", "s", "-"]
