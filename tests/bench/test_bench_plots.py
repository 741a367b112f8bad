"""What the plot of latency tells apart, seen in its pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from hashsearch.bench.plots import draw

if TYPE_CHECKING:
    import numpy.typing as npt

_ABOVE_LEGEND = 340  # rows of pixels, of 500


def timed(scale: str, codes: str, items: int, *times: float) -> dict[str, Any]:
    """An entry of a record, of a time in microseconds for each operation."""
    operations = [
        {"operation": name, "p50_us": time}
        for name, time in zip(("nearest", "within", "size"), times, strict=True)
    ]
    return {"scale": scale, "codes": codes, "items": items, "operations": operations}


def axes_of(*latency: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Pixels of the plot without its legend."""
    result = {
        "quality": [],
        "latency": latency,
        "peers": [],
        "settings": {"radius": 2},
        "machine": {"cpu": "A processor"},
    }
    plot = Image.open(io.BytesIO(draw(result)["latency.png"])).convert("RGB")
    return np.asarray(plot)[:_ABOVE_LEGEND]


def blue_rows(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """``int64 (rows,)``: how many pixels of each row have the colour of the best 10."""
    is_blue = np.all(pixels == (0x00, 0x72, 0xB2), axis=-1)
    return np.array([np.count_nonzero(row) for row in is_blue])


def test_learned_and_uniform_codes_are_told_apart_at_a_single_scale() -> None:
    for below, above in (("learned", "uniform"), ("uniform", "learned")):
        blue = blue_rows(
            axes_of(timed("1k", below, 1_000, 70, 30, 10), timed("1k", above, 1_000, 700, 300, 100))
        )
        first, last = np.flatnonzero(blue)[[0, -1]]
        upper, lower = (part.sum() for part in np.array_split(blue[first : last + 1], 2))
        filled, hollow = (lower, upper) if below == "learned" else (upper, lower)
        assert filled > 2 * hollow > 0


def test_the_gallery_at_hand_is_shown_beside_the_scales() -> None:
    scales = [timed("1k", "learned", 1_000, 70, 30, 9), timed("100k", "learned", 10**5, 90, 50, 10)]
    without = axes_of(*scales)
    beside = axes_of(timed("gallery", "learned", 10_000, 60, 25, 15), *scales)
    changed = np.any(without != beside, axis=-1)
    rows, columns = changed.any(axis=1), np.flatnonzero(changed.any(axis=0))
    # Three crosses, halfway between the two scales; all else is where it was.
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) == 3
    assert columns[-1] - columns[0] < 20
    assert 300 < columns.mean() < 500


def test_alone_the_gallery_at_hand_is_an_ordinary_series() -> None:
    alone = axes_of(timed("gallery", "learned", 1_000, 70, 30, 10))
    scale = axes_of(timed("1k", "learned", 1_000, 70, 30, 10))
    np.testing.assert_array_equal(alone, scale)
