"""How well a model finds objects, against the truth and against its generator alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from images import GROUPS, samples
from promptless import load, segment
from promptless.data.sample import Sample
from promptless.image import Image
from promptless.metrics.bootstrap import interval
from promptless.metrics.instances import Matching, match, mean_segmentation_accuracy, pooled
from promptless.metrics.pixels import dice
from promptless.model import Model
from promptless.pipeline import coarse


@dataclass(frozen=True)
class Scored:
    """One image's counts and pixel Dice, for the decoded masks and for the generator's own."""

    category: str
    decoded: Matching
    coarse: Matching
    dice: float


def accuracy(model_name: str, split: str) -> None:
    """Print the table of a split."""
    model = load(model_name)
    results = [scored(sample, model) for sample in samples(split)]
    print(f"dsb2018 {split}, {len(results)} images, 95 % bootstrap intervals over images (2000 draws)")
    for group, prefixes in GROUPS.items():
        chosen = [r for r in results if r.category.startswith(prefixes)]
        print(f"\n{group} ({len(chosen)} images)")
        for name, score in FIGURES.items():
            low, high = interval(chosen, score, np.random.default_rng(0))
            print(f"  {name:<46} {score(chosen):7.3f}  [{low:.3f}, {high:.3f}]")


def scored(sample: Sample, model: Model) -> Scored:
    """Segment one image in both ways and compare with the truth."""
    result = segment(Image(sample.pixels), model)
    own = coarse(Image(sample.pixels), model)
    return Scored(
        sample.category,
        match(sample.labels, result.labels),
        match(sample.labels, own),
        dice(sample.labels, result.labels),
    )


def gain(results: Sequence[Scored]) -> float:
    """Return the mSA of decoded masks less that of the generator's own, paired by image."""
    return float(np.mean([r.decoded.precision.mean() - r.coarse.precision.mean() for r in results]))


FIGURES: dict[str, Callable[[Sequence[Scored]], float]] = {
    "AP at IoU .5, pooled": lambda rs: float(pooled([r.decoded for r in rs]).precision[0]),
    "AP at IoU .75, pooled": lambda rs: float(pooled([r.decoded for r in rs]).precision[5]),
    "AP at IoU .9, pooled": lambda rs: float(pooled([r.decoded for r in rs]).precision[8]),
    "AP at IoU .5, mean over images": lambda rs: float(np.mean([r.decoded.precision[0] for r in rs])),
    "mSA": lambda rs: mean_segmentation_accuracy([r.decoded for r in rs]),
    "pixel Dice, mean over images": lambda rs: float(np.nanmean([r.dice for r in rs])),
    "generator's own masks: AP at .5, pooled": lambda rs: float(pooled([r.coarse for r in rs]).precision[0]),
    "generator's own masks: mSA": lambda rs: mean_segmentation_accuracy([r.coarse for r in rs]),
    "mSA gained by decoding, paired": gain,
}
