"""Training by several processes, a GPU each: what they tell each other.

`accelerate launch` or `torchrun` starts them and says so in the environment. Each takes its share of every
batch, gradients are averaged before they are clipped, so all make the same step as one process would.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Processes:
    """How many processes train together, and which of them this one is. Alone, every method is free."""

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: range) -> range:
        """Return the part of a batch that is this process's; the parts of all make up the batch."""
        size = len(batch) // self.count
        return batch[self.rank * size : (self.rank + 1) * size]

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in the main process."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes; who has none counts as 0, unless nobody has one."""
        if self.count == 1 or not parameters:
            return
        device = parameters[0].device
        having = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=device)
        distributed.all_reduce(having)
        for parameter, number in zip(parameters, having.tolist(), strict=True):
            if number:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def mean(self, values: dict[str, float], device: torch.device) -> dict[str, float]:
        """Return the mean of each value over the processes."""
        if self.count == 1:
            return values
        together = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        distributed.all_reduce(together)
        return dict(zip(values, (together / self.count).tolist(), strict=True))

    def gathered(self, items: list[int]) -> list[int]:
        """Return what all processes have, in their order."""
        if self.count == 1:
            return items
        lists: list[Any] = [None] * self.count
        distributed.all_gather_object(lists, items)
        return [item for items in lists for item in items]


ALONE = Processes()


def launched() -> bool:
    """Return whether this is one of several processes that train together."""
    return launched_count() > 1


def launched_count() -> int:
    """Return how many processes were started to train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return the number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def main() -> bool:
    """Return whether this process writes files and shows progress: the only one, or the first of several."""
    return not launched() or os.environ.get("RANK", "0") == "0"


def join(device: torch.device) -> Processes:
    """Return the processes that train together; where there are several, meet the others first."""
    if not launched():
        return ALONE
    if device.type == "mps":
        raise ValueError("several processes cannot share 'mps'; start one, or use \"cpu\"")
    from accelerate import PartialState

    fresh = not distributed.is_initialized()
    state = PartialState(cpu=device.type == "cpu")
    if fresh:
        atexit.register(state.destroy_process_group)
    return Processes(state.process_index, state.num_processes)
