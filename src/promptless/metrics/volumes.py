"""Class by class in a volume: Dice and surface distances, as different codes define them for empty classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from promptless.masks import Mask as Crop
from promptless.metrics.comparison import Comparison
from promptless.metrics.pixels import Foreground
from promptless.metrics.surfaces import Mask, Spacing, edge_distances, hausdorff, surface_dice, surfel_distances

NAN = float("nan")
SLICED_ORGANS = (5, 6, 10)
"""Aorta, inferior vena cava and oesophagus in FLARE22's numbering: scored on the slices that are labelled."""

Classes = dict[int, tuple[float, ...]]
"""The figures of each class that occurs in an image."""


def classes(comparison: Comparison, measure: Callable[[Comparison, int, Foreground], tuple[float, ...]]) -> Classes:
    """Return what `measure` says of every class in the truth or the prediction; 0 is background."""
    whole = comparison.overlaps
    true = dict(zip(whole.true_ids.tolist(), whole.area_true.tolist(), strict=True))
    predicted = dict(zip(whole.predicted_ids.tolist(), whole.area_predicted.tolist(), strict=True))
    same = whole.true_ids[whole.row] == whole.predicted_ids[whole.column]
    shared = dict(zip(whole.true_ids[whole.row[same]].tolist(), whole.shared[same].tolist(), strict=True))
    found = sorted((true.keys() | predicted.keys()) - {0})
    return {c: measure(comparison, c, Foreground(true.get(c, 0), predicted.get(c, 0), shared.get(c, 0))) for c in found}


def dice(n: Foreground) -> float:
    """Return Dice; NaN where both are empty."""
    total = n.truth + n.predicted
    return 2 * n.shared / total if total else NAN


def masks(comparison: Comparison, label: int) -> tuple[Mask, Mask]:
    """Return where a class is in the truth and in the prediction, within the box that holds both."""
    found = [labelled.get(label) for labelled in comparison.labelled]
    there = [mask for mask in found if mask is not None]
    start = np.min([mask.start for mask in there], axis=0)
    shape = np.max([mask.stop for mask in there], axis=0) - start
    truth, predicted = (pasted(mask, start, shape) for mask in found)
    return truth, predicted


def pasted(mask: Crop | None, start: NDArray[np.int64], shape: NDArray[np.int64]) -> Mask:
    """Return a mask in the box of `shape` that begins at `start`, an empty one for none."""
    box = np.zeros(shape, bool)
    if mask is not None:
        box[mask.moved(tuple((-start).tolist())).region] = mask.pixels
    return box


def in_mm(comparison: Comparison) -> Spacing:
    """Return the voxel size; what is measured in mm needs one."""
    if comparison.spacing is None:
        raise ValueError("distances in mm need the size of a voxel; use NIfTI files, or give --spacing")
    return comparison.spacing


def monai(comparison: Comparison, label: int, n: Foreground) -> tuple[float, ...]:
    """Return MONAI's Dice and NSD with their defaults.

    Dice is NaN wherever the truth is empty, even where the prediction is not; NSD counts edge voxels,
    in voxels where the spacing is not known.
    """
    spacing = comparison.spacing or (1.0,) * len(comparison.truth.shape)
    found = edge_distances(*masks(comparison, label), spacing)
    return dice(n) if n.truth else NAN, surface_dice(found, comparison.tolerance)


def monai_keeping_empty(_: Comparison, __: int, n: Foreground) -> tuple[float, ...]:
    """Return MONAI's Dice with `ignore_empty=False`: 1 where both are empty."""
    return (dice(n) if n.truth + n.predicted else 1.0,)


def nnunet(_: Comparison, __: int, n: Foreground) -> tuple[float, ...]:
    """Return nnU-Net's Dice: NaN where TP + FP + FN = 0."""
    return (dice(n),)


def transunet(_: Comparison, __: int, n: Foreground) -> tuple[float, ...]:
    """Return Dice as TransUNet and SAMed score Synapse: 1 for a false alarm where the truth is empty, else 0."""
    if n.truth and n.predicted:
        return (dice(n),)
    return (1.0 if n.predicted else 0.0,)


def cbim(_: Comparison, __: int, n: Foreground) -> tuple[float, ...]:
    """Return Dice as CBIM and AutoProSAM do, 1e-5 in the denominator; a class that the truth lacks is left out."""
    return (2 * n.shared / (n.truth + n.predicted + 1e-5) if n.truth else NAN,)


def deepmind(comparison: Comparison, label: int, n: Foreground) -> tuple[float, ...]:
    """Return Dice, NSD and HD95 as DeepMind's `surface-distance` defines them; NaN where both are empty."""
    found = surfel_distances(*masks(comparison, label), in_mm(comparison))
    return dice(n), surface_dice(found, comparison.tolerance), hausdorff(found)


def flare22(comparison: Comparison, label: int, n: Foreground) -> tuple[float, ...]:
    """Return FLARE22's Dice and NSD: 1 and 1 where both are empty, 0 and 0 where only the truth is.

    Three organs are scored from the lowest to the highest slice with truth, that one excluded. An organ
    on a single slice leaves none: 0 / 0, NaN.
    """
    if not n.truth:
        return (0.0, 0.0) if n.predicted else (1.0, 1.0)
    pair = masks(comparison, label)
    if label in SLICED_ORGANS:
        slices = np.flatnonzero(pair[0].any(axis=tuple(range(1, pair[0].ndim))))
        pair = pair[0][slices[0] : slices[-1]], pair[1][slices[0] : slices[-1]]
    found = surfel_distances(*pair, in_mm(comparison))
    return dice(counted(*pair)), surface_dice(found, comparison.tolerance)


def counted(truth: Mask, predicted: Mask) -> Foreground:
    """Count the voxels of two masks."""
    return Foreground(int(truth.sum()), int(predicted.sum()), int((truth & predicted).sum()))


def by_class(counts: list[Classes], absent: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the figures of many images as (image, class, figure), over all classes that occur in any of them.

    `absent` is what the code in question says of a class that an image lacks in truth and prediction.
    """
    found = sorted(set().union(*counts))
    rows = [[figures.get(label, absent) for label in found] for figures in counts]
    return np.array(rows, float).reshape(len(counts), len(found), len(absent))
