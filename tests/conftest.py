from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: there is a process a core already.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from tiny_encoder import encoder_bytes

from hashsearch.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hashsearch.cluster.local import LocalCluster

# A machine that is busy with something else must not fail a test.
settings.register_profile("hashsearch", deadline=None)
settings.load_profile("hashsearch")


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder whose bits mean nothing, made in no time."""
    path = tmp_path_factory.mktemp("encoders") / "tiny.onnx"
    path.write_bytes(encoder_bytes())
    return path


PHOTOS_PER_TYPE = 8


class Outcome(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error, of a command that printed nothing else."""
        assert self.out == ""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1
        assert self.err.startswith("Error: ")
        return self.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def run(*args: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        assert isinstance(left.value.code, int)
        return Outcome(left.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two types of images."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for kind, low in (("dark", 0), ("light", 120)):
        (folder / kind).mkdir(parents=True)
        for number in range(PHOTOS_PER_TYPE):
            pixels = rng.integers(low, low + 136, (28, 28), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, photos: Path, encoder_file: Path
) -> Path:
    """A working folder with the gallery ``shop`` in its ``indexes``."""
    monkeypatch.chdir(tmp_path)
    assert run("build-index", photos, "--name", "shop", "-e", encoder_file).status == 0
    return tmp_path


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A Ray cluster of three nodes, each with processes of its own."""
    pytest.importorskip("ray")
    from hashsearch.cluster.local import local_cluster  # noqa: PLC0415 - Ray may not be installed

    with local_cluster(nodes=3) as started:
        yield started
