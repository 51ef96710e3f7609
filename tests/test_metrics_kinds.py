from __future__ import annotations

import numpy as np
import pytest

from made_up import discs
from promptless.metrics.comparison import Comparison
from promptless.metrics.kinds import by_class
from promptless.metrics.rules import RULES

TRUTH = discs((60, 60), [(15, 15, 6), (15, 45, 6), (45, 15, 6), (45, 45, 6)])
KINDS = {1: 1, 2: 1, 3: 2, 4: 5}
RULE = RULES["pannuke-pq"]


def compared(predicted, classes, truth=TRUTH, kinds=KINDS):
    return Comparison(truth, predicted, true_classes=kinds, predicted_classes=classes)


def figures(counts):
    """Return the figures of a set of counts by name."""
    return {(figure.name, figure.of_class): figure.of_set(counts) for figure in RULE.grown(counts).figures}


def test_a_class_that_is_mistaken_is_missed_in_one_and_false_in_the_other():
    counted = by_class(compared(TRUTH, {1: 1, 2: 1, 3: 1, 4: 5}))
    assert counted.whole == pytest.approx(1)
    expected = {1: 2 / 2.5, 2: 0, 5: 1}  # two found and one false alarm; missed; found
    assert counted.classes == pytest.approx(expected, abs=1e-5)
    assert counted.mean == pytest.approx(1.8 / 3, abs=1e-5)


def test_it_is_hovernets_pq_of_the_label_images_of_each_class(rng):
    predicted = np.where(TRUTH == 4, 0, np.roll(TRUTH, 2, 0))
    classes = {1: 1, 2: 2, 3: 2}
    for value, pq in by_class(compared(predicted, classes)).classes.items():
        of_class = [
            np.where(np.isin(labels, [i for i, kind in kinds.items() if kind == value]), labels, 0)
            for labels, kinds in ((TRUTH, KINDS), (predicted, classes))
        ]
        assert pq == pytest.approx(RULES["hovernet-pq"].count(Comparison(*of_class)).pq)


def test_a_class_that_only_the_prediction_has_does_not_count():
    counted = by_class(compared(TRUTH, KINDS, np.where(TRUTH == 4, 0, TRUTH), {1: 1, 2: 1, 3: 2}))
    assert set(counted.classes) == {1, 2}
    assert counted.mean == pytest.approx(1, abs=1e-5)
    assert counted.whole == pytest.approx(3 / 3.5, abs=1e-5)


def test_images_are_averaged_over_their_classes_and_classes_over_the_images_that_have_them():
    only_1 = np.where(TRUTH <= 2, TRUTH, 0)
    counts = [
        by_class(compared(TRUTH, {1: 1, 2: 1, 3: 1, 4: 5})),  # mPQ .6
        by_class(compared(only_1, KINDS, only_1)),  # mPQ 1
        by_class(compared(TRUTH, KINDS, TRUTH * 0)),  # nothing to find: undefined
    ]
    expected = {("mPQ", 0): 0.8, ("bPQ", 0): 1, ("PQ", 1): 0.9, ("PQ", 2): 0, ("PQ", 5): 1}
    assert figures(counts) == pytest.approx(expected, abs=1e-5)


def test_objects_without_a_class_count_as_objects_alone():
    counted = by_class(compared(TRUTH, KINDS | {4: 0}, kinds={1: 1, 2: 1, 3: 2}))
    assert counted.classes == pytest.approx({1: 1, 2: 1}, abs=1e-5)


@pytest.mark.parametrize("side", ["truth", "prediction"])
def test_classes_are_needed(side):
    classes = {} if side == "prediction" else KINDS
    with pytest.raises(ValueError, match=rf"the {side} has objects but no classes; .*NAME_objects\.csv"):
        by_class(compared(TRUTH, classes, kinds=KINDS if classes == {} else {}))
