"""Batch normalisation whose batch is spread over the processes of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from hashsearch.training.processes import Processes

__all__ = ["SpreadBatchNorm", "spread_batch_norms"]


def spread_batch_norms(network: nn.Module, processes: Processes) -> None:
    """Let each batch normalisation of a network see the batch of all processes.

    Its layers are replaced; their parameters, buffers and names stay.

    Args:
        network: on the device where it is trained.
        processes: that train it; one that is alone changes nothing.
    """
    if processes.size == 1:
        return
    if any(parameter.is_cuda for parameter in network.parameters()):
        # Torch's own, which takes nothing that lies on the CPU.
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # torch's stub lacks it
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(module, name, SpreadBatchNorm(child, processes))


class SpreadBatchNorm(nn.SyncBatchNorm):
    """As :class:`torch.nn.SyncBatchNorm`, on the CPU.

    Args:
        layer: whose parameters and buffers it takes over.
        processes: that hold the parts of a batch; each part has an image or more.
    """

    def __init__(
        self, layer: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d, processes: Processes
    ) -> None:
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        )
        self.processes = processes
        self.weight, self.bias = layer.weight, layer.bias
        self.running_mean, self.running_var = layer.running_mean, layer.running_var
        self.num_batches_tracked = layer.num_batches_tracked
        self.training = layer.training

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalised as one batch in training; float ``(n, channels, ...)``, as it came."""
        if not self.training:
            return super().forward(input)
        weight: Tensor = self.weight if self.affine else torch.ones(self.num_features)
        bias: Tensor = self.bias if self.affine else torch.zeros(self.num_features)
        normalised: Tensor
        normalised, *statistics = _Normalise.apply(input, weight, bias, self)
        if self.running_mean is not None and self.running_var is not None:
            self._track(self.running_mean, self.running_var, *statistics)
        return normalised

    @torch.no_grad()
    def _track(
        self, running_mean: Tensor, running_var: Tensor, mean: Tensor, var: Tensor, count: Tensor
    ) -> None:
        tracked = torch.as_tensor(self.num_batches_tracked).add_(1)
        rate = 1 / int(tracked) if self.momentum is None else self.momentum
        running_mean.lerp_(mean, rate)
        running_var.lerp_(var * count / (count - 1), rate)


class _Normalise(torch.autograd.Function):
    """Ioffe and Szegedy, "Batch Normalization", ICML 2015, with sums that run over processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: SpreadBatchNorm
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # The kernels of the layer that this stands for: they round alike, and are quick.
        mean, var = torch.batch_norm_update_stats(x.float(), None, None, 0.0)
        own = torch.cat([mean, var, mean.new_tensor([x.numel() / x.shape[1]])])
        each = layer.processes.gather(own[None])
        means, variances, counts = torch.split(each, [len(mean), len(var), 1], dim=1)
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        var = (counts * (variances + (means - mean).square())).sum(0) / count
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.layer = layer
        out = functional.batch_norm(x, mean, var, weight, bias, training=False, eps=layer.eps)
        ctx.mark_non_differentiable(mean, var, count)
        return out, mean, var, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var, count = ctx.saved_tensors
        eps = ctx.layer.eps
        scale = torch.rsqrt(var + eps)
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, scale, True, eps, [False, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        ctx.layer.processes.sum_([sums])
        # d = weight scale (g - mean(g) - z mean(g z)), where z is x, normalised.
        about, level = sums / count
        away = functional.batch_norm(x, mean, var, about, level, training=False, eps=eps)
        shape = (1, -1, *[1] * (x.ndim - 2))
        of_input = (gradient - away) * (weight * scale).view(shape)
        return of_input.to(x.dtype), of_weight, of_bias, None
