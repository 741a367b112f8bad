"""Bits, packed codes and Hamming distance: the slow, obvious reference.

A code is the semantic code (``n_bits``) followed by the fine code (``fine_bits``),
packed eight bits to a byte, least significant bit first. Both parts are whole bytes,
so they can be cut apart by a slice. Everything here is NumPy; the search engine is
tested against :func:`hamming_distance`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hashsearch.errors import ArgumentError, CodesError

__all__ = [
    "check_bit_counts",
    "check_codes",
    "hamming_distance",
    "pack_bits",
    "split_codes",
    "unpack_bits",
]


def check_bit_counts(n_bits: int, fine_bits: int = 0) -> None:
    """Refuse bit counts that do not fill whole bytes.

    Args:
        n_bits: length of the semantic code in bits; a positive multiple of 8.
        fine_bits: length of the fine code in bits; 0 or a multiple of 8.

    Raises:
        ArgumentError: one of them is not.
    """
    if n_bits <= 0 or n_bits % 8:
        raise ArgumentError(f"n_bits must be a positive multiple of 8, not {n_bits}")
    if fine_bits < 0 or fine_bits % 8:
        raise ArgumentError(f"fine_bits must be 0 or a multiple of 8, not {fine_bits}")


def check_codes(codes: npt.ArrayLike, n_bits: int, fine_bits: int = 0) -> npt.NDArray[np.uint8]:
    """The same codes as a C-contiguous array, or an error that says what is wrong.

    Args:
        codes: ``uint8 (n, (n_bits + fine_bits) // 8)``.
        n_bits: length of the semantic code in bits.
        fine_bits: length of the fine code in bits.

    Returns:
        ``uint8 (n, (n_bits + fine_bits) // 8)``, C-contiguous.

    Raises:
        CodesError: another dtype, number of dimensions or width.
    """
    array = np.asarray(codes)
    width = (n_bits + fine_bits) // 8
    if array.dtype != np.uint8 or array.ndim != 2:
        raise CodesError(
            f"codes must be a uint8 array of shape (n, {width}), not {array.dtype} "
            f"{array.shape}; pack bits with hashsearch.codes.pack_bits"
        )
    if array.shape[1] != width:
        raise CodesError(
            f"codes are {array.shape[1]} bytes wide, but {n_bits} + {fine_bits} bits need "
            f"{width}; use the encoder (or bit counts) that made the codes"
        )
    return np.ascontiguousarray(array)


def pack_bits(bits: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Pack bits into bytes, least significant bit first.

    Args:
        bits: ``bool (n, b)`` (or anything that is 0 or 1), ``b`` a multiple of 8.

    Returns:
        ``uint8 (n, b // 8)``.

    Raises:
        CodesError: not two-dimensional, or ``b`` is no multiple of 8.

    >>> pack_bits([[1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1]])
    array([[  1],
           [192]], dtype=uint8)
    """
    array = np.asarray(bits, dtype=bool)
    if array.ndim != 2 or array.shape[1] % 8:
        raise CodesError(f"bits must have shape (n, a multiple of 8), not {array.shape}")
    return np.packbits(array, axis=1, bitorder="little")


def unpack_bits(codes: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """The inverse of :func:`pack_bits`: ``uint8 (n, w)`` to ``bool (n, 8 * w)``.

    >>> unpack_bits(np.array([[3]], dtype=np.uint8)).astype(int)
    array([[1, 1, 0, 0, 0, 0, 0, 0]])
    """
    array = np.asarray(codes)
    if array.dtype != np.uint8 or array.ndim != 2:
        raise CodesError(f"codes must be uint8 (n, bytes), not {array.dtype} {array.shape}")
    return np.unpackbits(array, axis=1, bitorder="little").astype(bool)


def split_codes(
    codes: npt.NDArray[np.uint8], n_bits: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Cut codes into their semantic and their fine part (views, nothing is copied).

    Args:
        codes: ``uint8 (n, width)``.
        n_bits: length of the semantic code in bits.

    Returns:
        ``uint8 (n, n_bits // 8)`` and ``uint8 (n, width - n_bits // 8)``.
    """
    return codes[:, : n_bits // 8], codes[:, n_bits // 8 :]


def hamming_distance(
    queries: npt.NDArray[np.uint8], gallery: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int32]:
    """The number of differing bits between every query and every gallery code.

    Args:
        queries: ``uint8 (q, width)``.
        gallery: ``uint8 (n, width)``.

    Returns:
        ``int32 (q, n)``, in bits.

    Raises:
        CodesError: the widths differ.

    >>> hamming_distance(np.array([[0], [255]], np.uint8), np.array([[0], [1], [3]], np.uint8))
    array([[0, 1, 2],
           [8, 7, 6]], dtype=int32)
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise CodesError(
            f"codes of shapes {queries.shape} and {gallery.shape} cannot be compared; "
            "both must be (n, bytes) with the same number of bytes"
        )
    distance = np.zeros((len(queries), len(gallery)), dtype=np.int32)
    for byte in range(queries.shape[1]):
        distance += np.bitwise_count(queries[:, byte, None] ^ gallery[None, :, byte])
    return distance
