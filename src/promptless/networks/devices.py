"""Where torch computes."""

from __future__ import annotations

import torch

AUTO = "auto"
TYPES = ("cpu", "cuda", "mps")


def find(name: str) -> torch.device:
    """Return the device that `name` means: "cpu", "cuda", "cuda:1", "mps", or "auto".

    "auto" is cuda where torch sees a GPU, else cpu. A device that is named and not there is an error.
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in TYPES:
        raise ValueError(f'device is {name!r}; it must be "auto", "cpu", "cuda", "cuda:N" or "mps"')
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError('device is \'mps\', which torch sees only on a Mac with Apple\'s chip; use "auto" or "cpu"')
    there = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= there:
        raise ValueError(
            f"device is {name!r}, but torch {torch.__version__} sees {there or 'no'} GPU{'s' * (there > 1)}; "
            'use "auto" or "cpu", or install the CUDA build of torch and a driver (nvidia-smi shows what there is)'
        )
    return device
