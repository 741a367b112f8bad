"""Where hashsearch keeps what it can make or download again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """The user's cache folder; it need not exist yet.

    ``$HASHSEARCH_CACHE`` if set, else ``$XDG_CACHE_HOME/hashsearch``, else
    ``~/.cache/hashsearch``.
    """
    own = os.environ.get("HASHSEARCH_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says to ignore a relative path.
    base = Path(shared) if shared and Path(shared).is_absolute() else Path.home() / ".cache"
    return base / "hashsearch"
