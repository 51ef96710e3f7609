"""What a run must remember to go on, and the checkpoint that holds it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from promptless.train.learned import copied, learned, take
from promptless.train.schedule import Schedule

SHOWN = 5
"""So many differences between two recipes are told in full."""


class State:
    """What a run must remember to go on: weights, optimiser, running mean, step, and what it is a run of."""

    def __init__(self, module: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        self.module, self.optimiser, self.scaler = module, optimiser, scaler
        self.mean = copied(learned(module))
        self.step = 0
        self.seconds = 0.0  # spent in training, up to the last checkpoint
        self.saved: int | None = None  # the step of the last checkpoint

    @classmethod
    def fresh(cls, module: nn.Module, schedule: Schedule) -> State:
        """Return the state before the first step."""
        optimiser = torch.optim.AdamW(
            trainable(module), lr=schedule.rate, betas=schedule.betas, weight_decay=schedule.weight_decay
        )
        return cls(module, optimiser, torch.amp.GradScaler("cuda", enabled=schedule.precision == "float16"))

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return next(self.module.parameters()).device

    def overflowed(self) -> bool:
        """Return whether gradients are infinite only since float16 is narrow: then the step is left out."""
        return self.scaler.is_enabled() and self.scaler.get_scale() > 1

    def update_mean(self, decay: float) -> None:
        """Move the running mean towards the module's present state."""
        for name, value in learned(self.module).items():
            mean = self.mean[name]
            if mean.is_floating_point():
                mean.lerp_(value.detach(), 1 - decay)
            else:
                mean.copy_(value)

    def averaged(self) -> dict[str, Tensor]:
        """Return the running mean of all that is learned, on the CPU."""
        return {name: value.cpu().clone() for name, value in self.mean.items()}

    def save(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Write the checkpoint, whole or not at all."""
        parts: dict[str, Any] = {
            "step": self.step,
            "seconds": self.seconds,
            "module": learned(self.module),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "mean": self.mean,
            "identity": json.dumps(identity),
        }
        temporary = path.with_suffix(".tmp")  # one name: what a killed run left is written over
        try:
            with temporary.open("wb") as file:  # torch tells that a disk is full only where the file is Python's
                torch.save(parts, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def load(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Take over a checkpoint, made on any device; one of another recipe is refused."""
        parts = torch.load(path, weights_only=True, map_location="cpu")
        found = differences(json.loads(parts.get("identity", "{}")), json.loads(json.dumps(identity)))
        told = [in_recipe(difference, path.parent.name) for difference in found]
        if told:
            more = [f"and {len(told) - SHOWN} more"] * (len(told) > SHOWN)
            raise ValueError(
                f"{path} is of another recipe: {'; '.join(told[:SHOWN] + more)}. "
                "Put back what the recipe said, or train in another folder"
            )
        take(self.module, parts["module"])
        self.optimiser.load_state_dict(parts["optimiser"])
        self.scaler.load_state_dict(parts["scaler"])
        self.mean = {name: parts["mean"][name].to(value.device) for name, value in self.mean.items()}
        self.step, self.seconds = parts["step"], parts["seconds"]
        self.saved = self.step


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [p for p in module.parameters() if p.requires_grad]


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Return where two JSON values differ: the place, and both values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        places = [(key, f"{name}.{key}" if name else key) for key in dict.fromkeys([*before, *now])]
        return [told for key, place in places for told in differences(before.get(key), now.get(key), place)]
    if isinstance(before, list) and isinstance(now, list):
        pairs = zip(padded(before, len(now)), padded(now, len(before)), strict=True)
        return [told for i, (a, b) in enumerate(pairs) for told in differences(a, b, f"{name}[{i}]")]
    return [] if before == now else [f"{name} was {shown(before)} and is {shown(now)}"]


def in_recipe(difference: str, phase: str) -> str:
    """Return a difference with its place as a recipe has it: what is of a phase is in the table of that name."""
    for place in ("phase.schedule.", "phase."):
        if difference.startswith(place):
            return f"[{phase}] {difference.removeprefix(place)}"
    return difference


def padded(values: Sequence[Any], length: int) -> list[Any]:
    """Return values, and nothing after the last up to a length."""
    return [*values, *[None] * (length - len(values))]


def shown(value: Any) -> str:
    """Return a JSON value in few words."""
    text = "not said" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
