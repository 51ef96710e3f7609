from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up import NULL, NullModel, same_partition
from promptless.config import SEMANTIC
from promptless.data.sample import Sample
from promptless.train.measuring import DECIDES, MEASURES, balance, compare, image_of, middle, score, segmented


@pytest.fixture
def samples(blobs):
    image, labels = blobs
    return [Sample(name, "grey", image[None], labels) for name in "abc"]


def test_thresholds_are_chosen_by_objects_and_by_pixels(samples):
    halves = {sample.id: np.where(sample.labels == 1, sample.labels, 0) for sample in samples}
    dice = score(replace(NULL, output=SEMANTIC), samples, halves)
    assert balance(NULL, samples, halves) == pytest.approx((score(NULL, samples, halves) + dice) / 2)
    assert balance(replace(NULL, output=SEMANTIC), samples, halves) == dice < 1


def test_a_model_that_is_right_scores_one(samples):
    found = segmented(NullModel(), samples)
    assert all(same_partition(found[sample.id], sample.labels) for sample in samples)
    assert score(NULL, samples, found) == 1


@pytest.mark.parametrize("output", MEASURES)
def test_a_table_has_every_measure_before_and_after(samples, output):
    config = replace(NULL, output=output)
    truth = {sample.id: sample.labels for sample in samples}
    nothing = {name: np.zeros_like(labels) for name, labels in truth.items()}
    lines = compare(config, samples, nothing, truth)
    assert [line.measure for line in lines] == [measure.name for measure in MEASURES[output]]
    assert DECIDES[output] in MEASURES[output]
    assert all((line.n_images, line.after) == (3, 1) for line in lines)
    assert all(line.difference == pytest.approx(line.after - line.before, nan_ok=True) for line in lines)


def test_pixels_decide_where_one_mask_is_the_answer(samples):
    halves = {sample.id: np.where(sample.labels == 5, 1, sample.labels > 0).astype(np.int32) for sample in samples}
    assert score(replace(NULL, output=SEMANTIC), samples, halves) == 1


def test_an_image_has_the_size_of_its_pixels_where_that_is_known(samples):
    assert image_of(samples[0]).spacing is None
    assert image_of(replace(samples[0], mpp=0.25)).spacing == (0.25, 0.25)


@pytest.mark.parametrize(("side", "shape"), [(50, (50, 50)), (100, (80, 100)), (500, (80, 112))])
def test_the_middle_is_at_most_as_large_as_asked(samples, side, shape):
    part = middle(samples[0], side)
    assert (part.labels.shape, part.pixels.shape) == (shape, (1, *shape))
    assert np.array_equal(part.pixels[0] > 100, part.labels > 0)
