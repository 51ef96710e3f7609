"""A look at dev now and then while a network trains, without a trace in the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from promptless.config import ModelConfig
from promptless.data.sample import Sample
from promptless.io.scores import read_numbers, write_table
from promptless.networks.adapted import Adapted
from promptless.runtimes.torch import TorchModel
from promptless.train.learned import copied, learned, take
from promptless.train.measuring import DECIDES, middle, score, segmented

SCORES = "scores.csv"
LOOKS = 5
"""So many times dev is looked at in each phase, and once before the first; in one of so many minutes, at its end."""
IMAGES, SIDE = 4, 512
"""So many images of dev are looked at, the middle of each, so many pixels wide and high at most."""


class Looks:
    """What the running mean scores on a few images of dev, step by step; `scores.csv` in each phase's folder.

    A look depends on the weights alone, so a step that was looked at before a run was killed is not looked at again.
    """

    def __init__(
        self,
        network: Adapted,
        config: ModelConfig,
        dev: Sequence[Sample],
        folder: Path,
        steps: Mapping[str, int | None],
    ) -> None:
        self.network, self.config, self.folder = network, config, folder
        self.samples = [middle(sample, SIDE) for sample in dev[:IMAGES]]
        self.due = {name: {round(n * (i + 1) / LOOKS) for i in range(LOOKS) if n} for name, n in steps.items()}
        for first in list(steps)[:1]:
            self.due[first].add(0)

    def __call__(self, name: str, module: nn.Module, step: int, mean: Mapping[str, Tensor], done: float) -> None:
        """Look, where it is time, at a network of which `module` has the weights `mean`."""
        path = self.folder / name / SCORES
        if (step not in self.due[name] and done < 1) or step in (before := read_numbers(path)):
            return
        with having(self.network, module, mean):
            value = score(self.config, self.samples, segmented(TorchModel(self.network, self.config), self.samples))
        rows = sorted({**before, step: value}.items())
        write_table(path, ("step", DECIDES[self.config.output].name), rows)


@contextmanager
def having(network: nn.Module, module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let a part of a network have other weights, all of it in evaluation mode; then everything is as it was."""
    own, modes = copied(learned(module)), {part: part.training for part in network.modules()}
    drawn = torch.get_rng_state()
    take(module, weights)
    try:
        yield
    finally:
        take(module, own)
        for part, mode in modes.items():
            part.training = mode
        torch.set_rng_state(drawn)
