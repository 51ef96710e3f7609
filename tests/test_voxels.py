from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptless import voxels
from promptless.config import OnnxConfig
from promptless.crops import PROFILES, stops
from promptless.image import Image
from promptless.prompts import Points
from promptless.record import Steps
from promptless.resample import resample
from promptless.voxels import mirrors, plan, segmented
from voxel_models import Hungry, NullVoxelModel, PointedNull, PromptedNull, Seeing, blocks, config

UNSPACED = Image(np.zeros((1, 9, 9, 9), np.int16))


def run(image, model, points=None, **arguments):
    chosen = {"tile": None, "flips": None, "keep": (), **arguments}
    return segmented(image, model, chosen, Steps(), lambda done, total: None, points)


def plainly(image, model):
    """Return probabilities (class, z, y, x) on the scan's own grid, everything held at once and summed up plainly."""
    volume = model.config.volume
    planned = plan(image, model.config)
    seen = voxels.look(image, model.config, planned).crop(slice(None))
    total = np.zeros((planned.channels, *seen.shape))
    weight = np.zeros(seen.shape)
    along = [stops(n, c, volume.overlap, volume.blend).starts for n, c in zip(seen.shape, volume.crop, strict=True)]
    profiles = [PROFILES[volume.blend](c) for c in volume.crop]
    importance = np.einsum("i,j,k->ijk", *profiles)
    for start in product(*along):
        part = tuple(slice(a, a + c) for a, c in zip(start, volume.crop, strict=True))
        total[:, *part] += importance * model.logits(seen[part][None, None])[0]
        weight[part] += importance
    inner = tuple(slice(b, b + n) for (b, _), n in zip(planned.padding, planned.seen, strict=True))
    logits = (total / weight)[:, *inner]
    chances = np.exp(logits - logits.max(axis=0))
    chances /= chances.sum(axis=0)
    steps = tuple(n / m for n, m in zip(planned.seen, image.shape, strict=True))
    return resample(chances.astype(np.float32), image.shape, (0.0,) * 3, steps)


def test_a_scan_no_larger_than_a_crop_is_one_forward_pass():
    image, _ = blocks((8, 7, 6))
    model = Seeing()
    result = run(image, model)
    assert model.asked == [(1, 1, 8, 8, 8)]
    padded = np.pad(image.data.astype(np.float32), ((0, 0), (0, 0), (0, 1), (1, 1)), mode="edge")
    expected = Seeing().logits(padded[None])[0].argmax(axis=0)[:, :7, 1:7]
    assert np.array_equal(result.labels, expected)


@given(st.tuples(*[st.integers(3, 30)] * 3), st.floats(0, 0.7), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=12)
def test_where_voxels_are_answered_by_themselves_crops_do_not_matter(crop, overlap, blend):
    image, labels = blocks()
    assert np.array_equal(run(image, NullVoxelModel(crop=crop, overlap=overlap, blend=blend)).labels, labels)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (3.5, 0.8, 1.3)])
@pytest.mark.parametrize("slab", [1, 3000, 10**9])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
def test_slab_by_slab_is_all_at_once(spacing, slab, overlap, monkeypatch):
    monkeypatch.setattr(voxels, "SLAB", slab)
    image, _ = blocks()
    model = Seeing(spacing=spacing, overlap=overlap, crop=(9, 8, 30))
    result = run(image, model, keep=("probabilities",))
    expected = plainly(image, model)
    assert np.abs(result.probabilities / 255 - expected).max() < 0.5 / 255 + 1e-4
    first, second = np.sort(expected, axis=0)[-2:]
    clear = second - first > 1e-4
    assert np.array_equal(result.labels[clear], expected.argmax(axis=0)[clear])
    assert clear.mean() > 0.99


def test_logits_are_not_held_for_the_whole_scan():
    classes = tuple(f"class {i}" for i in range(13))
    image = Image(np.arange(600 * 24 * 24, dtype=np.int16).reshape(1, 600, 24, 24), (1.0, 1.0, 1.0), "mm")
    model = NullVoxelModel(config(classes, crop=(24, 24, 24)))
    run(replace(image, data=image.data[:, :30]), model)
    tracemalloc.start()
    run(image, model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 14 * 4 * image.data.size / 1.5


def test_a_finer_scan_comes_back_to_its_own_grid():
    image, labels = blocks((24, 24, 24), spacing=(1.0, 1.0, 1.0))
    result = run(image, NullVoxelModel(spacing=(2.0, 2.0, 2.0)))
    assert result.labels.shape == labels.shape
    assert (result.labels == labels).mean() > 0.97


def test_mirrored_views_are_averaged():
    image, labels = blocks((8, 8, 8))
    model = NullVoxelModel()
    assert np.array_equal(run(image, model, flips=True).labels, labels)
    assert len(model.asked) == 8
    seeing = Seeing()
    half = 0.5 * (  # what depends on the place in the crop along z evens out
        seeing.logits(image.data[None].astype(np.float32))[0]
        + seeing.logits(image.data[None, :, ::-1].astype(np.float32))[0][:, ::-1]
    )
    assert np.array_equal(run(image, seeing, flips=True).labels, half.argmax(axis=0))


@pytest.mark.parametrize(
    ("classes", "views"),
    [
        (("liver",), 8),
        (("left kidney", "liver"), 4),
        (("lung_right",), 4),
        (("bright", "L3"), 8),
        (("R lung",), 4),
        (("LeftKidney", "RightKidney"), 4),
        (("kidneyL",), 4),
    ],
)
def test_nothing_is_mirrored_across_where_a_class_has_a_side(classes, views):
    found = mirrors(config(classes))
    assert len(set(found)) == views
    assert found[0] == ()
    assert any(2 in axes for axes in found) == (views == 8)


@pytest.mark.parametrize(
    ("classes", "mirrored", "axes"),
    [
        (("liver",), "x", {2}),
        (("liver",), "", set()),
        (("anterior", "posterior"), None, {0, 2}),
        (("upper lobe",), "zyx", {1, 2}),
        (("left lung", "liver"), "zx", {0}),
    ],
)
def test_nothing_is_mirrored_along_an_axis_that_training_did_not_turn_or_that_a_class_ends(classes, mirrored, axes):
    model = config(classes)
    found = mirrors(replace(model, volume=replace(model.volume, mirrored=mirrored)))
    assert {axis for view in found for axis in view} == axes
    assert len(found) == 2 ** len(axes)


def test_a_scan_of_one_value_is_refused():
    image, _ = blocks((8, 8, 8))
    with pytest.raises(ValueError, match="every voxel of the scan is 0, so there is nothing to see"):
        run(replace(image, data=np.zeros_like(image.data)), NullVoxelModel())


def test_voxels_that_are_no_numbers_do_not_spread_where_a_scan_is_resampled():
    image, labels = blocks()
    values = image.data.astype(np.float32)
    values[0, 0, 0, 0], values[0, 3, 0, 0], values[0, 0, 3, 0] = np.nan, np.inf, -np.inf
    model = NullVoxelModel(spacing=(1.9, 1.1, 0.9))
    damaged, whole = (run(replace(image, data=data), model).labels for data in (values, image.data))
    assert (damaged == whole).mean() > 0.99
    assert (damaged == labels).mean() > 0.95


def test_flips_are_the_models_own_unless_asked():
    image, _ = blocks((8, 8, 8))
    for own, asked, views in ((True, None, 8), (True, False, 1), (False, None, 1), (False, True, 8)):
        model = NullVoxelModel(flips=own)
        run(image, model, flips=asked)
        assert len(model.asked) == views


def test_smaller_crops_can_be_asked_for():
    image, labels = blocks()
    model = NullVoxelModel(crop=(16, 16, 16))
    assert np.array_equal(run(image, model, tile=5).labels, labels)
    assert {shape[2:] for shape in model.asked} == {(5, 5, 5)}
    with pytest.raises(ValueError, match="at least one voxel"):
        run(image, model, tile=0)


def test_the_prompt_lies_where_it_was(monkeypatch):
    image, labels = blocks((20, 24, 28))
    result = run(image, PromptedNull(), keep=["prompt"])
    assert result.prompt.shape == labels.shape
    assert result.prompt[labels == 2].mean() > 120
    assert result.prompt[labels == 0].mean() < 20
    assert np.array_equal(result.labels, labels)
    with pytest.raises(ValueError, match="has no dense prompt"):
        run(image, NullVoxelModel(), keep=["prompt"])
    with pytest.raises(ValueError, match="no embedding to keep; there are probabilities, prompt"):
        run(image, NullVoxelModel(), keep=["embedding"])


def test_many_classes_are_told_apart():
    names = tuple(f"class {i}" for i in range(300))
    values = np.arange(301 * 8).reshape(301, 2, 4) % 301
    result = run(Image(100 * values[None].astype(np.int32)), NullVoxelModel(config(names, intensity=WIDE)))
    assert result.labels.dtype == np.uint16
    assert np.array_equal(result.labels, values)


WIDE = replace(config().volume.intensity, high=1e6)


@pytest.mark.parametrize(
    ("image", "volume", "message"),
    [
        (blocks()[0], {"extent": (50.0, 20.0, 50.0)}, "spans 40 x 24 x 28 mm .* at most 50 x 20 x 50 mm"),
        (Image(np.zeros((1, 9, 9), np.int16)), {}, "9 x 9 pixels, and null_volume is for scans"),
        (Image(np.zeros((2, 9, 9, 9), np.int16)), {}, "2 channels"),
        (UNSPACED, {"spacing": (1.0, 1.0, 1.0)}, "size of a voxel is not known"),
        (UNSPACED, {"extent": (1.0, 1.0, 1.0)}, "size of a voxel is not known"),
    ],
    ids=["extent", "plane", "channels", "spacing", "extent-unknown"],
)
def test_what_the_model_was_not_made_for_is_refused(image, volume, message):
    with pytest.raises(ValueError, match=message):
        run(image, NullVoxelModel(**volume))


def test_micrometres_are_millimetres_too():
    image, labels = blocks((24, 24, 24), spacing=(1.0, 1.0, 1.0))
    small = replace(image, spacing=(1000.0,) * 3, unit="um")
    for one in (image, small):
        assert plan(one, config(spacing=(2.0, 2.0, 2.0))).seen == (12, 12, 12)
    assert np.array_equal(run(small, NullVoxelModel(extent=(24.0,) * 3)).labels, labels)


@pytest.mark.parametrize("device", [None, 64 * 96**3])
def test_a_crop_larger_than_memory_is_refused_with_the_largest_that_fits(device, monkeypatch):
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "1.5")
    each = 64 if device else 600
    model = Hungry(each, device, crop=(128, 128, 128))
    image, _ = blocks()
    with pytest.raises(ValueError, match=r"crops of 128 x 128 x 128 .* GB are free; .* --tile (96|80)") as caught:
        run(image, model)
    tile = int(str(caught.value).split()[-1])
    assert run(image, model, tile=tile).n_objects == 2
    with pytest.raises(ValueError, match="--tile"):
        run(image, model, tile=tile + 16)


def test_the_crops_that_are_offered_leave_room_for_what_is_kept(monkeypatch):
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "1.5")
    model = Hungry(600, crop=(128, 128, 128), classes=tuple(f"c{i}" for i in range(30)))
    image, _ = blocks((60, 60, 60))
    for keep in ((), ("probabilities",)):
        with pytest.raises(ValueError, match=r"--tile \d+") as caught:
            run(image, model, keep=keep)
        run(image, model, keep=keep, tile=int(str(caught.value).split()[-1]))


def test_no_crop_is_offered_where_a_model_takes_one_size_alone(monkeypatch):
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "1.5")
    model = Hungry(600, crop=(128, 128, 128))
    model.config = replace(model.config, onnx=OnnxConfig(17, crop=(128, 128, 128)))
    with pytest.raises(ValueError, match="no smaller ones would fit"):
        run(blocks()[0], model)


def test_where_no_crop_fits_the_scan_must_be_smaller(monkeypatch):
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "0.1")
    with pytest.raises(ValueError, match="no smaller ones would fit: cut the scan, or set PROMPTLESS_MAX_MEMORY"):
        run(blocks()[0], NullVoxelModel())


def test_a_model_that_answers_with_another_shape_is_named():
    class Wrong(NullVoxelModel):
        def logits(self, crops):
            return super().logits(crops)[:, :2]

    with pytest.raises(ValueError, match=r"null_volume answers with \(2, 8, 8, 8\) for \(3, 8, 8, 8\)"):
        run(blocks()[0], Wrong())


def test_progress_counts_crops():
    told = []
    image, _ = blocks()
    chosen = {"tile": None, "flips": None, "keep": ()}
    segmented(image, NullVoxelModel(), chosen, Steps(), lambda done, total: told.append((done, total)))
    n = plan(image, config()).n_crops
    assert told == [(i + 1, n) for i in range(n)]


def told(*clicks):
    return Points(np.array([place for place, _ in clicks], np.float32), np.array([label for _, label in clicks]))


@pytest.mark.parametrize("volume", [{}, {"flips": True}, {"crop": (32, 32, 32)}, {"crop": (6, 10, 30), "overlap": 0.6}])
def test_a_point_is_heeded_where_it_is_and_nowhere_else(volume):
    """Whatever the crops, their padding and the mirrored views are."""
    image, labels = blocks((20, 24, 28))
    points = told(((3, 4, 5), 2), ((10, 8, 15), 0), ((19, 0, 27), 1))
    found = run(image, PointedNull(**volume), points=points).labels
    beside = np.ones(labels.shape, bool)
    for place, label in zip(points.coords.astype(int), points.labels, strict=True):
        assert found[tuple(place)] == label
        beside[tuple(slice(max(0, n - 1), n + 2) for n in place)] = False
    assert np.array_equal(found[beside], labels[beside])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 1.0), (3.0, 2.0, 1.6)])
def test_a_point_lies_where_it_did_when_the_scan_is_seen_at_another_spacing(spacing):
    image, labels = blocks((20, 24, 28))
    model = PointedNull(spacing=spacing, sure=40.0, crop=(32, 64, 64))
    points = told(((4, 20, 22), 1), ((9, 8, 14), 2))
    found = run(image, model, points=points).labels
    assert found[4, 20, 22] == 1 != labels[4, 20, 22]
    assert found[9, 8, 14] == 2 != labels[9, 8, 14]


def test_crops_without_a_point_are_answered_as_ever():
    """To the bit: what no crop with a point reaches has the very probabilities that it had."""
    image, _ = blocks((20, 24, 28))

    class Pointed(Seeing, PointedNull):
        pass

    model = Pointed(crop=(8, 8, 8))
    plain, pointed = (run(image, model, keep=["probabilities"], points=p) for p in (None, told(((2, 3, 4), 2))))
    changed = (plain.probabilities != pointed.probabilities).any(axis=0)
    reached = np.argwhere(changed).max(axis=0)
    assert changed.any()
    assert (reached < 8).all()
    assert model.config.volume.overlap > 0


def test_a_point_shows_in_the_prompt_too():
    image, _ = blocks((20, 24, 28))
    result = run(image, PointedNull(), keep=["prompt"], points=told(((2, 3, 4), 2)))
    assert result.prompt.shape == image.shape
    assert result.labels[2, 3, 4] == 2
    assert result.points.labels.tolist() == [2]


@pytest.mark.parametrize(
    ("network", "message"),
    [({}, r"null_volume takes no points: .* with points = 3 in"), ({"points": 3}, "its ONNX file takes none")],
)
def test_a_model_that_nobody_can_click_at_says_so(network, message):
    image, _ = blocks()
    with pytest.raises(ValueError, match=message):
        run(image, PromptedNull(replace(config(), network=network)), points=told(((1, 1, 1), 1)))
