from __future__ import annotations

import numpy as np
import pytest

from promptless import voxels
from promptless.io.label_files import LabelImage
from promptless.record import Steps
from promptless.train.volume.measuring import (
    FIGURES,
    MEAN,
    TOLERANCE,
    by_case,
    found,
    mean_dice,
    measured,
    table,
)
from volumes import shapes, voxel_config

LEVELS = np.array([0.0, 1.0, 2.0], np.float32)


class Threshold:
    """A model without weights: a voxel is of the class whose level is nearest; each voxel's answer is its own."""

    def __init__(self, **volume):
        self.config, self.seen = voxel_config(network="unet", **volume), []

    def logits(self, crops):
        self.seen.append(crops.shape)
        return -4 * (crops - LEVELS.reshape(1, 3, 1, 1, 1)) ** 2


def chances(model, image):
    """Return the probability of every class, as `found` has it before it decides."""
    planned = voxels.laid(image.shape, image.shape, model.config.volume.crop, model.config)
    seen = voxels.Seen(voxels.framed(image, planned))
    slabs = voxels.slide(seen, planned, model, False, Steps(), lambda done, total: None)
    return np.concatenate(list(voxels.certain(slabs, planned)), axis=1)


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_where_crops_stop_does_not_matter_to_a_model_of_voxels(blend, overlap):
    image = np.random.default_rng(0).uniform(0, 2, (11, 18, 16)).astype(np.float32)
    model = Threshold(crop=(8, 8, 16), overlap=overlap, blend=blend)
    whole = chances(Threshold(crop=(11, 18, 16)), image)
    assert chances(model, image) == pytest.approx(whole, abs=1e-5)
    assert whole.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert set(model.seen) == {(1, 1, 8, 8, 16)}


def test_a_scan_smaller_than_a_crop_is_padded_and_cut():
    image, labels = shapes(0)
    model = Threshold(crop=(16, 18, 24))
    assert np.array_equal(
        found(model, image / 100, image.shape), found(Threshold(crop=image.shape), image / 100, image.shape)
    )
    assert model.seen == [(1, 1, 16, 18, 24)]
    assert np.mean(found(model, labels.astype(np.float32), labels.shape) == labels) == 1


def test_classes_come_back_on_the_grid_of_the_scan():
    _, labels = shapes(1)
    coarse = labels.astype(np.float32)
    answer = found(Threshold(crop=(8, 8, 8)), coarse, tuple(2 * n for n in labels.shape))
    assert answer.shape == (22, 36, 32)
    assert answer.dtype == np.uint8
    assert np.mean(answer[::2, ::2, ::2] == labels) > 0.97


def test_the_mean_dice_is_over_cases_then_classes():
    truth = {"a": np.array([[[0, 1, 1, 2]]]), "b": np.array([[[0, 0, 1, 1]]])}
    predicted = {"a": np.array([[[0, 1, 0, 2]]]), "b": np.array([[[0, 0, 1, 1]]])}
    assert mean_dice(truth, predicted) == pytest.approx(((2 / 3 + 1) / 2 + 1) / 2)


@pytest.fixture
def evaluation():
    truth = {name: LabelImage(shapes(i)[1], (1.0, 1.0, 1.0)) for i, name in enumerate("abc")}
    predicted = {name: each.labels.copy() for name, each in truth.items()}
    predicted["b"][predicted["b"] == 2] = 0
    predicted["c"] = np.roll(predicted["c"], 1, axis=0)
    return measured(truth, predicted)


def test_every_class_of_every_case_has_its_figures(evaluation):
    values = by_case(evaluation, 2)
    assert values.shape == (3, 2, len(FIGURES))
    assert values[0] == pytest.approx(np.array([[1, 1, 0]] * 2))
    assert values[1, 1, 0] == 0
    assert 0.5 < values[2, 0, 0] < 1
    assert values[2, 1, 1] == pytest.approx(1)  # moved by one voxel of 1 mm, at a tolerance of that
    assert np.isnan(by_case(evaluation, 3)[:, 2]).all()
    assert TOLERANCE == 1


def test_a_table_has_a_line_for_each_figure_of_each_class_and_of_the_mean(evaluation):
    lines = table(evaluation, ("ball", "box"))
    assert [(line.structure, line.figure) for line in lines] == [
        (name, figure) for name in ("ball", "box", MEAN) for figure in FIGURES
    ]
    values = by_case(evaluation, 2)
    by_place = {(line.structure, line.figure): line for line in lines}
    ball = by_place["ball", "Dice"]
    assert (ball.n, ball.value) == (3, pytest.approx(values[:, 0, 0].mean()))
    assert ball.low <= ball.value <= ball.high
    means = np.nanmean(values[:, :, 0], axis=0).mean()
    assert by_place[MEAN, "Dice"].value == pytest.approx(means)
