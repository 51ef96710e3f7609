"""Every rule by its name: what counts as found, at which IoU, and how images are averaged.

What a rule needs to know of one image is a value, its counts; its figures are made of the counts of many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.metrics import jaccard, kinds, panoptic, volumes
from promptless.metrics.comparison import Comparison
from promptless.metrics.figures import (
    Figure,
    Sums,
    defined,
    defined_mean,
    first_over_second,
    mean,
    nan_mean,
    pooled,
    ratio,
)
from promptless.metrics.instances import (
    THRESHOLDS,
    Matching,
    binned_matching,
    double_matching,
    free_matching,
    greater_matching,
    stardist_matching,
)
from promptless.metrics.pixels import Foreground, ensemble_dice, foreground

ELF_THRESHOLDS = tuple(np.arange(0.5, 1, 0.05).tolist())
"""They drift above .6, .65, ... and an IoU of exactly that misses them; elf's mSA is defined with them."""
CAICEDO_THRESHOLDS = tuple(np.arange(0.5, 0.95, 0.05).tolist())
"""Nine values, .50 to .90."""
CELLPOSE_THRESHOLDS = (0.5, 0.75, 0.9)
INSTANSEG_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def no_more(counts: list[Any]) -> tuple[Figure, ...]:
    """Return the figures that most rules add for what was counted: none."""
    return ()


@dataclass(frozen=True)
class Rule:
    """How one code compares label images: the counts of an image, and the figures made of them."""

    name: str
    description: str
    count: Callable[[Comparison], Any]
    figures: tuple[Figure, ...]
    more: Callable[[list[Any]], tuple[Figure, ...]] = no_more  # figures that depend on what was counted

    @property
    def by_class(self) -> bool:
        """Whether there may be figures of single classes."""
        return self.more is not no_more

    def grown(self, counts: list[Any]) -> Rule:
        """Return the rule with the figures that the counts of all images ask for."""
        return replace(self, figures=(*self.figures, *self.more(counts)))


# Objects.


def at(matching: Matching, threshold: float, thresholds: Sequence[float]) -> tuple[int, int, int]:
    """Return TP, FP and FN at a threshold."""
    i = list(thresholds).index(threshold)
    return int(matching.tp[i]), int(matching.fp[i]), int(matching.fn[i])


def accuracy(tp: int, fp: int, fn: int) -> float:
    """Return TP / (TP + FP + FN), 0 where nothing is found: what StarDist and elf call accuracy."""
    return tp / (tp + fp + fn) if tp else 0.0


def strict_accuracy(tp: int, fp: int, fn: int) -> float:
    """Return TP / (TP + FP + FN), NaN where the denominator is 0."""
    return tp / (tp + fp + fn) if tp + fp + fn else float("nan")


def pooled_accuracy(sums: Sums) -> Sums:
    """Return accuracy of sums of TP, FP, FN; 0 where there are none."""
    return np.nan_to_num(ratio(sums[..., 0], sums.sum(axis=-1)))


def pooled_f1(sums: Sums) -> Sums:
    """Return F1 of sums of TP, FP, FN; 0 where there are none."""
    return np.nan_to_num(ratio(2 * sums[..., 0], sums[..., 0] + sums.sum(axis=-1)))


def stardist_counts(comparison: Comparison) -> tuple[Matching, float]:
    """Return the matching at ten thresholds, and the sum of the IoUs of what matches at 0.5.

    Matched IoUs are above 0.5, where partners are unique, or 0.5 each, so the sum needs no assignment.
    """
    pairs = comparison.overlaps.objects
    matching = stardist_matching(pairs)
    above = pairs.iou > 0.5
    ties = int(matching.tp[0]) - np.count_nonzero(above)
    return matching, float(pairs.iou[above].sum() + 0.5 * ties)


def stardist_at(threshold: float, counts: tuple[Matching, float]) -> tuple[int, int, int]:
    """Return TP, FP and FN at a threshold."""
    return at(counts[0], threshold, THRESHOLDS)


def panoptic_terms(counts: tuple[Matching, float]) -> tuple[float, float]:
    """Return the sum of matched IoUs, and TP + FP / 2 + FN / 2."""
    tp, fp, fn = stardist_at(0.5, counts)
    return counts[1], tp + fp / 2 + fn / 2


def stardist_accuracy(threshold: float, counts: tuple[Matching, float]) -> float:
    """Return the accuracy of an image at a threshold."""
    return accuracy(*stardist_at(threshold, counts))


STARDIST = Rule(
    "stardist",
    "IoU >= t in float32, one to one; pooled counts, and means over images (both empty: 0)",
    stardist_counts,
    (
        *(pooled(f"AP@{t:.2f} pooled", partial(stardist_at, t), pooled_accuracy) for t in (0.5, 0.75, 0.9)),
        pooled("F1@0.50 pooled", partial(stardist_at, 0.5), pooled_f1),
        pooled("PQ@0.50 pooled", panoptic_terms, lambda sums: np.nan_to_num(first_over_second(sums))),
        *(mean(f"AP@{t:.2f} by image", partial(stardist_accuracy, t)) for t in (0.5, 0.75, 0.9)),
        mean("AP@.50:.95 by image", lambda counts: float(counts[0].precision.mean())),
    ),
)


def cellpose_counts(comparison: Comparison) -> Matching:
    """Return cellpose's counts: as many objects as labels less one, whether or not one of them is background.

    Without background that is one object too few, and FP and FN may be -1, as in cellpose.
    """
    whole = comparison.overlaps
    n_true, n_predicted = whole.n_true - 1, whole.n_predicted - 1
    found = double_matching(whole.objects, CELLPOSE_THRESHOLDS).tp if n_predicted else np.zeros(3, np.int64)
    return Matching(found, n_predicted - found, n_true - found)


def cellpose_accuracy(threshold: float, matching: Matching) -> float:
    """Return AP of an image, NaN where cellpose divides by 0: both empty, or no background."""
    return strict_accuracy(*at(matching, threshold, CELLPOSE_THRESHOLDS))


def elf_accuracy(thresholds: Sequence[float], matching: Matching) -> float:
    """Return the mean accuracy over some of elf's thresholds."""
    return float(np.mean([accuracy(*at(matching, t, ELF_THRESHOLDS)) for t in thresholds]))


def kaggle_score(matching: Matching) -> float:
    """Return the mean of TP / (TP + FP + FN) over ten thresholds; NaN where both images are empty."""
    return float(np.mean([strict_accuracy(*counts) for counts in zip(*matching, strict=True)]))


def caicedo_f1(matching: Matching) -> NDArray[np.float64]:
    """Return F1 per threshold, 1e-9 in the denominator."""
    return np.asarray(2 * matching.tp / (2 * matching.tp + matching.fp + matching.fn + 1e-9))


def instanseg_terms(matching: Matching) -> Sequence[float]:
    """Return TP, FP and FN at five thresholds; nothing for an image without truth, which InstanSeg drops."""
    tp, _, fn = matching
    return np.concatenate(matching).tolist() if (tp + fn).any() else [0.0] * (len(tp) * 3)


def instanseg_f1(sums: Sums) -> Sums:
    """Return F1 per threshold, 1e-10 in the denominator."""
    tp, fp, fn = np.split(sums, 3, axis=-1)
    return np.asarray(2 * tp / (2 * tp + fp + fn + 1e-10))


def of_objects(count: Callable[..., Any], *arguments: Any) -> Callable[[Comparison], Any]:
    """Return the counts of a function of the overlaps of objects."""
    return lambda comparison: count(comparison.overlaps.objects, *arguments)


def of_overlaps(count: Callable[..., Any], *arguments: Any) -> Callable[[Comparison], Any]:
    """Return the counts of a function of all overlaps, background included."""
    return lambda comparison: count(comparison.overlaps, *arguments)


def itself(score: float) -> float:
    """Return the score: the counts of the rule are the figure."""
    return score


def panoptic_figures(average: Callable[[str, Callable[[Any], float]], Figure]) -> tuple[Figure, ...]:
    """Return detection, segmentation and panoptic quality."""
    return average("DQ", lambda q: q.dq), average("SQ", lambda q: q.sq), average("PQ", lambda q: q.pq)


# Pixels.


def pixel_dice(sums: Sums) -> Sums:
    """Return Dice of sums of true, predicted and shared pixels."""
    return ratio(2 * sums[..., 2], sums[..., 0] + sums[..., 1])


def pixel_iou(sums: Sums) -> Sums:
    """Return IoU of sums of true, predicted and shared pixels."""
    return ratio(sums[..., 2], sums[..., 0] + sums[..., 1] - sums[..., 2])


def of_one(of: Callable[[Sums], Sums], counts: Foreground) -> float:
    """Return a pixel figure of a single image."""
    return float(of(np.array(counts, float)))


def pixel_figures() -> tuple[Figure, ...]:
    """Return Dice (which is the F1 of pixels) and IoU, per image and pooled."""
    kinds = {"Dice (F1)": pixel_dice, "IoU": pixel_iou}
    by_image = (defined_mean(f"{name} by image", partial(of_one, of)) for name, of in kinds.items())
    together = (pooled(f"{name} pooled", tuple, of) for name, of in kinds.items())
    return *by_image, *together


# Classes of objects.


def of_class(value: int, counts: kinds.ByClass) -> float:
    """Return PQ of a class, NaN where the truth does not have it."""
    return counts.classes.get(value, kinds.NAN)


def class_figures(counts: list[kinds.ByClass]) -> tuple[Figure, ...]:
    """Return PQ of each class that the truth of any image has."""
    present = sorted({value for count in counts for value in count.classes})
    return tuple(defined_mean("PQ", partial(of_class, value), value) for value in present)


# Classes of a volume.


def case_mean(name: str, absent: tuple[float, ...], i: int) -> Figure:
    """Return the mean over the classes of a case, then over cases; what is NaN is left out of both."""
    return Figure(
        name, lambda counts: defined(nan_mean(volumes.by_class(counts, absent)[..., i], 1)), first_over_second
    )


def class_mean(name: str, absent: tuple[float, ...], i: int) -> Figure:
    """Return the mean over the cases of a class, then over classes; what is NaN is left out of both."""
    return Figure(name, partial(class_terms, absent, i), mean_of_classes)


def class_terms(absent: tuple[float, ...], i: int, counts: list[volumes.Classes]) -> Sums:
    """Return figure `i` of each class and whether it is defined, (image, 2 per class)."""
    return defined(volumes.by_class(counts, absent)[..., i]).reshape(len(counts), -1)


def mean_of_classes(sums: Sums) -> Sums:
    """Return the mean over the classes that are defined anywhere; NaN where there are none."""
    return nan_mean(first_over_second(sums.reshape(*sums.shape[:-1], -1, 2)), -1)


def volume(
    name: str,
    description: str,
    measure: Callable[[Comparison, int, Foreground], tuple[float, ...]],
    average: Callable[[str, tuple[float, ...], int], Figure],
    **absent: float,
) -> Rule:
    """Return a rule for classes: `absent` names its figures, and says what they are for a class in neither image."""
    values, names = tuple(absent.values()), [LABELS[figure] for figure in absent]
    figures = tuple(average(figure, values, i) for i, figure in enumerate(names))
    more = partial(by_class_figures, names, values)
    return Rule(name, description, lambda comparison: volumes.classes(comparison, measure), figures, more)


def by_class_figures(
    names: Sequence[str], absent: tuple[float, ...], counts: list[volumes.Classes]
) -> tuple[Figure, ...]:
    """Return the figures of each class that occurs in any image, as means over the images that have one."""
    found = sorted(set().union(*counts))
    return tuple(
        defined_mean(figure, partial(of_voxels, value, i, absent), value)
        for value in found
        for i, figure in enumerate(names)
    )


def of_voxels(value: int, i: int, absent: tuple[float, ...], counts: volumes.Classes) -> float:
    """Return figure `i` of a class in an image."""
    return counts.get(value, absent)[i]


NAN = float("nan")
LABELS = {"dice": "Dice", "nsd": "NSD", "hd95": "HD95 mm"}

ALL_RULES = (
    STARDIST,
    Rule(
        "cellpose",
        "IoU >= t in float64, one to one; mean over images (both empty, no background: NaN)",
        cellpose_counts,
        tuple(mean(f"AP@{t:.2f}", partial(cellpose_accuracy, t)) for t in CELLPOSE_THRESHOLDS),
    ),
    Rule(
        "msa",
        "elf (micro-sam, PathoSAM): IoU >= np.arange(.5, 1, .05), one to one; mean over images (both empty: 0)",
        of_objects(double_matching, ELF_THRESHOLDS),
        (
            mean("mSA", partial(elf_accuracy, ELF_THRESHOLDS)),
            mean("SA50", partial(elf_accuracy, ELF_THRESHOLDS[:1])),
            mean("SA75", partial(elf_accuracy, ELF_THRESHOLDS[5:6])),
        ),
    ),
    Rule(
        "hovernet-pq",
        "IoU > .5; mean over images (both empty, no background: NaN)",
        of_overlaps(panoptic.hovernet),
        panoptic_figures(mean),
    ),
    Rule(
        "cellvit-pq",
        "IoU > .5, 1e-6 in DQ; mean over images that have one (both empty: 0; no background: NaN)",
        of_overlaps(panoptic.cellvit),
        panoptic_figures(defined_mean),
    ),
    Rule(
        "instanseg-f1",
        "every pair with IoU >= t, no assignment; pooled over images with truth, mean over .5, .6, .7, .8, .9",
        of_objects(free_matching, INSTANSEG_THRESHOLDS),
        (
            pooled("F1", instanseg_terms, lambda sums: instanseg_f1(sums).mean(axis=-1)),
            pooled("F1@0.50", instanseg_terms, lambda sums: instanseg_f1(sums)[..., 0]),
        ),
    ),
    Rule(
        "caicedo-f1",
        "IoU > t for exactly one prediction, histogram bins for labels; mean over images and .5, .55, ... .90",
        of_overlaps(binned_matching, CAICEDO_THRESHOLDS),
        (
            mean("F1", lambda matching: float(caicedo_f1(matching).mean())),
            mean("F1@0.50", lambda matching: float(caicedo_f1(matching)[0])),
        ),
    ),
    Rule(
        "kaggle",
        "IoU > t for t = .50, .55, ... .95; mean over t, then over images (both empty: NaN)",
        of_objects(greater_matching, THRESHOLDS),
        (mean("score", kaggle_score),),
    ),
    Rule(
        "aji",
        "HoVer-Net: the best prediction of each object, reusable; mean over images (no prediction: NaN)",
        of_overlaps(jaccard.aji),
        (mean("AJI", itself),),
    ),
    Rule(
        "aji+",
        "HoVer-Net: one to one, largest sum of IoU; mean over images (both empty: NaN)",
        of_overlaps(jaccard.aji_plus),
        (mean("AJI+", itself),),
    ),
    Rule(
        "cellpose-aji",
        "one to one, IoU >= .5 first, over the union of foregrounds; mean over images (both empty: NaN)",
        of_overlaps(jaccard.cellpose_aji),
        (mean("AJI", itself),),
    ),
    Rule(
        "pixel",
        "foreground pixels; mean over images that have any, and pooled (both empty: NaN)",
        of_overlaps(foreground),
        pixel_figures(),
    ),
    Rule(
        "hovernet-dice2",
        "Dice over every pair of objects that touch; mean over images (none touch: NaN)",
        of_overlaps(ensemble_dice),
        (mean("dice_2", itself),),
    ),
    volume(
        "monai",
        "classes; truth empty: Dice NaN; NSD of edge voxels; mean over classes, then over cases",
        volumes.monai,
        case_mean,
        dice=NAN,
        nsd=NAN,
    ),
    volume(
        "monai-keep-empty",
        "classes; Dice with ignore_empty=False (both empty: 1); mean over classes, then over cases",
        volumes.monai_keeping_empty,
        case_mean,
        dice=1.0,
    ),
    volume(
        "nnunet",
        "classes; both empty: NaN; mean over cases, then over classes",
        volumes.nnunet,
        class_mean,
        dice=NAN,
    ),
    volume(
        "flare22",
        "classes; both empty: 1, truth empty: 0; classes 5, 6, 10 on their true slices; mean over cases and classes",
        volumes.flare22,
        case_mean,
        dice=1.0,
        nsd=1.0,
    ),
    volume(
        "deepmind",
        "classes; Dice, NSD and HD95 of surface elements in mm (both empty: NaN); mean over cases, then over classes",
        volumes.deepmind,
        class_mean,
        dice=NAN,
        nsd=NAN,
        hd95=NAN,
    ),
    volume(
        "transunet",
        "classes; truth empty: 1 for a prediction, else 0; mean over cases, then over classes",
        volumes.transunet,
        class_mean,
        dice=0.0,
    ),
    volume(
        "cbim",
        "classes; 1e-5 in the denominator, truth empty: left out; mean over cases, then over classes",
        volumes.cbim,
        class_mean,
        dice=NAN,
    ),
    Rule(
        "pannuke-pq",
        "IoU > .5 within a class; mean over the classes of a truth, then over images that have any (truth empty: NaN)",
        kinds.by_class,
        (defined_mean("mPQ", lambda counts: counts.mean), defined_mean("bPQ", lambda counts: counts.whole)),
        class_figures,
    ),
)
RULES: dict[str, Rule] = {rule.name: rule for rule in ALL_RULES}

OBJECT_RULES = tuple(rule.name for rule in ALL_RULES[:13])
CLASS_RULES = tuple(rule.name for rule in ALL_RULES[13:20])
OBJECT_CLASS_RULES = tuple(rule.name for rule in ALL_RULES[20:])
"""Rules for objects that need the class of each."""
DEFAULT_OBJECT_RULES = ("stardist", "msa", "aji+", "pixel")
DEFAULT_CLASS_RULES = ("nnunet", "deepmind")


def find(names: Sequence[str]) -> list[Rule]:
    """Return rules by name, each once."""
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise ValueError(f"there is no rule {', '.join(map(repr, unknown))}; there are {', '.join(RULES)}")
    return [RULES[name] for name in dict.fromkeys(names)]
