"""The machine that a number was measured on: what matters to the number, no names, no paths."""

from __future__ import annotations

import json
import os
import platform
import re
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashsearch.gallery.threads import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["describe_machine", "held_by", "held_from_now", "one_core", "peak_memory", "publish"]

_PACKAGES = (
    "hashsearch",
    "numpy",
    "scipy",
    "h5py",
    "pillow",
    "onnxruntime",
    "faiss-cpu",
    "faiss-gpu",
    "torch",
)


def publish(report: Mapping[str, Any], lines: Iterable[str], out: Path | None) -> None:
    """What a measuring command ends with: its figures as a JSON file, and in words.

    Args:
        report: ready for JSON.
        lines: what it says, to be printed.
        out: the file; None: none.
    """
    if out is not None:
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for line in lines:
        print(line)  # noqa: T201 - its report


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system and package versions, ready for JSON.

    Returns:
        ``cpu`` (model), ``cores`` (that this process may use), ``memory_gib`` (of the
        machine, None where the system does not say), ``system``, ``python``,
        ``packages`` (version by distribution name, installed ones only).
    """
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": _versions(),
    }


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and those that it starts, to one core, where the system can.

    Some engines have a pool of threads that nothing else limits.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def held_by(process: int) -> dict[str, int]:
    """Bytes of memory that a process holds: nothing where it is gone.

    Returns:
        ``own_bytes`` (anonymous memory) and ``file_bytes`` (pages of files, which the system takes
        back when it needs them).
    """
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return {}
    kib = dict(re.findall(r"^Rss(Anon|File):\s+(\d+) kB$", status, re.MULTILINE))
    if not kib:
        return {}
    return {"own_bytes": 1024 * int(kib["Anon"]), "file_bytes": 1024 * int(kib["File"])}


def held_from_now() -> int:
    """Bytes of memory that this process holds; its peak counts from here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_memory()


def peak_memory() -> int:
    """The most bytes of memory that this process has held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(kib)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), "") or platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not every system names both
        return None


def _versions() -> dict[str, str]:
    installed = {
        distribution.metadata["Name"]: distribution.version
        for distribution in metadata.distributions()
    }
    return {name: installed[name] for name in _PACKAGES if name in installed}
