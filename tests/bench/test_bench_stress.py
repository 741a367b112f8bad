"""The stress run, in small, and that it would tell what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hashsearch.bench.stress import is_changed, stress
from hashsearch.errors import GalleryDamaged
from hashsearch.gallery import Gallery

if TYPE_CHECKING:
    from pathlib import Path


def test_killed_writers_lose_nothing(tmp_path: Path) -> None:
    outcomes = stress(8, seed=1, folder=tmp_path)
    assert sum(outcome.before + outcome.after for outcome in outcomes) == 8
    # The first of each kind is left to be done; of the others, some are not.
    assert all(outcome.after for outcome in outcomes)
    assert any(outcome.before for outcome in outcomes)
    assert not list(tmp_path.iterdir())


def gallery(*ids: str) -> Gallery:
    codes = np.arange(2 * len(ids), dtype=np.uint8).reshape(-1, 2)
    return Gallery.from_codes(codes, n_bits=8, fine_bits=8, ids=ids)


def test_what_a_writer_left_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    before, after = gallery("a", "b"), gallery("a", "b", "c")
    before.save(path)
    assert not is_changed(path, before, after)
    after.save(path)
    assert is_changed(path, before, after)
    gallery("a", "c").save(path)
    with pytest.raises(GalleryDamaged, match="neither the items of before nor those of after"):
        is_changed(path, before, after)


def test_wrong_bytes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "gallery.h5"
    before, after = gallery("a", "b"), gallery("a", "b", "c")
    before.save(path)
    content = bytearray(path.read_bytes())
    fine = content.index(before.content.datasets["items/fine"].tobytes())
    content[fine] ^= 1
    path.write_bytes(content)
    with pytest.raises(GalleryDamaged, match="wrong bytes"):
        is_changed(path, before, after)


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        ("print('ready')\nraise SystemExit(1)", "failed on a whole gallery"),
        ("raise SystemExit(1)", "failed on a whole gallery"),
        ("print('ready\\n0.01')", "said that it was done, and was not"),
    ],
)
def test_a_writer_that_writes_nothing_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, message: str
) -> None:
    (tmp_path / "no_writer.py").write_text(writer)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("hashsearch.bench.stress._MODULE", "no_writer")
    with pytest.raises(GalleryDamaged, match=message):
        stress(1, folder=tmp_path)
