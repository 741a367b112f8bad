"""One fixed code a class, far from those of the other classes.

Source: Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, "Central Similarity Quantization for
Efficient Image and Video Retrieval", CVPR 2020, algorithm 1: rows of a Hadamard matrix and
of its negation where they go round, else bits drawn from a Bernoulli distribution. Which
rows and draws are kept is ours. The rows part the classes about evenly in each bit: the
first ones would leave bits that are alike in all classes, which no cosine to them teaches.
Of the draws each class takes the farthest from the classes before it.

A head whose outputs are not taken as bits can have all classes at right angles instead.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import hadamard
from torch import Tensor

from hashsearch.codes import check_bit_counts, hamming_distance, unpack_bits
from hashsearch.errors import ArgumentError

__all__ = ["hash_centres", "orthogonal_directions"]

# Up to so many bits every code is looked at, beyond them a sample of at least so many.
_ALL_BITS = 16
_DRAWS = 2**14
_ROW_DRAWS = 100


def hash_centres(n_classes: int, n_bits: int) -> Tensor:
    """Codes of the classes, the same whenever they are asked for.

    Where K = ``n_bits`` is a power of two and there are at most 2 K classes, any two of them
    differ in K / 2 bits or in all. Otherwise the least distance is what a greedy search
    finds: about half of 48 bits for 10 classes, a third of them for 300.

    Args:
        n_classes: how many there are.
        n_bits: length of a code, a multiple of 8.

    Returns:
        float32 ``(n_classes, n_bits)``, each +1 or -1, no two rows alike.

    Raises:
        ArgumentError: there are fewer codes of this length than classes.
    """
    check_bit_counts(n_bits)
    # A generator of its own: the run's seed decides how a network learns, not what.
    generator = np.random.default_rng(0)
    if n_bits.bit_count() == 1 and n_classes <= 2 * n_bits:
        matrix = hadamard(n_bits, dtype=np.int64)
        centres = _balanced_rows(np.concatenate([matrix, -matrix]), n_classes, generator)
    else:
        centres = np.where(unpack_bits(_far_apart(n_classes, n_bits, generator)), 1, -1)
    return torch.tensor(centres, dtype=torch.float32)


def orthogonal_directions(n_classes: int, n_dims: int) -> Tensor:
    """Directions of the classes, any two at right angles, the same whenever they are asked for.

    They are rows of a Hadamard matrix, some negated, but no row stands beside its negation as
    among the :func:`hash_centres`: an output can be near any two.

    Args:
        n_classes: how many there are, at most ``n_dims``.
        n_dims: a power of two.

    Returns:
        float32 ``(n_classes, n_dims)``, each +1 or -1.
    """
    generator = np.random.default_rng(0)
    # Its first column is all +1: signs part the classes there, too.
    rows = hadamard(n_dims, dtype=np.int64) * generator.choice([-1, 1], (n_dims, 1))
    return torch.tensor(_balanced_rows(rows, n_classes, generator), dtype=torch.float32)


def _balanced_rows(
    rows: npt.NDArray[np.int64], n_classes: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """``n_classes`` of the rows whose columns have about as many +1 as -1."""
    draws = (rows[generator.permutation(len(rows))[:n_classes]] for _ in range(_ROW_DRAWS))
    return min(draws, key=lambda draw: int(np.abs(draw.sum(axis=0)).max()))


def _far_apart(
    n_classes: int, n_bits: int, generator: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Packed codes, each the farthest from those before it: ``uint8 (n_classes, n_bits // 8)``."""
    if n_bits <= _ALL_BITS:
        words = generator.permutation(2**n_bits).astype("<u2").view(np.uint8)
        pool = words.reshape(-1, 2)[:, : n_bits // 8]
    else:
        draws = max(_DRAWS, 4 * n_classes)
        pool = generator.integers(0, 256, (draws, n_bits // 8), dtype=np.uint8)
    chosen = [0]
    nearest = hamming_distance(pool[:1], pool)[0]
    while len(chosen) < n_classes:
        farthest = int(nearest.argmax())
        if not nearest[farthest]:
            raise ArgumentError(
                f"{n_bits} bits cannot give each of {n_classes} classes a code of its own; "
                "take more with --bits"
            )
        chosen.append(farthest)
        np.minimum(nearest, hamming_distance(pool[[farthest]], pool)[0], out=nearest)
    return pool[chosen]
