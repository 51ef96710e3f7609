"""How good a model is on labelled images: what they yield, and the figures that are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from promptless.config import INSTANCES, SEMANTIC, ModelConfig
from promptless.data.sample import Sample
from promptless.evaluation import Evaluation, differences, evaluate
from promptless.image import Image
from promptless.model import Model
from promptless.pipeline import segment

Labels = NDArray[np.int32]
Told = Callable[[float, str], None]
"""Told which share is done, and what is being done."""


@dataclass(frozen=True)
class Measure:
    """A figure of a rule of `promptless evaluate`, and how it is called here."""

    name: str
    rule: str
    figure: str


PIXELS = Measure("pixel Dice, image mean", "pixel", "Dice (F1) by image")
MSA = Measure("mSA", "msa", "mSA")
MEASURES = {
    INSTANCES: (
        Measure("AP at IoU .5, pooled", "stardist", "AP@0.50 pooled"),
        MSA,
        Measure("PQ at IoU .5, pooled", "stardist", "PQ@0.50 pooled"),
        Measure("AJI+", "aji+", "AJI+"),
        PIXELS,
    ),
    SEMANTIC: (PIXELS, Measure("pixel IoU, image mean", "pixel", "IoU by image")),
}
"""What is told of a model, by what it gives."""
DECIDES = {INSTANCES: MSA, SEMANTIC: PIXELS}
"""By which of them one model is better than another."""
CHOOSES = {INSTANCES: (MSA, PIXELS), SEMANTIC: (PIXELS,)}
"""By the mean of which thresholds are chosen: mSA alone gives up many pixels of unsure objects for very little."""


@dataclass(frozen=True)
class Line:
    """A measure before and after training on the same images, and the 95 % interval of the paired difference."""

    measure: str
    n_images: int
    before: float
    after: float
    difference: float
    low: float
    high: float


def image_of(sample: Sample) -> Image:
    """Return a sample's image, with the size of its pixels where that is known."""
    spacing = None if sample.mpp is None else (sample.mpp,) * sample.labels.ndim
    return Image(sample.pixels, spacing)


def segmented(model: Model, samples: Sequence[Sample], tell: Told = lambda done, text: None) -> dict[str, Labels]:
    """Return the label image that a model makes of each sample, by id."""
    found = {}
    for i, sample in enumerate(samples):
        tell(i / len(samples), f"image {i + 1} of {len(samples)}")
        found[sample.id] = segment(image_of(sample), model).labels
    return found


def score(config: ModelConfig, samples: Sequence[Sample], found: Mapping[str, Labels]) -> float:
    """Return the one figure that decides, of label images found in samples; NaN where it is not defined."""
    decides = DECIDES[config.output]
    return figures(evaluation(samples, found, (decides,)), (decides,))[decides.name]


def balance(config: ModelConfig, samples: Sequence[Sample], found: Mapping[str, Labels]) -> float:
    """Return the figure that thresholds are chosen by, likewise."""
    chooses = CHOOSES[config.output]
    return fmean(figures(evaluation(samples, found, chooses), chooses).values())


def compare(
    config: ModelConfig, samples: Sequence[Sample], before: Mapping[str, Labels], after: Mapping[str, Labels]
) -> list[Line]:
    """Return every measure before and after, on the same images."""
    measures = MEASURES[config.output]
    old, new = evaluation(samples, before, measures), evaluation(samples, after, measures)
    first, second = figures(old, measures), figures(new, measures)
    rows = {(row.rule, row.figure): row for row in differences(new, old)}
    paired = {m.name: rows[m.rule, m.figure] for m in measures}
    return [
        Line(name, len(samples), first[name], second[name], row.value, row.low, row.high)
        for name, row in paired.items()
    ]


def evaluation(
    samples: Sequence[Sample], found: Mapping[str, Labels], measures: Sequence[Measure] = (MSA,)
) -> Evaluation:
    """Count what the measures need."""
    truth = {sample.id: sample.labels for sample in samples}
    return evaluate(truth, dict(found), tuple(dict.fromkeys(measure.rule for measure in measures)))


def figures(counted: Evaluation, measures: Sequence[Measure]) -> dict[str, float]:
    """Return the figures of all images, by the names of the measures."""
    known = {
        (rule.name, figure.name): figure.of_set(counted.counts[rule.name])
        for rule in counted.rules
        for figure in rule.figures
    }
    return {measure.name: known[measure.rule, measure.figure] for measure in measures}


def middle(sample: Sample, side: int) -> Sample:
    """Return the middle of a sample, at most `side` pixels wide and high."""
    part = tuple(slice(max(0, (n - side) // 2), (n + side) // 2 if n > side else n) for n in sample.labels.shape)
    return replace(sample, pixels=sample.pixels[:, *part], labels=sample.labels[part], classes={})
