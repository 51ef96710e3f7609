"""What memory a network takes for an answer, foreseen without computing it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(network: nn.Module, shape: Sequence[int]) -> int:
    """Return the bytes of all tensors that live at once, at most, while `network` answers one input of `shape`.

    The weights and the input, which are there already, are left out. The answer is gone through on torch's meta
    device, where tensors have shapes and no memory. What kernels set aside for themselves is not seen: on a processor
    the memory of a process grew by .9 to 1.3 of this (crops of 64 to 128 voxels per side; in small ones kernels count
    for more).
    """
    weights = {name: value.to("meta") for name, value in (*network.named_parameters(), *network.named_buffers())}
    seen = torch.empty(*shape, device="meta")
    with torch.no_grad(), Footprint() as footprint:
        functional_call(network, weights, (seen,))
    return int(footprint.peak)


class Footprint(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made within the block, until they are gone again."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes = dict[int, int]()
        self.held = self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Let an operation make its tensors, and count those whose memory is new."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage())
        return made

    def count(self, storage: torch.UntypedStorage) -> None:
        """Add a storage, unless it is known, until it is gone."""
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        """Forget a storage that is gone."""
        self.held -= self.sizes.pop(key)
