"""Where training computes, and in which arithmetic."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from promptless.train import processes

TYPES = ("cpu", "cuda", "mps")


def find(name: str) -> torch.device:
    """Return the device that `name` means: "cpu", "cuda", "cuda:1", "mps", or "auto".

    "auto" is cuda where torch sees a GPU, else cpu. A device that is named and not there is an error.
    Of several processes on one machine, each takes the GPU with its own number.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and not launched_for_cpu() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in TYPES:
        raise ValueError(f'device is {name!r}; it must be "auto", "cpu", "cuda", "cuda:N" or "mps"')
    if device.type == "cuda":
        return graphics_card(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError('device is \'mps\', which torch sees only on a Mac with Apple\'s chip; use "auto" or "cpu"')
    return device


def graphics_card(device: torch.device) -> torch.device:
    """Return a CUDA device that is there; without a number it is this process's own."""
    if not torch.cuda.is_available():
        raise ValueError(
            f"device is '{device}', but torch {torch.__version__} sees no GPU; "
            'use "cpu", or install the CUDA build of torch and a driver (nvidia-smi shows whether there is one)'
        )
    if processes.launched():
        if device.index is not None:
            raise ValueError(
                f"device is '{device}', but each of several processes takes a GPU of its own; say \"cuda\""
            )
        device = torch.device("cuda", processes.local_rank())
    there = torch.cuda.device_count()
    if (device.index or 0) >= there:
        raise ValueError(f"device is '{device}', but torch sees {there} GPU{'s' * (there > 1)}, counted from cuda:0")
    return device


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
