"""The state of a training run in a file: whole, checked, and of this very run."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from hashsearch.errors import TrainingError, first_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read", "write"]

_VERSION = 1


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a state; the file is the old one or the new one, never half of it.

    Args:
        path: of the checkpoint.
        state: tensors, numbers and text; ``identity`` says which run it belongs to.

    Raises:
        TrainingError: the folder or the disk refuses it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save({"version": _VERSION, **state}, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save meets a full disk with either
        raise TrainingError(
            f"{path} cannot be written ({first_line(error)}); make room, or name another "
            "file with --out"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, identity: str) -> dict[str, Any]:
    """Read a state; nothing in the file is executed.

    Args:
        path: of the checkpoint.
        identity: of the run that wants to go on.

    Returns:
        What :func:`write` was given, its tensors on the CPU.

    Raises:
        TrainingError: the file is damaged, or belongs to another run.
    """
    try:
        # torch.load does not look at the checksums that torch.save wrote.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        run = state["version"], state["identity"]
    except Exception as error:  # torch.load meets damaged files with any exception
        raise TrainingError(
            f"{path} is no checkpoint that can be read ({first_line(error)}); remove it, or "
            "start over with --fresh"
        ) from error
    if run != (_VERSION, identity):
        raise TrainingError(
            f"{path} belongs to a run with other options or images; finish that run, or "
            "start over with --fresh"
        )
    return state
