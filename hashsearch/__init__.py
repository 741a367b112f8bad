"""Find fashion items by photo: exact Hamming search over learned binary codes.

>>> import hashsearch as hs
>>> hs.Encoder, hs.Gallery, hs.Matches, hs.HashsearchError
(<class '...Encoder'>, <class '...Gallery'>, <class '...Matches'>, <class '...HashsearchError'>)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashsearch.encoder import Encoder
    from hashsearch.errors import HashsearchError
    from hashsearch.gallery import Gallery, Matches

__all__ = ["Encoder", "Gallery", "HashsearchError", "Matches", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "Encoder": "hashsearch.encoder",
    "Gallery": "hashsearch.gallery",
    "HashsearchError": "hashsearch.errors",
    "Matches": "hashsearch.gallery",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: ONNX Runtime and FAISS take a while."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
