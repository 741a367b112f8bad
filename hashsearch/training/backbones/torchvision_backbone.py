"""Any classifier of ``torchvision.models`` as a backbone, AlexNet among them."""

from __future__ import annotations

import hashlib
import io
import math
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.vision_transformer import interpolate_embeddings

from hashsearch.errors import ArgumentError, TrainingError
from hashsearch.training.backbones.base import Backbone

__all__ = ["TorchvisionBackbone", "check_size", "classifiers"]

_MAX_PARAMETERS = 2**29  # of 4 bytes each: no protocol buffer holds more than 2 GiB
_EARLY_STRIDE = 8

# Pixels a side that a network is fed with: at least so many, and a multiple of something.
_LEAST_SIDE = 64
_LEAST_SIDES = {"inception_v3": 75}
_PATCH_SIZES = {"vit_b_16": 16, "vit_b_32": 32, "vit_l_16": 16, "vit_l_32": 32}
_SIDE_MULTIPLES = {"maxvit_t": 224, **_PATCH_SIZES}

# Heads that only training to classify ImageNet has a use for, in files of weights.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


class TorchvisionBackbone(Backbone):
    """A classifier of ``torchvision.models`` without its last layer.

    The features are what the last layer sees, averaged over places where it is a
    convolution; for AlexNet its 4,096 of fc7, as deep hashing has them since Lin, Yang,
    Hsiao and Chen (CVPR workshops 2015). Torchvision's AlexNet is that of Krizhevsky's
    "One weird trick" (2014). The early maps are those of the last layer or block whose
    stride is nearest to 8. Grey images are repeated to three channels, and images that are
    too small for the network are enlarged bilinearly.

    Args:
        name: one of :func:`classifiers`.
        channels: of the images, 1 or 3.
        image_size: their side, in pixels.
        weights: as for :func:`~hashsearch.training.backbones.make_backbone`.

    Raises:
        ArgumentError: a file of weights that is none of this network's.
        TrainingError: weights that cannot be downloaded.
    """

    def __init__(self, name: str, channels: int, image_size: int, weights: str) -> None:
        super().__init__()
        self._channels = channels
        self._side = _side(name, image_size)
        state: dict[str, Tensor] = {}
        if weights == "imagenet":
            state, self.weights_record = _imagenet_weights(name)
        elif weights != "none":
            state, self.weights_record = _weights_of_file(Path(weights))

        options = _options(name, self._side, trained=bool(state))
        model = models.get_model(name, weights=None, **options)
        # The last one that each of them registers is the one that classifies.
        head, layer = [
            (path, module)
            for path, module in model.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)
        ][-1]
        model.set_submodule(head, nn.Identity())
        if state:
            _load(model, name, _without_heads(name, head, state), self._side, weights)

        early, shape = _early_maps(model, self._side)
        self._channels_last = shape[1] == shape[2] != shape[3]
        self.early_channels = shape[3] if self._channels_last else shape[1]
        self.n_features = layer.weight.shape[1]
        self.model = create_feature_extractor(
            model, {early: "early", head: "features"}, suppress_diff_warning=True
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`Backbone`."""
        if pixels.shape[-2:] != (self._side, self._side):
            pixels = nn.functional.interpolate(
                pixels, size=(self._side, self._side), mode="bilinear", align_corners=False
            )
        if self._channels == 1:
            pixels = pixels.expand(-1, 3, -1, -1)
        maps = self.model(pixels)
        early, features = maps["early"], maps["features"]
        if self._channels_last:
            early = early.permute(0, 3, 1, 2)
        if features.ndim == 4:
            features = features.mean(dim=(2, 3))
        return early, features


def classifiers() -> list[str]:
    """Names of the classifiers that this torchvision has."""
    names: list[str] = models.list_models(module=models)
    return names


def check_size(name: str) -> None:
    """Refuse, before days of training, a network that no encoder's file can hold.

    Args:
        name: one of :func:`classifiers`.

    Raises:
        ArgumentError: it is too large.
    """
    count = models.get_model_weights(name).DEFAULT.meta["num_params"]
    if count >= _MAX_PARAMETERS:
        raise ArgumentError(
            f"{name} has {count / 1e6:.0f} M parameters, and the file of an encoder holds "
            f"{_MAX_PARAMETERS / 1e6:.0f} M; take a smaller backbone"
        )


def _side(name: str, image_size: int) -> int:
    """Pixels a side that the network is fed with."""
    least = max(_LEAST_SIDES.get(name, _LEAST_SIDE), image_size)
    multiple = _SIDE_MULTIPLES.get(name, 1)
    return math.ceil(least / multiple) * multiple


def _options(name: str, side: int, *, trained: bool) -> dict[str, Any]:
    """What the network's builder must be told beside its name."""
    if name in {"googlenet", "inception_v3"}:
        # Their ImageNet weights were trained on pixels from -1 to 1.
        return {"aux_logits": False, "init_weights": True, "transform_input": trained}
    if name == "maxvit_t":
        return {"input_size": (side, side)}
    if name in _PATCH_SIZES:
        return {"image_size": side}
    return {}


def _early_maps(model: nn.Module, side: int) -> tuple[str, tuple[int, ...]]:
    """Path and output shape, for one image, of the layer or block that gives the early maps."""
    shapes: list[tuple[str, tuple[int, ...]]] = []

    def watch(path: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            if isinstance(output, Tensor) and output.ndim == 4:
                shapes.append((path, tuple(output.shape)))

        return module.register_forward_hook(note)

    # Top layers, and those in a row; what is inside of another block may lie on a branch.
    handles = []
    for path, module in model.named_children():
        handles.append(watch(path, module))
        if isinstance(module, nn.Sequential | nn.ModuleList):
            handles += [watch(f"{path}.{inner}", child) for inner, child in module.named_children()]
    training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, side, side))
    model.train(training)
    for handle in handles:
        handle.remove()

    def distance(shape: tuple[int, ...]) -> float:
        # Whichever side comes last, shape[2] is one of them.
        return abs(math.log(side / shape[2] / _EARLY_STRIDE))

    return min(reversed(shapes), key=lambda entry: distance(entry[1]))


# --- trained weights -------------------------------------------------------------------


def _imagenet_weights(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Torchvision's best weights, and how an encoder's record names them."""
    weights = models.get_model_weights(name).DEFAULT
    try:
        # Torch tells on standard output that it downloads.
        with redirect_stdout(sys.stderr):
            state = _state_dict(
                weights.get_state_dict(
                    progress=False, check_hash=True, map_location="cpu", weights_only=True
                )
            )
    except Exception as error:  # of the network, of the disk, or of a damaged file
        raise TrainingError(
            f"the ImageNet weights of {name} cannot be had ({_last_line(error)}); fetch "
            f"{weights.url} where there is a network and give it with --backbone-weights FILE, or "
            "take --backbone small-resnet, which starts without"
        ) from error
    return state, {"backbone_weights": f"{type(weights).__name__}.{weights.name}"}


def _weights_of_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, and how an encoder's record names them; nothing is executed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArgumentError(
            f"{path} cannot be read ({error.strerror}); give another --backbone-weights FILE"
        ) from error
    try:
        state = _state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except Exception as error:  # torch.load meets damaged files with any exception
        raise ArgumentError(
            f"{path} is no whole file of named tensors and nothing else; write one with "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    return state, {
        "backbone_weights": path.name,
        "backbone_weights_sha256": hashlib.sha256(content).hexdigest(),
    }


def _state_dict(content: object) -> dict[str, Tensor]:
    """What a file holds, if it is names and tensors."""
    if not isinstance(content, dict) or not content:
        raise TypeError("it holds no state dict")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise TypeError("it holds more than names and tensors")
    return content


def _without_heads(name: str, head: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries of what is left of a model, by the names that it has for them today.

    The dictionary is changed, not copied: torch hangs the versions of its layers on it.

    Args:
        name: of the model.
        head: path of its last layer.
        state: a state dict of the whole model.
    """
    for key in list(state):
        value = state.pop(key)
        if key.startswith((f"{head}.", *_AUXILIARY)):
            continue
        if name.startswith("densenet"):
            # Torchvision renamed these layers, but its files have the old names.
            state[re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)] = value
        else:
            state[key] = value
    return state


def _load(model: nn.Module, name: str, state: dict[str, Tensor], side: int, source: str) -> None:
    """Put weights into a model whose last layer is gone.

    Args:
        model: one of torchvision's.
        name: of the model.
        state: see :func:`_without_heads`.
        side: pixels a side that the model is fed with.
        source: what a message calls the weights.

    Raises:
        ArgumentError: they are those of another model.
    """
    try:
        if name in _PATCH_SIZES and "encoder.pos_embedding" in state:
            interpolate_embeddings(side, _PATCH_SIZES[name], state)
        lacking, foreign = model.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        problem = _last_line(error)
    else:
        if not lacking and not foreign:
            return
        problem = f"{lacking[0]} is missing" if lacking else f"{foreign[0]} has no place"
    raise ArgumentError(
        f"{source} does not hold the weights of {name} ({problem}); give those of "
        f"torchvision.models.{name} with --backbone-weights FILE"
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
