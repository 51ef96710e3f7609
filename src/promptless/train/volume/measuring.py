"""How good a model on volumes is: classes found in scans, and their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptless import voxels
from promptless.evaluation import SEED, Evaluation, evaluate
from promptless.image import Shape
from promptless.io.label_files import LabelImage
from promptless.metrics.bootstrap import interval_of_sums
from promptless.metrics.figures import defined, first_over_second
from promptless.model import Array, VoxelModel
from promptless.record import Steps

Labels = NDArray[np.integer]
RULE, LOOK_RULE = "deepmind", "nnunet"
FIGURES = ("Dice", "NSD", "HD95 mm")
"""What `RULE` counts of a class, in this order."""
TOLERANCE = 1.0
"""Of NSD, in mm."""
MEAN = "mean"
DECIDES = "mean Dice"
"""What is looked at while training, and decides: over cases, then over classes, without the background."""
Told = Callable[[float, str], None]


@dataclass(frozen=True)
class Line:
    """A figure of a class, or of the mean of all, over the scans that have one; its 95 % interval over scans."""

    structure: str
    figure: str
    n: int  # scans
    value: float
    low: float
    high: float


def found(model: VoxelModel, image: Array, shape: Shape) -> Labels:
    """Return the class of every voxel of a scan's own grid, `shape`, of the scan (z, y, x) as the model sees it.

    It is what `promptless.segment` gives, without mirrored views.
    """
    planned = voxels.laid(shape, image.shape, voxels.of_volume(model.config).crop, model.config, flips=False)
    seen = voxels.Seen(voxels.framed(image, planned))
    labels, _, _ = voxels.classified(seen, planned, model, (), Steps(), lambda done, total: None)
    return labels


def mean_dice(truth: Mapping[str, Labels], predicted: Mapping[str, Labels]) -> float:
    """Return the mean Dice over cases, then classes; the background is none."""
    evaluation = evaluate(dict(truth), dict(predicted), (LOOK_RULE,))
    (rule,) = evaluation.rules
    return rule.figures[0].of_set(evaluation.counts[LOOK_RULE])


def measured(truth: Mapping[str, LabelImage], predicted: Mapping[str, Labels]) -> Evaluation:
    """Compare the classes of scans; distances are in mm."""
    return evaluate(dict(truth), dict(predicted), (RULE,), tolerance=TOLERANCE)


def by_case(evaluation: Evaluation, n_classes: int) -> NDArray[np.float64]:
    """Return every figure of every class of every case, (case, class, figure); NaN where a class is in neither."""
    absent = (float("nan"),) * len(FIGURES)
    counts = evaluation.counts[RULE]
    return np.array([[case.get(label, absent) for label in range(1, 1 + n_classes)] for case in counts], float)


def table(evaluation: Evaluation, classes: Sequence[str]) -> list[Line]:
    """Return the figures of each class, then of the mean over classes, with their intervals over cases."""
    values = by_case(evaluation, len(classes))
    lines = [
        line_of(name, figure, values[:, i, j]) for i, name in enumerate(classes) for j, figure in enumerate(FIGURES)
    ]
    means = [row for row in evaluation.rows() if row.rule == RULE and not row.class_name]
    for row, figure in zip(means, FIGURES, strict=True):
        lines.append(Line(MEAN, figure, row.n_images, row.value, row.low, row.high))
    return lines


def score(lines: Sequence[Line]) -> float:
    """Return the figure that decides which of two models is better: the mean Dice."""
    return next(line.value for line in lines if (line.structure, line.figure) == (MEAN, FIGURES[0]))


def line_of(structure: str, figure: str, values: NDArray[np.float64]) -> Line:
    """Return the mean of a figure over the cases where it is defined."""
    terms = defined(values)
    low, high = interval_of_sums(terms, first_over_second, np.random.default_rng(SEED))
    n = int(np.count_nonzero(~np.isnan(values)))
    return Line(structure, figure, n, float(first_over_second(terms.sum(axis=0))), low, high)
