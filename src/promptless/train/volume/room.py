"""Whether a training step on crops fits into memory, foreseen without computing it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from promptless.image import Shape
from promptless.io.readers import memory
from promptless.networks.footprint import Footprint
from promptless.train.loop import trainable
from promptless.train.memory import sparing, transformer_layers
from promptless.train.schedule import Schedule
from promptless.train.volume.loss import dice_and_entropy
from promptless.voxels import COARSEST

BESIDE = 3 * 4
"""Bytes per weight that trains, beside itself and its gradient: two moments and a running mean."""


def check(network: nn.Module, crop: Shape, schedule: Schedule, device: torch.device, count: int = 1) -> None:
    """Refuse crops on which a step takes more memory than is free, and offer what fits.

    `count` processes share a batch. In half precision a step counts half, though some of its tensors stay single.
    """
    on_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else memory.free()
    weights = sum(part.nbytes for part in (*network.parameters(), *network.buffers()))
    skeleton = deepcopy(network).to("meta")

    def taken_by(crop: Shape, schedule: Schedule) -> int:
        """Return what all processes take where they share memory, or one and its network, which is not there yet."""
        step = needed(skeleton, crop, schedule, count)
        return step + weights if on_gpu else step * count

    need = taken_by(crop, schedule)
    if free is None or need <= free:
        return
    able = remedies(crop, schedule, count, bool(transformer_layers(skeleton)))
    others = ((text, taken_by(smaller, other)) for text, smaller, other in able)
    fits = next((f"{text} would take about {taken / memory.GIB:.1f} GB" for text, taken in others if taken <= free), "")
    size, n = " x ".join(map(str, crop)), schedule.micro_batch(count)
    nothing = f"no smaller one would fit: take a smaller network, or set {memory.VARIABLE} to what there is, in GB"
    raise ValueError(
        f"a training step on {n} crop{'s' * (n > 1)} of {size} voxels at a time takes about {need / memory.GIB:.1f} "
        f"GB, and {free / memory.GIB:.1f} GB are free; {fits or nothing}"
    )


def needed(skeleton: nn.Module, crop: Shape, schedule: Schedule, count: int = 1) -> int:
    """Return about how many bytes a step of a network on the meta device takes, beside the network itself."""
    image = torch.empty(schedule.micro_batch(count), 1, *crop, device="meta")
    labels = torch.empty(len(image), *crop, dtype=torch.long, device="meta")
    skeleton.train().zero_grad()
    spared = schedule.memory if transformer_layers(skeleton) else "fast"
    with sparing(skeleton, spared), Footprint() as footprint:
        torch.autograd.backward(dice_and_entropy(skeleton(image).float(), labels)["loss"])
    skeleton.zero_grad()
    share = 1 if schedule.precision == "float32" else 2
    beside = BESIDE * sum(weight.numel() for weight in trainable(skeleton))
    return int(footprint.peak // share + beside)


def remedies(crop: Shape, schedule: Schedule, count: int, layered: bool) -> Iterator[tuple[str, Shape, Schedule]]:
    """Yield what takes less memory, what costs least first: how a recipe says it, and the crop and schedule it is.

    `layered` networks have layers of a SAM image encoder, which may be computed again.
    """
    if schedule.micro_batch(count) > 1:
        accumulate = schedule.batch // count
        yield f"accumulate = {accumulate} in [train]", crop, replace(schedule, accumulate=accumulate)
    if layered and schedule.memory == "fast":
        yield 'memory = "lean" in [train]', crop, replace(schedule, memory="lean")
    for side in reversed(range(COARSEST, max(crop), COARSEST)):
        smaller = tuple(min(n, side) for n in crop)
        yield f"crop = {list(smaller)} in [model.volume]", smaller, schedule
