"""One writer at a time: a lock file beside the gallery."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hashsearch.errors import GalleryBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked"]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``NAME.h5.lock`` while the body runs; the system frees it if the process dies.

    Raises:
        GalleryBusy: another process, or another part of this one, holds it.
        OSError: the folder refuses a lock file.
    """
    lock_path = path.with_name(f"{path.name}.lock")
    descriptor = _acquire(lock_path, path)
    try:
        yield
    finally:
        with suppress(OSError):  # a file that stays is in nobody's way
            lock_path.unlink()
        os.close(descriptor)


def _acquire(lock_path: Path, path: Path) -> int:
    while True:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us removes the file as it leaves: then what was locked here
            # has no name any more and locks nobody out.
            if os.path.samestat(os.fstat(descriptor), lock_path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise GalleryBusy(f"another process is writing {path}; wait until it is done") from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
