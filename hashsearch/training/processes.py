"""The processes of one training: those that ``torchrun`` started, or this one alone.

All hold the same network and draw the same random numbers. Each reads its own share of every
batch and sends it through the network; what the network says of the whole batch is then gathered,
so that all compute the loss over all of its pairs. Going back, each has the part of the gradient
that its own images make, and the parts are summed.

The sum is our own, in place of :class:`torch.nn.parallel.DistributedDataParallel`: parameters of
an objective see the whole batch in each process, those of a frozen backbone learn in some epochs
only, and a term of weight 0 leaves others without a gradient.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from hashsearch.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import nn
    from torch.distributed.distributed_c10d import Store

__all__ = ["ALONE", "Processes", "torchrun_processes"]

_T = TypeVar("_T")

# What torchrun tells a process in its environment.
_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class Processes:
    """Those that train together, as one of them sees them; alone unless told otherwise.

    Every method but :meth:`share` and :meth:`tells` is called by all of them, in one order.

    Args:
        rank: which of them this is.
        size: how many there are.
        local_rank: which of those of this machine.
        local_size: how many this machine has.
        store: that they all can write to.
    """

    def __init__(
        self,
        *,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        local_size: int = 1,
        store: Store | None = None,
    ) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = local_rank, local_size
        self._store = store

    @property
    def is_first(self) -> bool:
        """Whether it is this one that writes files and says what happens."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Which of ``n`` things in a row are this one's."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    # --- tensors ---------------------------------------------------------------------

    def gather(self, part: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """The parts of all, one after the other.

        What is computed from the whole must be the same in all: the gradient of a part is then
        the part of the gradient, and nothing needs to be sent.

        Args:
            part: ``(n, ...)``.
            counts: how long each part is; None: all are as long as this one.

        Returns:
            ``(sum of counts, ...)``; the part itself where there is no other.
        """
        if self.size == 1:
            return part
        whole = _Gather.apply(part, counts or [len(part)] * self.size, self.rank)
        return cast("Tensor", whole)

    def counts(self, n: int) -> list[int]:
        """How many things each has, where this one has ``n``."""
        if self.size == 1:
            return [n]
        return [int(count) for count in self.gather(torch.tensor([n]))]

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Add up, in place, what all have; it takes as much memory again.

        Args:
            tensors: of one dtype, on one device.
        """
        given = list(tensors)
        if self.size == 1 or not given:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in given])
        distributed.all_reduce(flat)
        pieces = torch.split(flat, [tensor.numel() for tensor in given])
        for tensor, piece in zip(given, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Of parameters that each let act on its own share of the batch."""
        self.sum_(_gradients(parameters))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Of parameters that all let act on the whole batch: alike, but for rounding.

        Without it GPUs, whose sums come in any order, would drift apart.
        """
        gradients = _gradients(parameters)
        self.sum_(gradients)
        for gradient in gradients:
            gradient.div_(self.size)

    def equalise(self, *modules: nn.Module) -> None:
        """Give all the parameters and buffers of the first.

        Args:
            modules: on the CPU.
        """
        if self.size > 1:
            for module in modules:
                for value in module.state_dict().values():
                    distributed.broadcast(value, 0)

    # --- anything else ---------------------------------------------------------------

    def of_all(self, value: _T) -> list[_T]:
        """What each has, by rank."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value)
        return values

    def of_first(self, make: Callable[[], _T]) -> _T:
        """What the first makes; the others wait for it."""
        if self.size == 1:
            return make()
        made = [make() if self.is_first else None]
        distributed.broadcast_object_list(made, 0)
        return cast("_T", made[0])

    @contextmanager
    def one_before_others(self) -> Iterator[None]:
        """One process of each machine runs the body, then the others do: they find its files."""
        if self.local_rank:
            self.of_all(None)
        yield
        if not self.local_rank:
            self.of_all(None)

    def tells(self) -> bool:
        """Whether this is the one that says why all end: the first to ask."""
        if self._store is None:
            return True
        try:
            return bool(self._store.add("told", 1) == 1)
        except distributed.DistError:  # whoever kept the store has ended
            return self.is_first


ALONE = Processes()
"""One process, which trains by itself."""


@contextmanager
def torchrun_processes(device: str) -> Iterator[Processes]:
    """While the body runs: the processes that ``torchrun`` started; this one alone without it.

    GPUs talk by NCCL, and CPUs by gloo. An error of the body ends the process, and so ``torchrun``
    the others.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``, as of a plan.

    Raises:
        TrainingError: another process has ended.
    """
    told = {name: int(os.environ[name]) for name in _TOLD if name in os.environ}
    if len(told) < len(_TOLD) or told["WORLD_SIZE"] == 1:
        yield ALONE
        return
    # Imported here: one process trains with a torch that was built without them.
    from torch.distributed.distributed_c10d import PrefixStore  # noqa: PLC0415
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415

    on_gpus = device != "cpu" and torch.cuda.is_available()
    store, rank, size = next(rendezvous("env://"))
    # Torchrun may keep it when it starts them again, and the old ones' addresses with it.
    store = PrefixStore(f"hashsearch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    distributed.init_process_group(
        # What is no tensor of the network is sent from CPU to CPU.
        "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
        store=PrefixStore("group", store),
        rank=rank,
        world_size=size,
    )
    processes = Processes(
        rank=rank,
        size=size,
        local_rank=told["LOCAL_RANK"],
        local_size=told["LOCAL_WORLD_SIZE"],
        store=store,
    )
    try:
        yield processes
    except RuntimeError as error:
        if not _of_another(error):
            raise
        raise TrainingError(
            "another process of this training has ended; the same command goes on after the last "
            "epoch that was done"
        ) from error
    distributed.destroy_process_group()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, counts: Sequence[int], rank: int) -> Tensor:
        # Parts that are sent have one length.
        padded = part.new_zeros(max(counts), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        first = sum(counts[:rank])
        ctx.own = slice(first, first + counts[rank])
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.own], None, None


def _gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _of_another(error: RuntimeError) -> bool:
    """Whether it says that a process cannot be reached any more."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
