"""Backbones in small: every figure is there, and says what it is of."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from hashsearch.bench.backbones import lines, measure

if TYPE_CHECKING:
    from pathlib import Path


def test_each_backbone_is_timed_and_weighed() -> None:
    lenet, small = measure(["lenet", "small-resnet"], size=32, batch=2, seconds=0.0)
    assert (lenet["backbone"], small["backbone"]) == ("lenet", "small-resnet")
    for record in (lenet, small):
        assert record["images_per_s"] > 0
        assert record["times_torch"] > 0
        # The file holds the parameters as floats, and little else.
        assert 1 < record["file_bytes"] / (4 * record["parameters"]) < 1.5
    assert small["parameters"] > lenet["parameters"]


def test_the_report_is_a_file_and_a_table(tmp_path: Path) -> None:
    line = "--backbones lenet --size 32 --batch 2 --seconds 0 --out"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "hashsearch.bench.backbones",
            *line.split(),
            tmp_path / "figures.json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads((tmp_path / "figures.json").read_text())
    assert (report["size"], report["batch"], report["n_bits"], report["fine_bits"]) == (
        32,
        2,
        48,
        64,
    )
    assert done.stdout.splitlines() == [*lines(report)]
    assert len([*lines(report)]) == 2
