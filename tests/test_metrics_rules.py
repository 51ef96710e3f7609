from __future__ import annotations

import numpy as np
import pytest

from promptless.metrics.comparison import Comparison
from promptless.metrics.rules import CLASS_RULES, OBJECT_CLASS_RULES, OBJECT_RULES, RULES, find

KINDS = {label: 1 + label % 3 for label in range(1, 12)}


def scene(rng):
    """Return squares with background, and the same with some gone or moved."""
    truth = np.kron(np.arange(12).reshape(3, 4), np.ones((6, 6), int))
    predicted = np.where(np.isin(truth, rng.integers(0, 12, 3)), 0, np.roll(truth, rng.integers(0, 2), 0))
    return truth, predicted


@pytest.mark.parametrize("name", RULES)
def test_equal_images_score_1(name, rng):
    truth, _ = scene(rng)
    volume = np.stack([truth * 0, truth, truth, truth * 0])
    counts = [RULES[name].count(Comparison(volume, volume, (2.0, 1.0, 1.0), 1.0, KINDS, KINDS))]
    scores = [0.0 if f.name.startswith("HD95") else 1.0 for f in RULES[name].figures]
    assert [f.of_set(counts) for f in RULES[name].figures] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("name", RULES)
def test_one_image_and_two_copies_of_it_have_one_figure(name, rng):
    count = RULES[name].count(Comparison(*scene(rng), (1.0, 1.0), 1.0, KINDS, KINDS))
    for figure in RULES[name].figures:
        assert figure.of_set([count]) == pytest.approx(figure.of_set([count, count]), nan_ok=True)
        assert figure.of_images([count, count]) == pytest.approx(figure.of_set([count]), nan_ok=True)


@pytest.mark.parametrize("name", RULES)
def test_a_description_says_what_happens_to_the_empty(name):
    assert RULES[name].name == name
    assert len(RULES[name].description) > 20


def test_objects_and_classes_are_all_the_rules():
    assert (*OBJECT_RULES, *CLASS_RULES, *OBJECT_CLASS_RULES) == tuple(RULES)


def test_an_unknown_rule_lists_those_there_are():
    with pytest.raises(ValueError, match=r"no rule 'map'; there are stardist, cellpose"):
        find(["stardist", "map"])


def test_a_rule_that_is_named_twice_counts_once():
    assert [rule.name for rule in find(["msa", "aji", "msa"])] == ["msa", "aji"]


def test_images_without_truth_are_dropped_by_instanseg(rng):
    rule = RULES["instanseg-f1"]
    truth, predicted = scene(rng)
    some, none = rule.count(Comparison(truth, predicted)), rule.count(Comparison(truth * 0, predicted))
    assert [f.of_set([some, none]) for f in rule.figures] == [f.of_set([some]) for f in rule.figures]


def test_millimetres_need_a_spacing(rng):
    with pytest.raises(ValueError, match="--spacing"):
        RULES["deepmind"].count(Comparison(*scene(rng)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1.0,)}, "one per axis"),
        ({"spacing": (1.0, -1.0)}, "above 0"),
        ({"tolerance": -1.0}, "0 or more"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Comparison(np.zeros((2, 2), int), np.zeros((2, 2), int), **options)


def test_pixel_scores_differ_by_their_averaging():
    """SAC reports F1, Dice and IoU: pixels of all images pooled, means over images, and F1 of objects."""
    truth, predicted = np.zeros((2, 10, 10), int), np.zeros((2, 10, 10), int)
    truth[0, :4, :4], predicted[0, :4, :4] = 1, 1  # all 16 pixels
    truth[1, :2, :4], predicted[1, :2, 2:8] = 1, 1  # 4 of 8 pixels, and 8 that are wrong
    counts = {
        name: [RULES[name].count(Comparison(*pair)) for pair in zip(truth, predicted, strict=True)]
        for name in ("pixel", "stardist")
    }
    figures = {f.name: f.of_set(counts[name]) for name in counts for f in RULES[name].figures}
    assert figures["Dice (F1) by image"] == pytest.approx((1 + 8 / 20) / 2)
    assert figures["Dice (F1) pooled"] == pytest.approx(2 * 20 / (24 + 28))
    assert figures["IoU by image"] == pytest.approx((1 + 4 / 16) / 2)
    assert figures["IoU pooled"] == pytest.approx(20 / 32)
    assert figures["F1@0.50 pooled"] == pytest.approx(1 / 2)
