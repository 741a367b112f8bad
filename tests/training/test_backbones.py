from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torchvision import models
from toy import fashion_record, seeded, toy_set

from hashsearch.cli import cli
from hashsearch.codes import unpack_bits
from hashsearch.datasets.fashion_mnist import sample
from hashsearch.encoder import Encoder
from hashsearch.errors import ArgumentError, ExtraMissing, TrainingError
from hashsearch.images import FASHION_MNIST, normalise
from hashsearch.training import backbones
from hashsearch.training.backbones import (
    BACKBONES,
    Backbone,
    LeNet,
    SmallResNet,
    check_backbone,
    make_backbone,
)
from hashsearch.training.export import export
from hashsearch.training.network import HashNetwork
from hashsearch.training.plan import TrainingPlan
from hashsearch.training.trainer import TrainedNetwork, train

# Pixels a side that the network is fed with, for 28 x 28 images; the layer of the early
# maps; the last layer, which must be gone.
FAMILIES = {
    "alexnet": (64, "features.4", "classifier.6"),
    "resnet18": (64, "layer2", "fc"),
    "densenet121": (64, "features.denseblock2", "classifier"),
    "squeezenet1_0": (64, "features.10", "classifier.1"),
    "mobilenet_v3_small": (64, "features.3", "classifier.3"),
    "shufflenet_v2_x0_5": (64, "stage2", "fc"),
    "inception_v3": (75, "Mixed_5d", "fc"),
    "swin_t": (64, "features.3", "head"),
}
SMALL = "shufflenet_v2_x0_5"


@cache
def network(name: str) -> HashNetwork:
    torch.manual_seed(0)
    return HashNetwork(name, 1, 16, 8)


@cache
def images(n: int = 4) -> Tensor:
    """Real images: float32 ``(n, 1, 28, 28)``."""
    rows = np.linspace(0, len(sample()) - 1, n, dtype=int)
    return torch.from_numpy(normalise(sample().pixels[rows], FASHION_MNIST))


@torch.no_grad()
def outputs(backbone: Backbone, pixels: Tensor) -> tuple[Tensor, Tensor]:
    backbone.eval()
    early, features = backbone(pixels)
    backbone.train()
    return early, features


# --- every backbone ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BACKBONES, *FAMILIES])
def test_a_backbone_feeds_both_heads_and_learns_from_both(name: str) -> None:
    made = network(name)
    early, features = made.backbone(images())
    assert early.shape[:2] == (4, made.backbone.early_channels)
    assert early.ndim == 4
    assert features.shape == (4, made.backbone.n_features)

    heads, fine = made.heads(images())
    assert fine is not None
    assert heads.semantic.shape == (4, 16)
    assert fine.shape == (4, 8)
    assert heads.semantic.isfinite().all()
    assert fine.isfinite().all()

    parameters = [*made.backbone.parameters()]
    # Weighted at random: the sum of outputs that are standardised teaches nothing.
    of_fine = (fine * torch.randn(4, 8, generator=seeded())).sum()
    fine_gradients = torch.autograd.grad(of_fine, parameters, retain_graph=True, allow_unused=True)
    semantic_gradients = torch.autograd.grad(heads.semantic.square().sum(), parameters)
    for gradients in (fine_gradients, semantic_gradients):
        assert gradients[0] is not None
        assert gradients[0].abs().max() > 0
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


# --- our own -----------------------------------------------------------------------------


def test_a_seed_gives_the_small_resnet_that_it_always_gave() -> None:
    torch.manual_seed(0)
    made = HashNetwork("small-resnet", 1, 48, 64)
    values = nn.utils.parameters_to_vector(made.parameters()).detach().double()
    assert float(values.sum()) == pytest.approx(1082.92325, abs=1e-3)
    assert float(values.abs().sum()) == pytest.approx(15306.29356, abs=1e-3)
    fine_head = values[-64 * 64 * 7 * 7 :]  # the last that is drawn
    first = [0.012237555347, 0.004679213744, -0.017382198945]
    assert fine_head[:3].tolist() == pytest.approx(first, rel=1e-6)


def test_lenet_is_that_of_its_figure() -> None:
    made = LeNet(1, 28)
    early, features = made(images())
    assert early.shape == (4, 16, 10, 10)
    assert features.shape == (4, 84)
    c1, c3, c5, f6 = 6 * (25 + 1), 16 * (6 * 25 + 1), 120 * (400 + 1), 84 * (120 + 1)
    assert sum(parameter.numel() for parameter in made.parameters()) == c1 + c3 + c5 + f6


@pytest.mark.parametrize(("size", "side"), [(12, 2), (13, 2), (28, 10), (32, 12), (65, 28)])
def test_lenet_takes_images_from_12_pixels_up(size: int, side: int) -> None:
    early, features = LeNet(3, size)(torch.randn(2, 3, size, size, generator=seeded()))
    assert early.shape == (2, 16, side, side)
    assert features.shape == (2, 84)


def test_images_too_small_for_lenet_are_refused() -> None:
    with pytest.raises(ArgumentError, match="lenet needs images of 12 pixels a side, not 11"):
        make_backbone("lenet", 1, 11)


@pytest.mark.parametrize("size", [8, 28, 33])
def test_small_resnet_takes_images_of_any_size(size: int) -> None:
    early, features = SmallResNet(3, size)(torch.randn(2, 3, size, size, generator=seeded()))
    assert early.shape == (2, 64, (size + 1) // 2, (size + 1) // 2)
    assert features.shape == (2, 128)


# --- torchvision's -----------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_outputs_are_those_of_torchvisions_own_model(name: str) -> None:
    side, early_path, head = FAMILIES[name]
    backbone = network(name).backbone
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):  # its weights come from the backbone
        reference = models.get_model(name, **options)
    state = {path.removeprefix("model."): value for path, value in backbone.state_dict().items()}
    lacking, foreign = reference.load_state_dict(state, strict=False, assign=True)
    assert [path.rsplit(".", 1)[0] for path in lacking] == [head] * len(lacking)
    assert lacking
    assert not foreign

    seen: dict[str, Tensor] = {}
    reference.get_submodule(early_path).register_forward_hook(
        lambda _module, _inputs, output: seen.update(early=output.clone())
    )
    reference.get_submodule(head).register_forward_pre_hook(
        lambda _module, inputs: seen.update(features=inputs[0].clone())
    )
    pixels = nn.functional.interpolate(images(), (side, side), mode="bilinear")
    reference.eval()
    reference.get_submodule(head).to_empty(device="cpu")
    reference(pixels.repeat(1, 3, 1, 1))
    if name == "swin_t":  # the channels come last
        seen["early"] = seen["early"].movedim(3, 1)
    if name == "squeezenet1_0":  # it classifies each place
        seen["features"] = seen["features"].mean(dim=(2, 3))

    early, features = outputs(backbone, images())
    torch.testing.assert_close(early, seen["early"])
    torch.testing.assert_close(features, seen["features"])


def test_colours_are_told_apart_and_grey_is_all_of_them() -> None:
    torch.manual_seed(0)
    backbone = make_backbone(SMALL, 3, 28)
    backbone.load_state_dict(network(SMALL).backbone.state_dict())
    grey = images().expand(-1, 3, -1, -1)
    torch.testing.assert_close(outputs(backbone, grey), outputs(network(SMALL).backbone, images()))
    red = grey * torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    assert not torch.allclose(outputs(backbone, red)[1], outputs(backbone, grey)[1])


@pytest.mark.parametrize(("size", "side"), [(8, 8), (28, 8), (64, 8), (96, 12)])
def test_images_are_enlarged_only_where_they_are_small(size: int, side: int) -> None:
    early, features = make_backbone(SMALL, 1, size)(torch.randn(2, 1, size, size))
    assert early.shape == (2, 48, side, side)
    assert features.shape == (2, 1024)


def test_a_network_that_torchvision_does_not_know_is_refused_with_what_is_near() -> None:
    for name, near in {
        "vgg": "vgg",
        "ResNet18": "resnet18",
        "le-net": "lenet",
        "small_resnet": "small-resnet",
    }.items():
        with pytest.raises(ArgumentError, match=f"did you mean .*{near}") as caught:
            check_backbone(name, "none")
        assert f"unknown backbone {name!r}; known: small-resnet, lenet, and" in str(caught.value)
    with pytest.raises(ArgumentError, match=r"torchvision.models by its name, such as alexnet$"):
        make_backbone("huge", 1, 28)
    with pytest.raises(ArgumentError, match="unknown backbone 'raft_large'"):  # no classifier
        TrainingPlan(backbone="raft_large")


@pytest.mark.parametrize("name", ["vit_h_14", "regnet_y_128gf"])
def test_a_network_that_no_encoder_can_hold_is_refused_before_it_is_made(name: str) -> None:
    with pytest.raises(ArgumentError, match=rf"{name} has 6\d\d M .*; take a smaller backbone"):
        TrainingPlan(backbone=name)


def test_torchvision_is_imported_only_for_its_own_networks() -> None:
    lines = [
        "import sys",
        "from hashsearch.training.network import HashNetwork",
        "from hashsearch.training.plan import TrainingPlan",
        "for name in ('small-resnet', 'lenet'):",
        "    HashNetwork(TrainingPlan(backbone=name).backbone, 1, 8, 0)",
        "assert 'torchvision' not in sys.modules",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_without_torchvision_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(backbones, "torchvision_backbone", raising=False)
    monkeypatch.delitem(sys.modules, f"{backbones.__name__}.torchvision_backbone", raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ExtraMissing, match=r"'alexnet' is none of .* torchvision: install"):
        TrainingPlan(backbone="alexnet")
    TrainingPlan(backbone="lenet")


# --- export ------------------------------------------------------------------------------


@torch.no_grad()
def settled(name: str, pixels: Tensor) -> HashNetwork:
    """A network whose statistics are those of the images, so that its bits divide them."""
    made = network(name)
    norms = [
        module for module in made.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    made.train()(pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    made.eval()
    heads, _ = made.heads(pixels)
    assert isinstance(made.semantic_head, nn.Linear)
    made.semantic_head.bias.sub_(heads.semantic.mean(dim=0))
    return made


@pytest.mark.parametrize(
    "name",
    [
        "lenet",
        *(
            name if name == "alexnet" else pytest.param(name, marks=pytest.mark.slow)
            for name in FAMILIES
        ),
    ],
)
def test_an_exported_network_sets_the_same_bits(name: str, tmp_path: Path) -> None:
    pixels = sample().pixels[:: len(sample()) // 40]
    made = settled(name, torch.from_numpy(normalise(pixels, FASHION_MNIST)))
    path = tmp_path / "moment.onnx"
    export(made, fashion_record("adversarial", name, 16, 8), path)
    bits = unpack_bits(Encoder.load(path).encode_pixels(pixels, batch_size=16))
    with torch.no_grad():
        expected = torch.cat(made(torch.from_numpy(normalise(pixels, FASHION_MNIST))), dim=1)
    clear = (expected.abs() > 1e-5).numpy()
    assert clear.mean() > 0.9
    assert (bits == (expected >= 0).numpy())[clear].all()
    assert len(np.unique(bits, axis=0)) > 10
    # What only classified is not in the file.
    count = sum(value.numel() for value in made.state_dict().values())
    assert path.stat().st_size < 4.02 * count + 700_000


# --- trained weights ---------------------------------------------------------------------


def state_dict(name: str, **options: Any) -> dict[str, Tensor]:
    """Of the whole model, each tensor filled with a number of its own; small in a file."""
    with torch.device("meta"):
        shapes: dict[str, Tensor] = models.get_model(name, **options).state_dict()
    for row, (path, value) in enumerate(shapes.items()):
        shapes[path] = torch.tensor(row / 1024).to(value.dtype).expand(value.shape)
    return shapes


def saved(content: object, path: Path) -> str:
    torch.save(content, path)
    return str(path)


def loaded(backbone: Backbone) -> dict[str, Tensor]:
    """The backbone's state, by torchvision's names."""
    return {path.removeprefix("model."): value for path, value in backbone.state_dict().items()}


def assert_holds(backbone: Backbone, state: dict[str, Tensor], *heads: str) -> None:
    found = loaded(backbone)
    assert found.keys() == {path for path in state if not path.startswith(heads)}
    for path, value in found.items():
        assert torch.equal(value, state[path]), path


@pytest.mark.parametrize("classes", [7, None])
def test_weights_come_from_a_file_whatever_it_classifies(
    classes: int | None, tmp_path: Path
) -> None:
    state = state_dict(SMALL, num_classes=classes or 1)
    if classes is None:
        del state["fc.weight"], state["fc.bias"]
    path = tmp_path / "trained.pth"
    backbone = make_backbone(SMALL, 1, 28, saved(state, path))
    assert_holds(backbone, state, "fc.")
    assert backbone.weights_record == {
        "backbone_weights": "trained.pth",
        "backbone_weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert not network(SMALL).backbone.weights_record


@torch.no_grad()
def test_heads_that_help_training_are_left_out_and_googlenet_sees_pixels_as_it_learnt(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    reference = models.googlenet(init_weights=False, transform_input=True).eval()
    path = saved(reference.state_dict(), tmp_path / "googlenet.pth")
    backbone = make_backbone("googlenet", 3, 64, path)
    assert not [name for name in loaded(backbone) if "aux" in name]
    pixels = torch.randn(2, 3, 64, 64, generator=seeded())
    reference.fc = nn.Identity()
    torch.testing.assert_close(outputs(backbone, pixels)[1], reference(pixels))


def test_the_older_names_in_torchvisions_files_of_densenet_are_understood(tmp_path: Path) -> None:
    state = state_dict("densenet121")
    older = {}
    for path, value in state.items():
        for layer in ("norm1", "norm2", "conv1", "conv2"):
            path = path.replace(f".{layer}.", f".{layer[:-1]}.{layer[-1]}.")  # noqa: PLW2901
        older[path] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    path = saved(older, tmp_path / "densenet.pth")
    assert_holds(make_backbone("densenet121", 1, 28, path), state, "classifier.")


def test_a_transformers_positions_are_interpolated_to_its_patches(tmp_path: Path) -> None:
    state = state_dict("vit_b_32")
    positions = torch.randn(1, 50, 768, generator=seeded())  # a token and 7 x 7 patches
    state["encoder.pos_embedding"] = positions
    backbone = make_backbone("vit_b_32", 1, 28, saved(state, tmp_path / "vit.pth"))
    found = loaded(backbone)["encoder.pos_embedding"]
    # 64 pixels are 2 x 2 patches: the corners of the 7 x 7.
    torch.testing.assert_close(found, positions[:, [0, 1, 7, 43, 49]])
    early, features = outputs(backbone, images(2))
    assert early.shape == (2, 768, 2, 2)
    assert features.shape == (2, 768)


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def without(state: dict[str, Tensor], path: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name != path}


def refused(weights: str, name: str = SMALL) -> str:
    with pytest.raises(ArgumentError) as caught:
        make_backbone(name, 1, 28, weights)
    message = str(caught.value)
    assert "\n" not in message
    assert weights in message
    return message


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = state_dict(SMALL)
    grey = state | {"conv1.0.weight": torch.zeros(24, 1, 3, 3)}
    extra = state | {"conv9.weight": torch.zeros(1)}
    lacking = without(state, "stage3.0.branch1.0.weight")
    for content, problem in (
        (grey, r"(size mismatch for conv1.0.weight"),
        (lacking, "(stage3.0.branch1.0.weight is missing)"),
        (extra, "(conv9.weight has no place)"),
        (state_dict("squeezenet1_1"), "(conv1.0.weight is missing)"),
    ):
        message = refused(saved(content, tmp_path / "other.pth"))
        assert problem in message
        assert f"give those of torchvision.models.{SMALL} with --backbone-weights" in message
    # MNASNet asks a file for its version, which a plain dictionary has not.
    plain = dict(state_dict("mnasnet0_5"))
    assert "version" in refused(saved(plain, tmp_path / "plain.pth"), "mnasnet0_5")
    crooked = state_dict("vit_b_32") | {"encoder.pos_embedding": torch.zeros(1, 51, 768)}
    assert "square" in refused(saved(crooked, tmp_path / "crooked.pth"), "vit_b_32")


def test_files_that_hold_no_weights_are_refused_and_nothing_in_them_is_executed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights.pth"
    for content in (
        Trap(tmp_path / "sprung"),
        {"conv1.0.weight": Trap(tmp_path / "sprung")},
        models.get_model(SMALL),
        [torch.zeros(1)],
        {"model": state_dict(SMALL)},
        {3: torch.zeros(1)},
        {},
    ):
        message = refused(saved(content, path))
        assert "no whole file of named tensors" in message
        assert "torch.save(model.state_dict(), FILE)" in message
    whole = Path(saved(state_dict(SMALL), path)).read_bytes()
    for damaged in (b"", b"no weights", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        assert "no whole file of named tensors" in refused(str(path))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "closed.pth"
    path.touch(mode=0)
    assert "Permission denied" in refused(str(path))


def test_what_is_no_file_is_refused_by_the_plan(tmp_path: Path) -> None:
    for weights in (str(tmp_path), str(tmp_path / "gone.pth"), "ImageNet", ""):
        assert "there is no file of weights" in refused(weights)
        with pytest.raises(ArgumentError, match="no file of weights"):
            TrainingPlan(backbone=SMALL, backbone_weights=weights)


@pytest.mark.parametrize("name", BACKBONES)
def test_our_own_have_no_trained_weights(name: str) -> None:
    options = ["--backbone", name, "--backbone-weights", "imagenet"]
    result = CliRunner().invoke(cli, ["train", "--out", "x.onnx", *options])
    assert isinstance(result.exception, ArgumentError)
    assert f"{name} has no trained weights; give --backbone-weights none" in str(result.exception)


@pytest.fixture
def torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's, and a network that leads nowhere."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    # urllib keeps what it made of the proxies of its first request.
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path / "hub" / "checkpoints"


def test_without_a_network_it_is_said_how_to_give_the_weights(
    torch_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = models.ShuffleNet_V2_X0_5_Weights.DEFAULT.url
    with pytest.raises(
        TrainingError, match=r"fetch https://.* --backbone-weights FILE, or take "
    ) as caught:
        make_backbone(SMALL, 1, 28, "imagenet")
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [*torch_cache.iterdir()]
    assert capsys.readouterr().out == ""  # where results go


def test_imagenet_takes_what_lies_in_torchs_cache(torch_cache: Path) -> None:
    state = state_dict(SMALL)
    torch_cache.mkdir(parents=True)
    url = models.ShuffleNet_V2_X0_5_Weights.DEFAULT.url
    saved(state, torch_cache / url.rsplit("/", 1)[1])
    backbone = make_backbone(SMALL, 1, 28, "imagenet")
    assert_holds(backbone, state, "fc.")
    record = {"backbone_weights": "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"}
    assert backbone.weights_record == record
    saved([1], torch_cache / url.rsplit("/", 1)[1])
    with pytest.raises(TrainingError, match=r"cannot be had \(it holds no state dict\); fetch"):
        make_backbone(SMALL, 1, 28, "imagenet")


# --- in training -------------------------------------------------------------------------

PLAN = TrainingPlan(
    backbone=SMALL,
    n_bits=8,
    fine_bits=8,
    epochs=1,
    settle_epochs=0,
    batch_size=16,
    precision="float32",
    device="cpu",
)
TRAIN, VALIDATION = toy_set(32, seed=0, size=28), toy_set(16, seed=1, size=28)


class Stopped(Exception):
    pass


def run(plan: TrainingPlan, checkpoint: Path | None = None, stop: int = 0) -> TrainedNetwork:
    def on_epoch(report: Any) -> None:
        if report.epoch == stop:
            raise Stopped

    return train(
        plan, TRAIN, VALIDATION, FASHION_MNIST, checkpoint_path=checkpoint, on_epoch=on_epoch
    )


def test_a_run_with_dropout_ends_the_same_whether_or_not_it_was_stopped(tmp_path: Path) -> None:
    # The last epoch is kept, whatever the validation says: it is a settling one.
    plan = replace(PLAN, backbone="squeezenet1_1", settle_epochs=1)
    with pytest.raises(Stopped):
        run(plan, tmp_path / "checkpoint", stop=1)
    torch.manual_seed(1)  # another process knows nothing of where this one's chance stood
    resumed, undisturbed = run(plan, tmp_path / "checkpoint"), run(plan)
    for one, other in zip(
        resumed.network.state_dict().values(),
        undisturbed.network.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_a_run_is_known_by_what_its_file_of_weights_holds(tmp_path: Path) -> None:
    state = models.get_model(SMALL).state_dict()
    checkpoint = tmp_path / "checkpoint"
    path = tmp_path / "here" / "trained.pth"
    path.parent.mkdir()
    plan = replace(PLAN, backbone_weights=saved(state, path))
    settings = run(plan, checkpoint).settings
    assert settings["backbone_weights"] == "trained.pth"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert settings["backbone_weights_sha256"] == sha256
    assert str(tmp_path) not in str(settings)

    (tmp_path / "there").mkdir()
    moved = path.rename(tmp_path / "there" / "trained.pth")
    run(replace(plan, backbone_weights=str(moved)), checkpoint)
    state["conv1.0.weight"] += 1
    saved(state, moved)
    with pytest.raises(TrainingError, match="belongs to a run with other options"):
        run(replace(plan, backbone_weights=str(moved)), checkpoint)


def test_without_weights_the_settings_say_none() -> None:
    settings = run(replace(PLAN, backbone="lenet")).settings
    assert settings["backbone_weights"] == "none"
    assert "backbone_weights_sha256" not in settings
