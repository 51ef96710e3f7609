"""How long and how fast a task is trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

PRECISIONS = ("float32", "bfloat16", "float16")
MEMORY = ("fast", "lean")
LINEAR, EXPONENTIAL = "linear", "exponential"
RAMPS = (LINEAR, EXPONENTIAL)
FLOOR = 10
"""An exponential warm-up begins at the rate times exp(-10), as in the code that AutoProSAM's is taken from."""
TOGETHER, APART = "together", "apart"
CLIPPING = (TOGETHER, APART)
MINUTE = 60
"""Seconds."""
HARMLESS = ("accumulate", "memory", "checkpoint_every")
"""What may change in the middle of a run: it decides the cost of a step, not what the step is meant to do."""
LATER = {"ramp": LINEAR, "clipping": TOGETHER}
"""What was added later, with what a run that does not say it was trained with."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. AdamW; a warm-up, then (1 - share that is done) ** power.

    It lasts so many `steps`, or so many `minutes` of training; one of them is said.
    """

    batch: int  # patches per step, over all micro-batches and processes
    steps: int | None = None
    minutes: float | None = None
    rate: float = 1e-3
    warmup: int = 200  # steps
    ramp: str = LINEAR  # or "exponential": how the rate rises in them
    power: float = 0.9
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0  # the largest norm of the gradients
    clipping: str = TOGETHER  # of all of them; "apart": of those of each part of the network
    average: float = 0.998  # decay of the running mean of the weights, which is what is kept
    precision: str = "float32"  # or "bfloat16", "float16": autocast of the forward pass
    accumulate: int = 1  # micro-batches that a batch is cut into, one after the other on each device
    memory: str = "fast"  # "lean" computes what SAM's transformer layers hold again instead of keeping it
    checkpoint_every: int = 200  # steps

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # a recipe has a list
        chosen = {"precision": PRECISIONS, "memory": MEMORY, "ramp": RAMPS, "clipping": CLIPPING}
        for name, known in chosen.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        if (self.steps is None) == (self.minutes is None):
            raise ValueError(f"steps is {self.steps} and minutes is {self.minutes}; say one of them, how long to train")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes is {self.minutes}; it must be above 0")
        for name in ("steps", "batch", "accumulate", "checkpoint_every"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; there must be two, each from 0 to below 1")
        self.micro_batch(processes=1)

    def micro_batch(self, processes: int) -> int:
        """Return how many patches each of `processes` sees at a time."""
        size, rest = divmod(self.batch, self.accumulate * processes)
        if rest:
            among = f" x {processes} processes" if processes > 1 else ""
            raise ValueError(
                f"a batch of {self.batch} cannot be cut into {self.accumulate} micro-batches (`accumulate`){among}; "
                f"the nearest batch that can is {(size + 1) * self.accumulate * processes}"
            )
        return size

    @property
    def length(self) -> float:
        """How long it is beside others: its steps, or its seconds."""
        return self.steps if self.minutes is None else MINUTE * self.minutes  # type: ignore[return-value]

    def share(self, step: int, seconds: float) -> float:
        """Return which share of the training is done after so many steps, that took so many seconds; 1 ends it."""
        return min(1.0, (step if self.minutes is None else seconds) / self.length)

    def told(self, step: int, seconds: float) -> str:
        """Return how far a training is, for people."""
        if self.minutes is None:
            return f"{step}/{self.steps}"
        return f"{step}, {seconds / MINUTE:.1f}/{self.minutes:g} minutes"

    def rate_at(self, step: int, seconds: float = 0.0) -> float:
        """Return the learning rate of `step` (0 is the first), which begins after so many seconds of training."""
        if step < self.warmup and self.ramp == EXPONENTIAL:
            return self.rate * math.exp(FLOOR * (step / self.warmup - 1))
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        return float(self.rate * (1 - self.share(step, seconds)) ** self.power)

    def deciding(self) -> dict[str, Any]:
        """Return what must stay the same when a run goes on."""
        values = {name: value for name, value in asdict(self).items() if name not in HARMLESS}
        return {name: value for name, value in values.items() if name not in LATER or LATER[name] != value}
