"""Texts of others (ids, labels, names of files) on one line of a given width."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["one_line", "shortened"]


def one_line(text: str) -> str:
    r"""The text without what ends a line or steers a terminal.

    >>> one_line("two\nlines")
    'two�lines'
    """
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def shortened(text: str, length: Callable[[str], float], most: float) -> str:
    """The text, or what fits of its beginning and its end: names differ at their ends.

    Args:
        text: on one line.
        length: measures a text.
        most: by that measure.

    >>> shortened("catalogue/dresses/0815.jpg", len, 14)
    'cata…/0815.jpg'
    """
    if length(text) <= most:
        return text

    def cut(kept: int) -> str:
        head = kept // 3
        return f"{text[:head]}…{text[len(text) - kept + head :]}"

    too_many = bisect_left(range(1, len(text)), True, key=lambda kept: length(cut(kept)) > most)
    return cut(too_many)
