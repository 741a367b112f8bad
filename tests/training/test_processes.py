"""Several processes train what one does: the gradients, the network, the files, the messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recorded import HELD_PHOTOS, PHOTOS, PLAN, PLANS, Recorded, record, write_photos
from toy import seeded, toy_set

from hashsearch.errors import ArgumentError
from hashsearch.images import FASHION_MNIST
from hashsearch.training.plan import plan_for
from hashsearch.training.processes import Processes
from hashsearch.training.run import train_encoder
from hashsearch.training.trainer import train
from hashsearch.training.views import Views

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


# --- shares ----------------------------------------------------------------------------


@given(n=st.integers(0, 50), size=st.integers(1, 9))
def test_shares_part_a_row_evenly(n: int, size: int) -> None:
    shares = [range(n)[Processes(rank=rank, size=size).share(n)] for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_view_does_not_depend_on_who_makes_it() -> None:
    pixels = torch.randint(0, 256, (10, 1, 28, 28), dtype=torch.uint8, generator=seeded())
    views = Views(FASHION_MNIST, torch.device("cpu"))
    whole = views.of(pixels, seeded(1))
    parts = [
        views.of(pixels[first:last], seeded(1), among=(first, 10)).chunk(2)
        for first, last in ((0, 4), (4, 10))
    ]
    assert torch.equal(
        whole, torch.cat([part for view in zip(*parts, strict=True) for part in view])
    )


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    toys = toy_set(100, seed=0), toy_set(40, seed=1)
    with pytest.raises(ArgumentError, match=r"3 processes .* batch of 32 evenly; .* 30$"):
        train(PLAN, *toys, FASHION_MNIST, processes=Processes(size=3))


def test_what_is_fitted_takes_one_process(tmp_path: Path) -> None:
    images, out = toy_set(8, seed=0, size=28), tmp_path / "x.onnx"
    with pytest.raises(ArgumentError, match=r"itq is fitted by one process, not by 2; .*torchrun$"):
        train_encoder(plan_for("itq"), images, out, dataset="toy", processes=Processes(size=2))
    assert not list(tmp_path.iterdir())


# --- two processes with half of each batch ---------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "photos"
    write_photos(folder)
    return folder


@pytest.fixture(scope="module")
def by_two(photos: Path) -> list[dict[str, Recorded]]:
    """What each of two processes has recorded of each plan."""
    out = photos.parent / "recorded"
    script = Path(__file__).with_name("recorded.py")
    subprocess.run([*TORCHRUN, script, photos, out], check=True, env=environment(), timeout=600)
    each = [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(2)]
    return [{name: Recorded(**some) for name, some in all_.items()} for all_ in each]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def flat(gradients: list[torch.Tensor | None]) -> torch.Tensor:
    return torch.cat([some.flatten() for some in gradients if some is not None])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLANS if name != "bfloat16"])
def test_two_processes_train_what_one_does(
    name: str, photos: Path, by_two: list[dict[str, Recorded]]
) -> None:
    one, two = record(name, photos), by_two[0][name]
    for whole, gathered in zip(one.gradients, two.gradients, strict=True):
        assert [some is None for some in whole] == [some is None for some in gathered]
        torch.testing.assert_close(flat(gathered), flat(whole), rtol=1e-9, atol=1e-11)
    assert len(one.steps) == len(two.steps) > 2
    for (terms, accuracy), (other_terms, other_accuracy) in zip(one.steps, two.steps, strict=True):
        assert other_terms == pytest.approx(terms, rel=1e-6)
        assert other_accuracy == accuracy
    assert two.maps == pytest.approx(one.maps)
    torch.testing.assert_close(two.network, one.network, rtol=1e-5, atol=1e-7)
    assert two.skipped == one.skipped
    assert len(two.skipped) == (2 if name in {PHOTOS, HELD_PHOTOS} else 0)


@pytest.mark.slow
def test_in_bfloat16_they_differ_by_its_rounding(
    photos: Path, by_two: list[dict[str, Recorded]]
) -> None:
    one, two = record("bfloat16", photos), by_two[0]["bfloat16"]
    (terms, _), (other_terms, _) = one.steps[0], two.steps[0]
    assert other_terms == pytest.approx(terms, rel=2**-8, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
def test_all_processes_have_the_same_network_to_the_last_bit(
    name: str, by_two: list[dict[str, Recorded]]
) -> None:
    first, second = (recorded[name] for recorded in by_two)
    torch.testing.assert_close(first.network, second.network, rtol=0, atol=0)
    assert first.steps == second.steps
    assert first.maps == second.maps
    assert first.skipped == second.skipped
