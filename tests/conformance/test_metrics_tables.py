"""The edge-case tables: what each published code returns, executed on that code, is what its rule returns here.

Where the code crashes or divides by zero, the rule returns NaN.
"""

from __future__ import annotations

import numpy as np
import pytest

from promptless.metrics.comparison import Comparison
from promptless.metrics.instances import THRESHOLDS, stardist_matching
from promptless.metrics.overlaps import overlaps
from promptless.metrics.rules import RULES
from promptless.metrics.surfaces import edge_distances, hausdorff, surface_dice, surfel_distances

NAN = float("nan")
CRASH = NAN


def boxes(shape=(20, 20), **objects):
    """Return a label image with a box `start, stop` per axis for each label: _1=(0, 10, 0, 10)."""
    labels = np.zeros(shape, np.int32)
    for name, edges in objects.items():
        labels[tuple(slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True))] = int(name[1:])
    return labels


def score(rule, figure, *pairs):
    """Return a figure of a rule, by the beginning of its name, over pairs of label images."""
    counts = [RULES[rule].count(Comparison(*pair)) for pair in pairs]
    found = next(f for f in RULES[rule].figures if f.name.startswith(figure))
    return found.of_set(counts)


EMPTY, WHOLE = boxes(), boxes(_1=(0, 10, 0, 10))
HALVES = boxes(_1=(0, 5, 0, 10), _2=(5, 10, 0, 10))
ONE, TWO = np.ones((8, 8), int), np.kron([[1, 2]], np.ones((8, 4), int))
CASES = {
    "both empty": (EMPTY, EMPTY),
    "GT empty, 1 pred": (EMPTY, WHOLE),
    "1 GT, pred empty": (WHOLE, EMPTY),
    "IoU exactly .5": (WHOLE, boxes(_1=(0, 5, 0, 10))),
    "1 GT split in two exact halves": (WHOLE, HALVES),
    "2 GT merged by one pred": (HALVES, WHOLE),
    "1 pred over 2 GT, IoU .4545 each": (boxes(_1=(0, 5, 0, 10), _2=(6, 11, 0, 10)), boxes(_1=(0, 11, 0, 10))),
    "no background, 1 object": (ONE, ONE),
    "no background, 2 objects": (TWO, TWO),
    "ids 3,7 vs 9,2": (boxes(_3=(0, 5, 0, 5), _7=(8, 13, 0, 5)), boxes(_9=(0, 5, 0, 5), _2=(8, 13, 0, 5))),
    "GT id with 2 parts, pred splits it": (
        boxes(_1=(0, 5, 0, 10)) | boxes(_1=(8, 13, 0, 10)),
        boxes(_1=(0, 5, 0, 10), _2=(8, 13, 0, 10)),
    ),
}
COLUMNS = (
    ("stardist", "AP@0.50 pooled"),
    ("stardist", "F1@0.50"),
    ("stardist", "PQ@0.50"),
    ("cellpose", "AP@0.50"),
    ("msa", "mSA"),
    ("hovernet-pq", "PQ"),
    ("cellvit-pq", "PQ"),
    ("aji", "AJI"),
    ("aji+", "AJI+"),
    ("cellpose-aji", "AJI"),
    ("caicedo-f1", "F1@0.50"),
    ("instanseg-f1", "F1@0.50"),
)
THIRD, TWO_THIRDS, APART = 1 / 3, 2 / 3, 50 / 110
TABLE = {
    "both empty": (0, 0, 0, NAN, 0, CRASH, 0, CRASH, NAN, NAN, 0, 0),
    "GT empty, 1 pred": (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "1 GT, pred empty": (0, 0, 0, 0, 0, 0, 0, CRASH, 0, 0, 0, 0),
    "IoU exactly .5": (1, 1, 0.5, 1, 0.1, 0, 0, 0.5, 0.5, 0.5, 0, 1),
    "1 GT split in two exact halves": (0.5, TWO_THIRDS, THIRD, 0.5, 0.05, 0, 0, THIRD, THIRD, 0.5, 0, 1),
    "2 GT merged by one pred": (0.5, TWO_THIRDS, THIRD, 0.5, 0.05, 0, 0, 0.5, THIRD, 0.5, 0, 1),
    "1 pred over 2 GT, IoU .4545 each": (0, 0, 0, 0, 0, 0, 0, APART, 0.3125, APART, 0, 0),
    "no background, 1 object": (1, 1, 1, NAN, 1, CRASH, 0, CRASH, CRASH, 1, 0, 1),
    "no background, 2 objects": (1, 1, 1, NAN, 1, CRASH, CRASH, CRASH, CRASH, 1, 1, 1),  # cellpose: 2 / 0
    "ids 3,7 vs 9,2": (1, 1, 1, 1, 1, 1, 0.999999, 1, 1, 1, 0.5, 1),
    "GT id with 2 parts, pred splits it": (0.5, TWO_THIRDS, THIRD, 0.5, 0.05, 0, 0, THIRD, THIRD, 0.5, 0, 1),
}
COUNTS = {  # cellpose, Caicedo, InstanSeg: TP, FP, FN at .5
    "both empty": ((0, 0, 0), (0, 0, 0), (0, 0, 0)),
    "GT empty, 1 pred": ((0, 1, 0), (0, 1, 0), (0, 1, 0)),
    "1 GT, pred empty": ((0, 0, 1), (0, 0, 1), (0, 0, 1)),
    "IoU exactly .5": ((1, 0, 0), (0, 1, 1), (1, 0, 0)),
    "1 GT split in two exact halves": ((1, 1, 0), (0, 2, 1), (2, 0, 0)),
    "2 GT merged by one pred": ((1, 0, 1), (0, 1, 2), (2, 0, 0)),
    "1 pred over 2 GT, IoU .4545 each": ((0, 1, 2), (0, 1, 2), (0, 1, 2)),
    "no background, 1 object": ((0, 0, 0), (0, 0, 0), (1, 0, 0)),
    "no background, 2 objects": ((2, -1, -1), (1, 0, 0), (2, 0, 0)),
    "ids 3,7 vs 9,2": ((2, 0, 0), (1, 1, 1), (2, 0, 0)),
    "GT id with 2 parts, pred splits it": ((1, 1, 0), (0, 2, 1), (2, 0, 0)),
}


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("column", range(len(COLUMNS)), ids=[" ".join(c) for c in COLUMNS])
def test_objects(case, column):
    found = score(*COLUMNS[column], CASES[case])
    assert found == pytest.approx(TABLE[case][column], abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("case", COUNTS)
@pytest.mark.parametrize(("place", "rule"), list(enumerate(("cellpose", "caicedo-f1", "instanseg-f1"))))
def test_counts(case, place, rule):
    counts = RULES[rule].count(Comparison(*CASES[case]))
    assert tuple(int(column[0]) for column in counts) == COUNTS[case][place]


@pytest.mark.parametrize("case", ["1 GT split in two exact halves", "2 GT merged by one pred"])
def test_pixels_do_not_see_splits_and_merges_but_dice_2_does(case):
    assert score("pixel", "Dice (F1) by image", CASES[case]) == 1
    assert score("hovernet-dice2", "dice_2", CASES[case]) == pytest.approx(2 / 3)


def test_kaggle_wants_more_than_the_threshold():
    assert score("kaggle", "score", CASES["IoU exactly .5"]) == 0
    assert score("kaggle", "score", (WHOLE, WHOLE)) == 1
    assert score("kaggle", "score", (EMPTY, EMPTY)) == pytest.approx(NAN, nan_ok=True)
    assert score("kaggle", "score", (EMPTY, WHOLE)) == 0


def row_of(n):
    """Return a row of 20 pixels whose first n are an object."""
    return (np.arange(20) < n).astype(int)[None]


@pytest.mark.parametrize("reached", range(12, 20))
def test_threshold_ties(reached):
    # An IoU of exactly .60, .65, ... .95: StarDist counts it at that threshold, cellpose and elf with np.arange do not.
    pair = row_of(20), row_of(reached)
    drifting = tuple(np.arange(0.5, 1, 0.05))
    place = round((reached / 20 - 0.5) / 0.05)
    assert stardist_matching(overlaps(*pair).objects, drifting).tp[place] == 1
    assert stardist_matching(overlaps(*pair).objects, THRESHOLDS).tp[place] == 1
    assert RULES["msa"].count(Comparison(*pair)).tp[place] == 0
    assert RULES["msa"].count(Comparison(*pair)).tp[place - 1] == 1


@pytest.mark.parametrize(("reached", "tied"), [(10, 0), (11, 1)])
def test_there_is_no_drift_at_50_and_55(reached, tied):
    pair = row_of(20), row_of(reached)
    assert RULES["msa"].count(Comparison(*pair)).tp[tied] == 1
    assert RULES["stardist"].count(Comparison(*pair))[0].tp[tied] == 1


def test_averaging():
    four = boxes(_1=(0, 4, 0, 4), _2=(6, 10, 0, 4), _3=(12, 16, 0, 4), _4=(0, 4, 8, 12))
    a, b, c = (WHOLE, WHOLE), (four, np.where(four == 1, 1, 0)), (EMPTY, EMPTY)
    assert score("stardist", "AP@0.50 pooled", a, b) == 0.4
    assert score("stardist", "AP@0.50 by image", a, b) == score("cellpose", "AP@0.50", a, b) == 0.625
    assert score("stardist", "AP@0.50 pooled", a, b, c) == 0.4
    assert score("stardist", "AP@0.50 by image", a, b, c) == pytest.approx(0.4167, abs=1e-4)
    assert score("cellpose", "AP@0.50", a, b, c) == pytest.approx(NAN, nan_ok=True)


def test_averaging_of_volumes():
    # Dice of class 1 and 2: case 1 (1.0, NaN), case 2 (.5, .2).
    one = boxes((4, 4, 20), _1=(0, 1, 0, 1, 0, 10))
    true = boxes((4, 4, 20), _1=(0, 1, 0, 1, 0, 10), _2=(2, 3, 0, 1, 0, 10))
    found = boxes((4, 4, 20), _1=(0, 1, 0, 1, 5, 15), _2=(2, 3, 0, 1, 8, 18))
    cases = (one, one), (true, found)
    assert score("monai", "Dice", *cases) == pytest.approx(0.675)
    assert score("nnunet", "Dice", *cases) == pytest.approx(0.475)


CUBE = boxes((24, 24, 24), _1=(4, 8, 4, 8, 4, 8))
NOTHING = np.zeros((24, 24, 24), np.int32)
VOLUME_RULES = ("monai", "monai-keep-empty", "nnunet", "flare22", "deepmind", "transunet", "cbim")
VOLUMES = {
    "both empty": (NOTHING, NOTHING, (NAN, 1, NAN, 1, NAN, 0, NAN)),  # NaN of cbim: the class is dropped
    "GT empty, pred 64 vox": (NOTHING, CUBE, (NAN, 0, 0, 0, 0, 1, NAN)),
    "pred empty": (CUBE, NOTHING, (0, 0, 0, 0, 0, 0, 0)),
}


@pytest.mark.parametrize("case", VOLUMES)
@pytest.mark.parametrize("place", range(len(VOLUME_RULES)), ids=VOLUME_RULES)
def test_volumes(case, place):
    truth, predicted, expected = VOLUMES[case]
    rule = RULES[VOLUME_RULES[place]]
    counts = [rule.count(Comparison(t, p, (1.0, 1.0, 1.0))) for t, p in ((truth, predicted), (CUBE, CUBE))]
    found = rule.figures[0].of_images(counts)  # the other image has the class, so that it is one of the set's
    assert found.tolist() == pytest.approx([expected[place], 1], nan_ok=True, abs=1e-6)


def cube(*start, size=8):
    """Return a mask (24, 24, 24) with a box at `start`."""
    mask = np.zeros((24, 24, 24), bool)
    sizes = (size,) * 3 if isinstance(size, int) else size
    mask[tuple(slice(a, a + n) for a, n in zip(start, sizes, strict=True))] = True
    return mask


EIGHT, FLAT = cube(8, 8, 8), (3.0, 1.0, 1.0)
UNIT = (1.0, 1.0, 1.0)
SURFACES = [  # truth, prediction, spacing, tolerance, DeepMind (= MONAI's subvoxels), MONAI's default
    (cube(0, 0, 0, size=0), cube(0, 0, 0, size=0), UNIT, 1, NAN, NAN),
    (EIGHT, cube(0, 0, 0, size=0), UNIT, 1, 0, 0),
    (EIGHT, cube(9, 8, 8), UNIT, 0, 0.66585, 0.66216),
    (EIGHT, cube(9, 8, 8), UNIT, 1, 1, 1),
    (EIGHT, cube(9, 8, 8), FLAT, 1, 0.85631, 0.72973),
    (EIGHT, cube(9, 8, 8), FLAT, 2, 0.8754, 0.77027),
    (EIGHT, cube(9, 8, 8), FLAT, 3, 1, 1),
    (EIGHT, cube(8, 8, 9), FLAT, 0.5, 0.58486, 0.66216),
    (EIGHT, cube(8, 8, 9), FLAT, 1, 1, 1),
    (EIGHT, cube(9, 9, 9, size=6), UNIT, 0, 0, 0),
    (EIGHT, cube(9, 9, 9, size=6), UNIT, 1, 0.88871, 0.82143),
    (EIGHT, cube(9, 9, 9, size=6), UNIT, 2, 1, 1),
    (cube(0, 0, 0), cube(0, 0, 0), UNIT, 0, 1, 1),
    (cube(0, 0, 0), cube(0, 0, 0, size=(9, 8, 8)), UNIT, 0, 0.83988, 0.83871),
    (cube(8, 8, 8, size=1), cube(9, 8, 8, size=1), UNIT, 0, 0.5, 0),
    (cube(8, 8, 8, size=1), cube(9, 8, 8, size=1), UNIT, 1, 1, 1),
]


@pytest.mark.parametrize("row", range(len(SURFACES)))
def test_surfaces(row):
    truth, predicted, spacing, tolerance, deepmind, monai = SURFACES[row]
    found = surface_dice(surfel_distances(truth, predicted, spacing), tolerance)
    assert found == pytest.approx(deepmind, abs=1e-5, nan_ok=True)
    found = surface_dice(edge_distances(truth, predicted, spacing), tolerance)
    assert found == pytest.approx(monai, abs=1e-5, nan_ok=True)


def test_flare_says_1_where_both_are_empty():
    rule, nsd = RULES["flare22"], RULES["flare22"].figures[1]
    counts = [rule.count(Comparison(t, p, UNIT)) for t, p in ((NOTHING, NOTHING), (CUBE, CUBE), (NOTHING, CUBE))]
    assert nsd.of_images(counts).tolist() == [1, 1, 0]


def test_flare_scores_some_organs_on_their_slices_without_the_last():
    aorta = boxes((8, 6, 6), _5=(2, 6, 1, 4, 1, 4))
    longer = boxes((8, 6, 6), _5=(0, 8, 1, 4, 1, 4))
    assert score("flare22", "Dice", (aorta, longer, UNIT)) == 1
    liver = score("flare22", "Dice", (aorta > 0, longer > 0, UNIT))
    assert liver == pytest.approx(2 * 36 / (36 + 72))


def test_the_farther_of_the_two_surfaces_decides_hd95():
    assert hausdorff(surfel_distances(EIGHT, cube(8, 8, 8, size=(8, 8, 14)), (1.0, 1.0, 2.0))) > 10
    assert hausdorff(surfel_distances(EIGHT, EIGHT, UNIT)) == 0
    assert hausdorff(surfel_distances(EIGHT, np.zeros_like(EIGHT), UNIT)) == float("inf")
