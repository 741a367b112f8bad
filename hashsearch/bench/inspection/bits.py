"""What each bit of the codes does: how balanced it is, and what it repeats of others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import entr

from hashsearch.codes import unpack_bits

if TYPE_CHECKING:
    from hashsearch.gallery import Gallery

__all__ = ["Bits", "entropy", "measure_bits"]

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

_MOST_ITEMS = 1 << 20
_BLOCK = 1 << 16  # items at once; float32 counts no more than 2**24 exactly


@dataclass(frozen=True, eq=False)
class Bits:
    """Balance and correlation of all ``b = n_bits + fine_bits`` bits, the semantic ones first.

    Attributes:
        n_bits: how many are semantic.
        n_items: how many items were counted; fewer than the gallery has: a sample.
        ones: ``float64 (b,)``, the share of items in which each bit is 1.
        covariance: ``float64 (b, b)``, of the bits as numbers 0 and 1.
    """

    n_bits: int
    n_items: int
    ones: Floats
    covariance: Floats

    @cached_property
    def minority(self) -> Floats:
        """``float64 (b,)``: the share of the rarer value of each bit, 0 (constant) to 0.5."""
        return np.minimum(self.ones, 1 - self.ones)

    @cached_property
    def entropy(self) -> Floats:
        """``float64 (b,)``: of each bit alone, in bits: 0 (constant) to 1 (balanced)."""
        return np.array([entropy(np.array([share, 1 - share])) for share in self.ones])

    @cached_property
    def correlation(self) -> Floats:
        """``float64 (b, b)``: Pearson's r of each pair of bits, NaN where one is constant."""
        spread = np.sqrt(np.diagonal(self.covariance))
        spread = np.where(self.minority > 0, spread, np.nan)
        correlation: Floats = self.covariance / np.outer(spread, spread)
        return correlation

    @property
    def parts(self) -> dict[str, slice]:
        """The places of the semantic bits, and those of the fine bits if there are any."""
        parts = {"semantic": slice(0, self.n_bits), "fine": slice(self.n_bits, len(self.ones))}
        return {name: part for name, part in parts.items() if part.start < part.stop}

    def effective(self, part: slice) -> float:
        """How many independent bits of equal variance would spread the codes as these do.

        The participation ratio of the covariance, ``trace(C)**2 / trace(C @ C)``: the number of
        bits where they are balanced and independent, 1 where all are copies of one, 0 where all
        are constant.

        Source: Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement",
        bioRxiv 214262, 2017.
        """
        covariance = self.covariance[part, part]
        total = float(np.sum(covariance**2))
        return float(np.trace(covariance)) ** 2 / total if total else 0.0

    def alike(self, part: slice, least: float) -> list[tuple[int, int, float]]:
        """Pairs of bits with ``|r| >= least``, the most alike first: two places, and r."""
        correlation = np.nan_to_num(self.correlation[part, part])
        first, second = np.nonzero(np.triu(np.abs(correlation) >= least, k=1))
        r = correlation[first, second]
        order = np.argsort(-np.abs(r), kind="stable")
        return [
            (part.start + int(first[pair]), part.start + int(second[pair]), float(r[pair]))
            for pair in order
        ]


def measure_bits(gallery: Gallery, *, seed: int = 0) -> Bits:
    """Count the bits of all items, or of a sample of 1,048,576 where there are more.

    Args:
        gallery: whose codes.
        seed: of the sample.
    """
    rows = np.arange(len(gallery))
    if len(rows) > _MOST_ITEMS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST_ITEMS, replace=False))
    b = gallery.n_bits + gallery.fine_bits
    both = np.zeros((b, b))  # how often two bits are 1 together
    for start in range(0, len(rows), _BLOCK):
        bits = unpack_bits(gallery.codes(rows[start : start + _BLOCK])).astype(np.float32)
        both += bits.T @ bits
    ones = np.diagonal(both) / len(rows)
    return Bits(gallery.n_bits, len(rows), ones, both / len(rows) - np.outer(ones, ones))


def entropy(shares: npt.NDArray[np.float64]) -> float:
    """Shannon's entropy of shares that add up to 1, ``float64 (m,)``, in bits.

    >>> entropy(np.array([0.5, 0.25, 0.25]))
    1.5
    """
    return float(np.sum(entr(shares)) / np.log(2))
