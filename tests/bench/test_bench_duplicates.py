"""The growth of the search for duplicates, in small: every figure is there."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hashsearch.bench.duplicates import duplicates_growth

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")


def test_each_size_and_distance_is_measured() -> None:
    small, large = duplicates_growth([500, 2000], [0, 40], ["uniform"])
    assert (small["codes"], small["items"], large["items"]) == ("uniform", 500, 2000)
    assert small["within_0_groups"] == small["within_0_largest"] == 0
    assert 400 < small["within_40_largest"] <= small["within_40_in_groups"] <= 500
    assert all(record[f"within_{bits}_s"] > 0 for record in (small, large) for bits in (0, 40))


def test_the_figures_are_written_and_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hashsearch.bench.duplicates", "--kinds", "uniform"]
    options = ["--sizes", "300,600", "--distances", "1", "--out", str(tmp_path / "figures.json")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    report = json.loads((tmp_path / "figures.json").read_text())
    assert [record["items"] for record in report["records"]] == [300, 600]
    assert "within_1_s" in report["exponents"]["uniform"]
    assert done.stdout.split()[:4] == ["uniform", "codes", "300", "600"]
