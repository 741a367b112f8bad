"""``torchrun ... -m hashsearch train``: its encoder, its checkpoint, and how it ends."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

import numpy as np
import pytest
from source_fixtures import write_fashion_mnist

from hashsearch.codes import unpack_bits
from hashsearch.datasets import fashion_mnist
from hashsearch.encoder import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashsearch.encoder import EncoderRecord

pytestmark = pytest.mark.slow  # each starts Python three times

_PATIENCE = 300  # seconds: processes that wait for each other shall fail a test, not stop it
TORCHRUN = "-m torch.distributed.run --nproc-per-node 2"
TRAIN = (
    "--data-dir IDX --out own.onnx --backbone lenet --bits 16 --fine-bits 8 --batch-size 50 "
    "--epochs 2 --settle-epochs 1 --learning-rate 1e-3 --precision float32 --device cpu"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with images to train on in ``IDX``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_fashion_mnist(tmp_path / "IDX")
    return tmp_path


def run(line: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *shlex.split(line)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_PATIENCE)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name != "IDX")


def told(stderr: str) -> list[str]:
    """The lines that are ours, not torchrun's."""
    return [line for line in stderr.splitlines() if line.startswith(("Error", "Stopped", "epoch"))]


def maps(record: EncoderRecord) -> list[float]:
    return [report["validation_map"] for report in record.training["history"]]


def test_two_processes_write_the_encoder_of_one(folder: Path) -> None:
    done = run(f"{TORCHRUN} -m hashsearch train {TRAIN} --out two.onnx")
    assert done.returncode == 0
    assert done.stdout.startswith("two.onnx: validation mAP ")
    assert done.stdout.count("\n") == 1
    assert len(told(done.stderr)) == 3  # a line an epoch
    assert names(folder) == ["two.onnx"]
    assert run(f"-m hashsearch train {TRAIN} --out one.onnx").returncode == 0

    one, two = Encoder.load("one.onnx"), Encoder.load("two.onnx")
    assert two.record.training["processes"] == 2
    assert "processes" not in one.record.training
    assert maps(two.record) == pytest.approx(maps(one.record), abs=0.01)
    images = fashion_mnist.load("train", folder / "IDX").pixels
    bits = [unpack_bits(each.encode_pixels(images)) for each in (one, two)]
    # Rounding, which every step enlarges.
    assert np.mean(bits[0] != bits[1]) < 0.005


def test_a_killed_process_ends_all_and_torchrun_goes_on_after_the_last_epoch(folder: Path) -> None:
    with started(f"{TORCHRUN} --max-restarts 1 -m hashsearch train {TRAIN}") as torchrun:
        epoch = line_of(torchrun, "epoch 1/3")
        os.kill(first_of(torchrun.pid), signal.SIGKILL)
        lines = [epoch, *told(rest_of(torchrun))]
        assert torchrun.wait() == 0
    [error] = [place for place, line in enumerate(lines) if line.startswith("Error")]
    assert lines[error] == (
        "Error: another process of this training has ended; the same command goes on after the "
        "last epoch that was done"
    )
    done, again = lines[:error], lines[error + 1 :]
    # Those that were done are told again, as they were.
    assert again[: len(done)] == done
    assert [line.split()[1] for line in again] == ["1/3", "2/3", "3/3"]
    assert names(folder) == ["own.onnx"]


def test_ctrl_c_is_told_once_and_one_process_goes_on_alone(folder: Path) -> None:
    with started(f"{TORCHRUN} -m hashsearch train {TRAIN}") as torchrun:
        epoch = line_of(torchrun, "epoch 1/3")
        os.killpg(torchrun.pid, signal.SIGINT)  # as a terminal does
        *epochs, stopped = [epoch, *told(rest_of(torchrun))]
        assert torchrun.wait() == 1
    assert stopped.startswith("Stopped; nothing is half-written.")
    assert names(folder) == ["own.onnx.checkpoint"]

    done = run(f"-m hashsearch train {TRAIN}")
    assert done.returncode == 0
    assert told(done.stderr)[: len(epochs)] == epochs
    assert names(folder) == ["own.onnx"]


@pytest.mark.parametrize(
    ("one_gets", "message"),
    [
        ("--data-dir nowhere", "nowhere"),
        ("--seed 1", "the processes of this training were given different options or images;"),
    ],
    ids=["one fails", "all fail"],
)
def test_an_error_is_told_once_and_ends_all(folder: Path, one_gets: str, message: str) -> None:
    train = f"{shlex.quote(sys.executable)} -m hashsearch train {TRAIN}"
    script = f'if [ "$RANK" = 1 ]; then exec {train} {one_gets}; else exec {train}; fi'
    done = run(f"{TORCHRUN} --no-python sh -c {shlex.quote(script)}")
    assert done.returncode == 1
    assert not done.stdout
    [error] = told(done.stderr)
    assert message in error
    assert names(folder) == []


@contextmanager
def started(line: str) -> Iterator[subprocess.Popen[str]]:
    """In a group of its own, which Ctrl-C can be sent to."""
    # A process that ignores Ctrl-C, as one in the background may, passes that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, *shlex.split(line)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    watchdog = Timer(_PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    try:
        with process:
            yield process
    finally:
        watchdog.cancel()


def line_of(process: subprocess.Popen[str], start: str) -> str:
    """The next line that starts like this."""
    assert process.stderr
    return next(line.rstrip() for line in process.stderr if line.startswith(start))


def rest_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    return process.stderr.read()


def first_of(torchrun: int) -> int:
    """The process of rank 0."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    environments = {child: Path(f"/proc/{child}/environ").read_text() for child in children}
    [first] = [child for child, told in environments.items() if "\0RANK=0\0" in told]
    return int(first)
