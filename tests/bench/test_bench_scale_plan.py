"""The plan follows from the records: by hand, and as the page that is kept."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from hashsearch.bench.scale_plan import plan, render
from hashsearch.errors import DatasetMissing

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("growth", "builds", "shard-answers", "ray-encoding")


@pytest.fixture
def records() -> dict[str, dict[str, Any]]:
    folder = BENCHMARKS / "recorded" / "2-cores"
    return {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES
    }


def shard(**figures: float) -> dict[str, Any]:
    usual = {"search_bytes_per_item": 10.0, "file_bytes_per_item": 20.0, "nearest_us": 900.0}
    return {
        "codes": "learned",
        "items": 1_000_000,
        "build_s": 2.0,
        "write_s": 0.5,
        **usual,
        **figures,
    }


def test_cores_say_how_many_machines_it_takes() -> None:
    found = plan(33_000_000, shard(), photos_per_s=100.0)
    assert (found.shards, found.machines) == (33, 3)  # 16 cores each
    assert found.file_bytes == 660e6
    assert found.memory_bytes == 160e6
    assert found.encode_hours == pytest.approx(33e6 / (100 * 48) / 3600)
    assert (found.arrange_s, found.nearest_us) == (2.5, 900.0)


def test_memory_says_so_where_it_is_short() -> None:
    found = plan(10_000_000, shard(search_bytes_per_item=20_000.0), photos_per_s=100.0)
    assert (found.shards, found.machines) == (10, 4)  # three shards of 20 GB in 64
    assert found.memory_bytes == 60e9


def test_fewer_shards_than_cores_hold_no_more_than_they_are() -> None:
    found = plan(2_000_000, shard(), photos_per_s=100.0)
    assert (found.shards, found.machines, found.memory_bytes) == (2, 1, 20e6)


def test_the_page_is_that_of_the_records(records: dict[str, dict[str, Any]]) -> None:
    page = (BENCHMARKS / "scale.md").read_text(encoding="utf-8")
    assert render(records) == page


def test_other_records_make_another_page(records: dict[str, dict[str, Any]]) -> None:
    other = copy.deepcopy(records)
    other["builds"]["reading"]["images_per_s"]["build"] *= 2
    rows, others = (
        [line.split("|") for line in render(each).splitlines() if line.startswith("| 10 billion |")]
        for each in (records, other)
    )
    hours, halved = (float(each[0][7].replace(",", "")) for each in (rows, others))
    assert halved == pytest.approx(hours / 2, abs=0.1)


def test_a_size_that_was_not_measured_is_told(records: dict[str, dict[str, Any]]) -> None:
    records["shard-answers"]["items"] = 123
    with pytest.raises(DatasetMissing, match=r"growth\.json has no learned codes of 123 items"):
        render(records)
