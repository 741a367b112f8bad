"""Batches for the tests of losses over pairs, and what a transcription of one needs."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from toy import seeded


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, list[int]]:
    """Outputs u, float64 ``(n, K)``, small to large, and a label each."""
    n, n_bits = draw(st.integers(2, 7)), draw(st.sampled_from([1, 8, 16]))
    labels = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    generator = seeded(draw(st.integers(0, 2**32)))
    return scale * torch.randn(n, n_bits, generator=generator, dtype=torch.float64), labels


def pairs_of(n: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def dot(first: list[float], second: list[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))
