"""Training in less memory, for more time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

log = logging.getLogger(__name__)


@contextmanager
def sparing(module: nn.Module, memory: str) -> Iterator[None]:
    """Within the block, train `module` "fast" or in "lean" memory.

    Lean, the layers of SAM's image encoder, on planes or inflated, keep only what goes into them, and are computed
    again for the gradients (Chen et al. 2016). Losses, gradients and the names in the state dict stay the same.
    """
    layers = transformer_layers(module) if memory == "lean" else []
    if memory == "lean" and not layers:
        log.warning('memory = "lean" saves nothing here: what is trained has no layers of a SAM image encoder')
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own shows again


def transformer_layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers of every SAM image encoder inside a module, inflated or not."""
    from transformers.models.sam.modeling_sam import SamVisionLayer

    from promptless.networks.volume.encoder import Block

    return [part for part in module.modules() if isinstance(part, SamVisionLayer | Block)]
