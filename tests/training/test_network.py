from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from toy import seeded

from hashsearch.errors import ArgumentError
from hashsearch.training.backbones import SmallResNet
from hashsearch.training.network import HashNetwork


def network(n_bits: int = 16, fine_bits: int = 8, channels: int = 1) -> HashNetwork:
    torch.manual_seed(0)
    return HashNetwork("small-resnet", channels, n_bits, fine_bits)


def pixels(n: int, channels: int = 1, size: int = 28) -> Tensor:
    return torch.randn(n, channels, size, size, generator=seeded())


@pytest.mark.parametrize(("n_bits", "fine_bits"), [(8, 8), (48, 64), (256, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_outputs_are_as_wide_as_the_codes(n_bits: int, fine_bits: int, channels: int) -> None:
    made = network(n_bits, fine_bits, channels)
    semantic, fine = made(pixels(3, channels))
    assert semantic.shape == (3, n_bits)
    assert fine.shape == (3, fine_bits)
    assert semantic.dtype == fine.dtype == torch.float32


def test_without_fine_bits_there_is_one_output() -> None:
    made = network(n_bits=48, fine_bits=0)
    (semantic,) = made(pixels(3))
    assert semantic.shape == (3, 48)
    assert made.heads(pixels(3))[1] is None
    assert not [name for name, _ in made.named_parameters() if "fine" in name]


def test_heads_and_forward_say_the_same() -> None:
    made = network()
    made(pixels(32))  # for statistics that are not the initial ones
    made.eval()
    images = pixels(5)
    outputs, fine = made.heads(images)
    semantic, forward_fine = made(images)
    assert torch.equal(semantic, outputs.semantic)
    assert fine is not None
    assert torch.equal(forward_fine, fine)
    assert torch.equal(made.semantic_head(outputs.features), outputs.semantic)


def test_in_eval_mode_an_image_has_one_code_whatever_the_batch() -> None:
    made = network()
    made(pixels(32))
    made.eval()
    images = pixels(6)
    together = torch.cat(made(images), dim=1)
    alone = torch.cat([torch.cat(made(image[None]), dim=1) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_fine_outputs_are_standardised_over_the_batch() -> None:
    _, fine = network(fine_bits=64)(pixels(64))
    torch.testing.assert_close(fine.mean(dim=0), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(fine.std(dim=0, correction=0), torch.ones(64), atol=1e-3, rtol=0)
    assert 0.4 < float((fine >= 0).float().mean()) < 0.6


def test_detached_outputs_are_the_same_values_without_the_network() -> None:
    outputs, _ = network().heads(pixels(2))
    detached = outputs.detached()
    assert torch.equal(detached.semantic, outputs.semantic)
    assert torch.equal(detached.features, outputs.features)
    assert outputs.semantic.requires_grad
    assert not detached.semantic.requires_grad
    assert not detached.features.requires_grad


def test_the_parameters_are_as_many_as_the_docstring_says() -> None:
    stated = re.search(r"([\d.]+) M parameters", str(SmallResNet.__doc__))
    assert stated
    count = sum(parameter.numel() for parameter in SmallResNet(1, 28).parameters())
    assert round(count / 1e6, 2) == float(stated[1])


def test_an_unknown_backbone_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(ArgumentError, match="unknown backbone 'vgg'; known: small-resnet, lenet"):
        HashNetwork("vgg", 1, 48, 64)


@pytest.mark.parametrize(("n_bits", "fine_bits"), [(0, 0), (12, 0), (48, 12), (48, -8)])
def test_bit_counts_that_fill_no_bytes_are_refused(n_bits: int, fine_bits: int) -> None:
    with pytest.raises(ArgumentError, match="multiple of 8"):
        HashNetwork("small-resnet", 1, n_bits, fine_bits)
