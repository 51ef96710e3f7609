"""Where training computes, and in which arithmetic."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from promptless.networks import devices
from promptless.train import processes


def find(name: str) -> torch.device:
    """Return the device that `name` means (see `promptless.networks.devices.find`) in this process.

    Of several processes on one machine, each takes the GPU with its own number.
    """
    if name == devices.AUTO and launched_for_cpu():
        return torch.device("cpu")
    device = devices.find(name)
    if device.type != "cuda" or not processes.launched():
        return device
    if device.index is not None:
        raise ValueError(f'device is {name!r}, but each of several processes takes a GPU of its own; say "cuda"')
    return devices.find(f"cuda:{processes.local_rank()}")


def launched_for_cpu() -> bool:
    """Return whether `accelerate launch --cpu` started this process."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")


def check(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not train in."""
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision float16 needs a CUDA GPU, and the device is {device}; use bfloat16 or float32")


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass in `precision`."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


def moved(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return named tensors on a device."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def chance_apart(device: torch.device) -> AbstractContextManager[None]:
    """Return a context after which torch's random numbers go on as if nothing had been drawn in it."""
    cards = [device.index or 0] if device.type == "cuda" else []
    return torch.random.fork_rng(devices=cards)


def loaders(device: torch.device, count: int) -> int:
    """Return how many processes make patches for each of `count` that train here; a GPU is fed by several."""
    if device.type == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // count - 1))
