"""A list of ids: a text file with one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashsearch.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_ids"]


def read_ids(path: Path) -> list[str]:
    """The ids of a file in UTF-8, one a line, each once; empty lines are passed over.

    Raises:
        DatasetError: it cannot be read, is no text, or lists nothing.
    """
    try:
        # Lines as the file has them: an id may hold what else counts as the end of one.
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}; give a file of ids") from None
    ids = dict.fromkeys(line.removesuffix("\r") for line in text.split("\n"))
    ids.pop("", None)
    if not ids:
        raise DatasetError(f"{path} lists no id; write one a line")
    return [*ids]
