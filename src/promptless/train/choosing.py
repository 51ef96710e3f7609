"""Thresholds chosen on dev, from a small grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from promptless.config import INSTANCES, ModelConfig
from promptless.data.sample import Sample
from promptless.model import SemanticModel
from promptless.networks.adapted import Adapted
from promptless.pipeline import coarse, segment
from promptless.result import Segmentation
from promptless.runtimes.torch import TorchModel
from promptless.semantic import components, foreground
from promptless.train.measuring import Labels, Told, balance, image_of
from promptless.view import View, tiling

FOREGROUNDS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Probabilities from which a pixel may belong to an object, or to the one mask."""
MIN_SCORES = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Scores from which an object is kept."""


@dataclass(frozen=True)
class Choice:
    """A pair of thresholds, and what it scores on dev."""

    foreground: float
    min_score: float
    score: float

    def distance(self, config: ModelConfig) -> float:
        """Return how far the thresholds are from a configuration's."""
        return abs(self.foreground - config.proposals.foreground) + abs(self.min_score - config.min_score)


Chooser = Callable[[Adapted, ModelConfig, Sequence[Sample], Told], tuple[ModelConfig, Choice]]
"""Chooses a configuration on samples, and says what it scores there."""


def choose(network: Adapted, config: ModelConfig, samples: Sequence[Sample], tell: Told) -> tuple[ModelConfig, Choice]:
    """Return the configuration with the thresholds that score best on `samples`, and what they score.

    Of equals, those nearest to the recipe's are taken.
    """
    if config.output == INSTANCES:
        choices = []
        for number, value in enumerate(FOREGROUNDS):
            part = partial(within, tell, number, len(FOREGROUNDS))
            choices += tried(network, with_foreground(config, value), samples, part)
        best = best_of(choices, config)
    else:
        best = best_of(tried_whole(TorchModel(network, config), samples, tell), config)
    return replace(with_foreground(config, best.foreground), min_score=best.min_score), best


def choose_coarse(
    network: Adapted, config: ModelConfig, samples: Sequence[Sample], tell: Told
) -> tuple[ModelConfig, Choice]:
    """Return likewise the configuration with the foreground that suits the prompt generator's own masks best."""
    choices = []
    for number, value in enumerate(FOREGROUNDS):
        model = TorchModel(network, with_foreground(config, value))
        tell(number / len(FOREGROUNDS), f"choosing, foreground {value:g}, the generator's own masks")
        found = {sample.id: coarse(image_of(sample), model) for sample in samples}
        choices.append(Choice(value, config.min_score, balance(config, samples, found)))
    best = best_of(choices, config)
    return with_foreground(config, best.foreground), best


def within(tell: Told, number: int, parts: int, done: float, text: str) -> None:
    """Tell how far all of several parts are, of which `number` are done and the next to `done`."""
    tell((number + done) / parts, text)


def best_of(choices: Sequence[Choice], config: ModelConfig) -> Choice:
    """Return the choice that scores best, of equals the one nearest to a configuration."""
    return max(choices, key=lambda choice: (np.nan_to_num(choice.score, nan=-1.0), -choice.distance(config)))


def tried(network: Adapted, config: ModelConfig, samples: Sequence[Sample], tell: Told) -> list[Choice]:
    """Return what every least score gives with one foreground; each image is segmented once."""
    value, model = config.proposals.foreground, TorchModel(network, config)
    found: dict[float, dict[str, Labels]] = {least: {} for least in MIN_SCORES}
    for i, sample in enumerate(samples):
        tell(i / len(samples), f"choosing, foreground {value:g}, {sample.id}")
        result = segment(image_of(sample), model, min_score=0.0)
        for least, labels in found.items():
            labels[sample.id] = at_least(result, least)
    return [Choice(value, least, balance(config, samples, labels)) for least, labels in found.items()]


def tried_whole(model: SemanticModel, samples: Sequence[Sample], tell: Told) -> list[Choice]:
    """Return what every pair of thresholds gives where one mask is the answer; each image is looked at once."""
    config, sides = model.config, tiling(model.config, None, None)
    probable = {}
    for i, sample in enumerate(samples):
        tell(i / len(samples), f"choosing, {sample.id}")
        probable[sample.id] = foreground(View.of(image_of(sample), model), model, *sides)
    choices = []
    for value in FOREGROUNDS:
        for least in MIN_SCORES:
            found = {name: components(shown, least, value)[0] for name, shown in probable.items()}
            choices.append(Choice(value, least, balance(config, samples, found)))
    return choices


def at_least(result: Segmentation, min_score: float) -> Labels:
    """Return the labels of the objects that have this score at least.

    Objects are painted the best first, so those left out have changed nothing of the others.
    """
    lookup = np.zeros(int(result.labels.max(initial=0)) + 1, np.int32)
    kept = result.masks.ids[result.masks.scores >= min_score]
    lookup[kept] = kept
    return np.asarray(lookup[result.labels])


def with_foreground(config: ModelConfig, foreground: float) -> ModelConfig:
    """Return a configuration with another threshold of the foreground."""
    return replace(config, proposals=replace(config.proposals, foreground=foreground))
