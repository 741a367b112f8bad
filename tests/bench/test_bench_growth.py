"""Growth in small: every figure is there, and the exponents are those of the figures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hashsearch.bench import growth as module
from hashsearch.bench.growth import drawn_codes, exponents, growth, lines

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")


def test_each_size_is_measured_in_processes_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_BASE", 100)
    *records, longer = growth([500, 5000], ["learned", "uniform-48"], folder=tmp_path)
    of_48 = records.pop()
    assert (of_48["codes"], of_48["distinct_codes"], longer["distinct_codes"]) == (
        "uniform-48",
        500,
        5000,
    )
    assert [(record["codes"], record["items"]) for record in records] == [
        ("learned", 500),
        ("learned", 5000),
    ]
    for record in records:
        assert 1 <= record["distinct_codes"] <= 100
        assert all(record[name] > 0 for name in record if name.endswith(("_s", "_us")))
        assert record["file_bytes_per_item"] > 12
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]
    report = {"records": records, "exponents": {"learned": exponents(records)}}
    text = list(lines(report))
    assert text[0].split() == ["learned", "codes", "500", "5k", "exponent"]
    assert len(text) == len(records[0])  # a title and an empty line for kind and size


def test_a_part_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="No such file"):
        module._in_a_process("build", tmp_path / "codes.npy", tmp_path / "gallery.h5", 16)


def test_learned_codes_keep_their_semantic_code_and_uniform_ones_are_fair() -> None:
    base = np.arange(40, dtype=np.uint8).reshape(10, 4)
    drawn = drawn_codes("learned", 1000, base, 16, seed=0)
    assert {code[:2].tobytes() for code in drawn} == {code[:2].tobytes() for code in base}
    source = drawn[:, 0] // 4
    flipped = np.unpackbits(drawn[:, 2:] ^ base[source, 2:], axis=1).mean()
    assert flipped == pytest.approx(0.1, abs=0.02)
    uniform = drawn_codes("uniform", 1000, base, 16, seed=0)
    assert np.unpackbits(uniform, axis=1).mean() == pytest.approx(0.5, abs=0.02)


def test_exponents_are_powers_of_the_number_of_items() -> None:
    records = [
        {"codes": "learned", "items": n, "build_s": 3e-6 * n, "bytes_per_item": 5.0, "open_us": 7.0}
        for n in (10, 1000, 100_000)
    ]
    assert exponents(records) == {"build_s": 1.0, "bytes_per_item": 1.0, "open_us": 0.0}
