"""AutoProSAM on ViT-B's published sizes, with 14 classes and random weights: what a crop takes, and a training step."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from promptless.io.readers.memory import GIB
from promptless.networks import devices
from promptless.networks.backbones import ARCHITECTURES, skeleton
from promptless.networks.footprint import peak_bytes
from promptless.networks.volume.autoprosam import AutoProSam, AutoProSamConfig
from promptless.train.devices import arithmetic
from promptless.train.loop import Batch, Schedule, State, one_step
from promptless.train.memory import sparing
from promptless.train.schedule import MEMORY
from promptless.train.volume import room
from promptless.train.volume.loss import VoxelTask
from spending import spent_by

NAME, CLASSES = "sam_vit_b", 14


@dataclass(frozen=True)
class Manner:
    """How it is done; `memory` and `precision` as in a recipe."""

    side: int  # voxels of the crop
    device: str
    memory: str
    precision: str

    @property
    def schedule(self) -> Schedule:
        """How a training step is made."""
        return Schedule(batch=1, steps=2, rate=5e-4, memory=self.memory, precision=self.precision)


def costs(manner: Manner, works: tuple[str, ...]) -> None:
    """Print what is foreseen, and what was measured, each in a process of its own."""
    network, n = begun("meta"), manner.side
    millions = [sum(p.numel() for p in some) / 1e6 for some in (network.parameters(), learned(network))]
    print(f"ViT-B, {CLASSES} classes: {millions[0]:.2f} M parameters, of which {millions[1]:.2f} M train; random")
    forward = peak_bytes(network, (1, 1, n, n, n)) / GIB
    schedules = (replace(manner.schedule, memory=memory, precision="float32") for memory in MEMORY)
    steps = ", ".join(f"{room.needed(network, (n,) * 3, s) / GIB:.1f} GB {s.memory}" for s in schedules)
    print(f"foreseen for a crop of {n}^3 beside the weights: forward {forward:.1f} GB; training, float32: {steps}")
    for work in works:
        print(f"{work} on {manner.device}, {manner.memory}, {manner.precision}: {apart(work, manner)}", flush=True)


def apart(work: str, manner: Manner) -> str:
    """Return what a work takes, in a process of its own, for people."""
    asked = {"--way": work, "--side": manner.side, "--device": manner.device}
    asked |= {"--training-memory": manner.memory, "--precision": manner.precision}
    options = [str(word) for option in asked.items() for word in option]
    spent = spent_by([sys.executable, str(Path(__file__).with_name("volumetric.py")), "vit-b", *options])
    told = json.loads(spent.told)
    card = f"; {told['card']}: {told['gigabytes']:.2f} GB of tensors at once" if "card" in told else ""
    return f"{told['seconds']:.2f} s, of processors {told['processors']:.2f} s; the whole process {spent}{card}"


def measured(work: str, manner: Manner) -> None:
    """Print, as JSON, what a work takes in this process; on a GPU the second time, once all is set up."""
    torch.manual_seed(0)
    device = devices.find(manner.device)
    do = WORKS[work](begun(str(device)), crop_of(manner.side, device), manner)
    told: dict[str, object] = {}
    if device.type == "cuda":
        do()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    began, worked = time.perf_counter(), time.process_time()
    do()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        told = {
            "card": torch.cuda.get_device_name(device),
            "gigabytes": torch.cuda.max_memory_allocated(device) / GIB,
        }
    taken = {"seconds": time.perf_counter() - began, "processors": time.process_time() - worked}
    print(json.dumps({**taken, **told}))


def forward(network: AutoProSam, batch: Batch, manner: Manner) -> Callable[[], None]:
    """Return what answers a crop."""

    @torch.inference_mode()
    def answer() -> None:
        with arithmetic(manner.precision, batch["image"].device):
            assert network.eval()(batch["image"]).isfinite().all()

    return answer


def step(network: AutoProSam, batch: Batch, manner: Manner) -> Callable[[], None]:
    """Return what makes a training step on a crop, the published loss and all."""
    task, state = VoxelTask(network.train()), State.fresh(network, manner.schedule)

    def learn() -> None:
        with sparing(network, manner.memory):
            one_step(task, batch, state, manner.schedule)

    return learn


def begun(device: str) -> AutoProSam:
    """Return the network, its weights, where they have values, small random numbers."""
    backbone = skeleton(NAME, ARCHITECTURES[NAME])
    if device != "meta":
        backbone.to_empty(device=device)
        for weight in (*backbone.parameters(), *backbone.buffers()):
            nn.init.normal_(weight, std=0.02)
    with torch.device(device):
        return AutoProSam(backbone, AutoProSamConfig(NAME, "", CLASSES))


def crop_of(side: int, device: str | torch.device) -> Batch:
    """Return a crop of noise whose voxels have any class."""
    shape = (1, side, side, side)
    return {
        "image": torch.randn(1, *shape, device=device),
        "labels": torch.randint(CLASSES, shape, device=device),
    }


def learned(network: AutoProSam) -> list[Tensor]:
    """Return what trains."""
    return [p for p in network.parameters() if p.requires_grad]


WORKS: dict[str, Callable[[AutoProSam, Batch, Manner], Callable[[], None]]] = {"forward": forward, "step": step}
