"""Lists: text files with an id, or a name of a file, a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashsearch.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_ids", "read_lines"]


def read_ids(path: Path) -> list[str]:
    """The ids of a file in UTF-8, one a line, each once; empty lines are passed over.

    Raises:
        DatasetError: it cannot be read, is no text, or lists nothing.
    """
    return [*dict.fromkeys(read_lines(path, "id"))]


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a file in UTF-8 that are not empty.

    Args:
        path: the file.
        what: stands on a line, for messages.

    Raises:
        DatasetError: it cannot be read, is no text, or lists nothing.
    """
    try:
        # Lines as the file has them: a name may hold what else counts as the end of one.
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise DatasetError(
            f"cannot read {path}: {error.strerror}; give a file with one {what} a line"
        ) from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if not any(lines):
        raise DatasetError(f"{path} lists no {what}; write one a line")
    return [line for line in lines if line]
