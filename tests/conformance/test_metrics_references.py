"""The rules against the codes they are named after, on 200 random pairs; each is skipped where its code is missing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import ndimage

from promptless.metrics.comparison import Comparison
from promptless.metrics.instances import THRESHOLDS, stardist_matching
from promptless.metrics.overlaps import overlaps
from promptless.metrics.rules import RULES, Rule
from promptless.metrics.surfaces import edge_distances, hausdorff, surface_dice, surfel_distances

N_PAIRS = 200
N_CLASSES = 3
LOW = (0.1, 0.25, *THRESHOLDS)
OLD_NAMES = (
    (np, "Inf", np.inf),
    (np, "NaN", np.nan),
    (ndimage, "filters", ndimage),
    (ndimage, "morphology", ndimage),
)
"""What surface-distance calls things that NumPy 2 and SciPy have renamed."""


def objects(seed):
    """Return two label images (24, 30) of touching boxes, one a disturbed copy: shifted, split, merged, empty."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 7, (4, 5)), np.ones((6, 6), int))
    if seed % 20 == 0:
        truth[:] = 0
    predicted = np.roll(truth, rng.integers(-2, 3), axis=rng.integers(2))
    predicted = np.where(rng.uniform(size=truth.shape) < rng.uniform(0, 0.3), rng.integers(0, 8), predicted)
    if seed % 33 == 0:
        predicted[:] = 0
    truth[0, 0] = predicted[0, 0] = 0  # there is background, as everywhere
    return truth, predicted


def regions(seed):
    """Return two class maps (9, 10, 11) with blobs of up to three classes, some of them missing, and a spacing."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, 9, 10, 11)), (0, 1, 1, 1))
    truth, predicted = (np.digitize(n, [0.05, 0.2, 0.4]) for n in (noise[0], noise[0] + 0.5 * noise[1]))
    truth[truth == rng.integers(0, 8)] = 0
    predicted[predicted == rng.integers(0, 8)] = 0
    return truth, predicted, tuple(rng.uniform(0.5, 3, 3).tolist())


def counts(rule: Rule, pairs):
    return [rule.count(Comparison(*pair)) for pair in pairs]


@pytest.fixture(scope="module")
def pairs():
    return [objects(seed) for seed in range(N_PAIRS)]


def test_stardist(pairs):
    matching = pytest.importorskip("stardist.matching")
    for truth, predicted in pairs:
        ours = stardist_matching(overlaps(truth, predicted).objects, LOW)
        theirs = matching.matching(truth, predicted, LOW)
        assert ours.tp.tolist() == [m.tp for m in theirs]
        assert ours.fp.tolist() == [m.fp for m in theirs]
        assert ours.fn.tolist() == [m.fn for m in theirs]
        assert ours.precision.tolist() == [m.accuracy for m in theirs]


def test_stardist_over_a_set(pairs):
    matching = pytest.importorskip("stardist.matching")
    options = {"thresh": 0.5, "show_progress": False}
    together, by_image = (matching.matching_dataset(*zip(*pairs, strict=True), by_image=b, **options) for b in (0, 1))
    rule = RULES["stardist"]
    ours = {f.name: f.of_set(counts(rule, pairs)) for f in rule.figures}
    assert ours["AP@0.50 pooled"] == together.accuracy
    assert ours["F1@0.50 pooled"] == together.f1
    assert ours["PQ@0.50 pooled"] == pytest.approx(together.panoptic_quality, abs=1e-6)  # theirs adds up in float32
    assert ours["AP@0.50 by image"] == pytest.approx(by_image.accuracy, abs=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_cellpose_average_precision(pairs):
    metrics = pytest.importorskip("cellpose.metrics")
    precision, tp, fp, fn = metrics.average_precision(*map(list, zip(*pairs, strict=True)))
    ours = counts(RULES["cellpose"], pairs)
    for mine, theirs in ((0, tp), (1, fp), (2, fn)):
        assert np.array_equal([c[mine] for c in ours], theirs)
    found = np.stack([f.of_images(ours) for f in RULES["cellpose"].figures], axis=1)
    assert np.array_equal(found.astype(np.float32), precision, equal_nan=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_cellpose_aji(pairs):
    metrics = pytest.importorskip("cellpose.metrics")
    theirs = metrics.aggregated_jaccard_index(*map(list, zip(*pairs, strict=True)))
    assert counts(RULES["cellpose-aji"], pairs) == pytest.approx(theirs, abs=1e-12, nan_ok=True)


def one_hot(torch, labels):
    """Return a class map as a batch of one, background included (1, class, *spatial)."""
    return torch.from_numpy(np.stack([labels == c for c in range(N_CLASSES + 1)])[None].astype(np.float32))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "ignore_empty"), [("monai", True), ("monai-keep-empty", False)])
def test_monai_dice(name, ignore_empty):
    metrics, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    cases = [regions(seed)[:2] for seed in range(N_PAIRS)]
    metric = metrics.DiceMetric(include_background=False, ignore_empty=ignore_empty)
    each = [metric(*(one_hot(torch, labels) for labels in reversed(case))).numpy()[0] for case in cases]
    figure = RULES[name].figures[0]
    ours = counts(RULES[name], cases)
    absent = 1.0 if name == "monai-keep-empty" else np.nan
    mine = [[c.get(label, (absent,))[0] for label in range(1, N_CLASSES + 1)] for c in ours]
    assert np.array_equal(np.array(mine, np.float32), np.array(each), equal_nan=True)
    assert figure.of_set(ours) == pytest.approx(metric.aggregate().item(), abs=1e-6)  # theirs is float32


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("subvoxels", "distances"), [(False, edge_distances), (True, surfel_distances)])
def test_monai_surface_dice(subvoxels, distances):
    metrics, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    for seed in range(N_PAIRS // N_CLASSES + 1):
        truth, predicted, spacing = regions(seed)
        theirs = metrics.compute_surface_dice(
            *(one_hot(torch, labels) for labels in (predicted, truth)),
            [1.1] * N_CLASSES,
            spacing=spacing,
            use_subvoxels=subvoxels,
        ).numpy()[0]
        masks = [(truth == c, predicted == c) for c in range(1, N_CLASSES + 1)]
        ours = [surface_dice(distances(*pair, spacing), 1.1) for pair in masks]
        assert ours == pytest.approx(theirs.tolist(), abs=1e-6, nan_ok=True)  # theirs is float32


def test_deepmind(monkeypatch):
    metrics = pytest.importorskip("surface_distance.metrics")
    for owner, name, value in OLD_NAMES:
        monkeypatch.setattr(owner, name, value, raising=False)
    for seed in range(N_PAIRS):
        truth, predicted, spacing = regions(seed)
        pair = truth == 1, predicted == 1
        theirs = metrics.compute_surface_distances(*pair, spacing)
        ours = surfel_distances(*pair, spacing)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = metrics.compute_surface_dice_at_tolerance(theirs, 1.1)
        assert surface_dice(ours, 1.1) == pytest.approx(expected, abs=1e-12, nan_ok=True)
        if pair[0].any() or pair[1].any():
            assert hausdorff(ours) == pytest.approx(metrics.compute_robust_hausdorff(theirs, 95), abs=1e-12)
