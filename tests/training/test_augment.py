from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toy import seeded

from hashsearch.training.augment import erase, flip, warp

if TYPE_CHECKING:
    from collections.abc import Callable

EXTENTS = ("rotation", "scale", "shear", "shift", "brightness")
SIZE = 28
CENTRE = (SIZE - 1) / 2


def noise(n: int, channels: int = 1, height: int = SIZE, width: int = SIZE) -> Tensor:
    return torch.rand(n, channels, height, width, generator=seeded(9))


def warp_only(
    images: Tensor, generator: torch.Generator, *, graded: bool = False, **options: Any
) -> Tensor:
    """A warp whose other extents are 0."""
    all_extents: dict[str, Any] = {**dict.fromkeys(EXTENTS, 0.0), **options}
    return warp(images, generator, graded=graded, **all_extents)


def dots(n: int, right: float, down: float) -> Tensor:
    """A smooth dot at an offset from the image's centre, in pixels: ``(n, 1, 28, 28)``."""
    along = torch.arange(SIZE) - CENTRE
    dot = torch.exp(-((along[:, None] - down) ** 2 + (along[None, :] - right) ** 2) / 4)
    return dot.expand(n, 1, SIZE, SIZE).clone()


def places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where each image's centre of mass lies from its middle, in pixels: right, down."""
    along = torch.arange(SIZE) - CENTRE
    mass = images.sum(dim=(1, 2, 3))
    right = (images.sum(dim=(1, 2)) * along).sum(dim=1) / mass
    down = (images.sum(dim=(1, 3)) * along).sum(dim=1) / mass
    return right, down


@pytest.mark.parametrize("view", [flip, warp, erase])
@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 1, 28, 28), (5, 3, 16, 12)])
def test_the_shape_stays(
    view: Callable[[Tensor, torch.Generator], Tensor], shape: tuple[int, ...]
) -> None:
    made = view(noise(*shape), seeded())
    assert made.shape == shape
    assert made.dtype == torch.float32


@pytest.mark.parametrize("view", [flip, warp, erase])
def test_the_generator_decides(view: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    images = noise(16)
    before = images.clone()
    assert torch.equal(view(images, seeded(4)), view(images, seeded(4)))
    assert not torch.equal(view(images, seeded(4)), view(images, seeded(5)))
    assert torch.equal(images, before)


def test_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = noise(400, channels=3, height=6, width=5)
    mirrored = [
        torch.equal(made, image[:, :, torch.arange(4, -1, -1)])
        for made, image in zip(flip(images, seeded()), images, strict=True)
    ]
    same = [
        torch.equal(made, image) for made, image in zip(flip(images, seeded()), images, strict=True)
    ]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 150 < sum(mirrored) < 250


@given(st.integers(2, 30), st.integers(2, 30), st.booleans(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=25)
def test_a_warp_of_no_extent_is_the_identity(
    height: int, width: int, graded: bool, seed: int
) -> None:
    images = noise(3, channels=2, height=height, width=width)
    made = warp_only(images, seeded(seed), graded=graded)
    torch.testing.assert_close(made, images, atol=1e-4, rtol=0)


def test_a_shift_moves_each_way_by_at_most_its_extent() -> None:
    images = dots(300, right=0, down=0)
    made = warp_only(images, seeded(), shift=1.4)
    for moved in places(made):
        assert moved.abs().max() < 1.41
        assert moved.max() > 1.3
        assert moved.min() < -1.3
    # Nothing else happened: each is the dot drawn where it went (to the blur of resampling).
    expected = torch.cat(
        [dots(1, float(right), float(down)) for right, down in zip(*places(made), strict=True)]
    )
    torch.testing.assert_close(made, expected, atol=0.13, rtol=0)


def test_a_rotation_turns_about_the_middle_by_at_most_its_extent() -> None:
    made = warp_only(dots(300, right=7, down=0), seeded(), rotation=10.0)
    right, down = places(made)
    torch.testing.assert_close(torch.hypot(right, down), torch.full((300,), 7.0), atol=0.1, rtol=0)
    angle = torch.rad2deg(torch.atan2(down, right))
    assert 9.5 < angle.max() < 10.2
    assert -10.2 < angle.min() < -9.5


def test_a_scale_moves_away_from_the_middle_by_at_most_its_extent() -> None:
    made = warp_only(dots(300, right=6, down=3), seeded(), scale=0.125)
    right, down = places(made)
    torch.testing.assert_close(down / right, torch.full((300,), 0.5), atol=0.02, rtol=0)
    assert 1.11 < right.max() / 6 < 1.14
    assert 0.86 < right.min() / 6 < 0.89


def test_a_shear_moves_sideways_by_at_most_its_extent_a_pixel_down() -> None:
    made = warp_only(dots(300, right=0, down=8), seeded(), shear=0.1)
    right, down = places(made)
    torch.testing.assert_close(down, torch.full((300,), 8.0), atol=0.05, rtol=0)
    assert 0.75 < right.max() < 0.82
    assert -0.82 < right.min() < -0.75


def test_brightness_multiplies_a_whole_image() -> None:
    images = 0.5 + noise(300)
    gain = warp_only(images, seeded(), brightness=0.15) / images
    per_image = gain.mean(dim=(1, 2, 3))
    torch.testing.assert_close(
        gain, per_image[:, None, None, None].expand_as(gain), atol=0.02, rtol=0
    )
    assert 1.14 < per_image.max() < 1.151
    assert 0.849 < per_image.min() < 0.86


def test_graded_views_lie_nearer_to_the_images() -> None:
    images = dots(400, right=0, down=0)
    full, graded = (
        torch.hypot(*places(warp_only(images, seeded(), graded=graded, shift=1.4)))
        for graded in (False, True)
    )
    # The strength is uniform between 0 and 1: half on average, and often nearly none.
    assert float(graded.mean()) == pytest.approx(float(full.mean()) / 2, rel=0.1)
    assert (graded < 0.2).float().mean() > 2 * (full < 0.2).float().mean()


@given(st.sampled_from([8, 28, 32]), st.sampled_from([8, 28, 36]), st.integers(0, 2**32))
@settings(deadline=None, max_examples=25)
def test_what_is_erased_is_one_rectangle_of_a_sixteenth_to_a_quarter(
    height: int, width: int, seed: int
) -> None:
    images = 0.5 + noise(20, channels=2, height=height, width=width)
    made = erase(images, seeded(seed), probability=1.0)
    for image, erased in zip(images, made, strict=True):
        gone = erased[0] == 0
        assert torch.equal(erased[1] == 0, gone)
        assert torch.equal(erased[:, ~gone], image[:, ~gone])
        rows, columns = gone.any(dim=1), gone.any(dim=0)
        assert torch.equal(gone, rows[:, None] & columns[None, :])
        for span, side in ((rows, height), (columns, width)):
            covered = torch.nonzero(span).squeeze(1)
            assert side / 4 <= len(covered) <= side / 2
            assert covered[-1] - covered[0] + 1 == len(covered)
        assert 1 / 16 <= float(gone.float().mean()) <= 1 / 4


@pytest.mark.parametrize(("probability", "least", "most"), [(0, 0, 0), (0.5, 150, 250)])
def test_erase_touches_the_share_that_it_is_told(probability: float, least: int, most: int) -> None:
    made = erase(0.5 + noise(400), seeded(), probability=probability)
    assert least <= int((made == 0).any(dim=3).any(dim=2).sum()) <= most


def test_all_of_an_image_can_be_erased_somewhere() -> None:
    gone = (erase(0.5 + noise(2000), seeded(), probability=1.0) == 0).float().mean(dim=(0, 1))
    assert gone.min() > 0
    # On average (3/8)^2 of an image, as much of it above as below.
    assert float(gone.mean()) == pytest.approx((3 / 8) ** 2, rel=0.05)
    assert float(gone[:14].mean()) == pytest.approx(float(gone[14:].mean()), rel=0.1)


def test_a_border_is_drawn_out_where_zeros_would_be_black() -> None:
    white = torch.ones(8, 3, SIZE, SIZE)
    black = warp_only(white, seeded(), shift=6.0)
    assert (black == 0).any()
    assert torch.allclose(warp_only(white, seeded(), shift=6.0, padding="border"), white)


def test_where_the_view_lies_inside_the_padding_changes_nothing() -> None:
    images = noise(4)
    views = [warp_only(images, seeded(), shift=3.0, padding=way) for way in ("zeros", "border")]
    assert torch.equal(views[0][:, :, 4:-4, 4:-4], views[1][:, :, 4:-4, 4:-4])
