from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from made_up import NULL, NullModel, discs, picture, same_partition
from promptless.config import Kind
from promptless.image import Image
from promptless.loading import load
from promptless.pipeline import prompt, segment
from promptless.prompts import Points
from promptless.result import VolumeSegmentation
from promptless.view import View
from voxel_models import NullVoxelModel, blocks


def test_made_up_discs_are_found_exactly(blobs, null_model):
    image, labels = blobs
    result = segment(image, null_model)
    assert np.array_equal(result.labels, labels)
    assert result.labels.dtype == np.int32
    assert result.n_objects == labels.max()


def test_labels_masks_prompts_and_table_speak_of_the_same_objects(blobs, null_model):
    image, labels = blobs
    result = segment(image, null_model)
    numbers = list(range(1, labels.max() + 1))
    assert [p.id for p in result.prompts.items] == result.masks.ids.tolist() == numbers
    assert result.objects["label"].tolist() == numbers
    for mask, asked in zip(result.masks, result.prompts.items, strict=True):
        assert np.array_equal(result.labels[mask.region] == asked.id, mask.pixels)
        assert result.labels[tuple(asked.points[0].astype(int))] == asked.id
    assert result.prompts.shape == labels.shape


def test_tiles_give_the_prompts_of_the_whole(blobs, null_model):
    image, _ = blobs
    whole, tiled = segment(image, null_model), segment(image, null_model, tile=16, halo=32)
    assert tiled.manifest["tiles"] > whole.manifest["tiles"] == 1
    assert [p.box.tolist() for p in tiled.prompts.items] == [p.box.tolist() for p in whole.prompts.items]


def test_large_objects_are_the_same_in_tiles(null_model):
    labels = discs((200, 210), [(61, 70, 19), (130, 133, 22)])  # boxes of 39 and 45 pixels: pooled windows
    whole = segment(picture(labels), null_model)
    tiled = segment(picture(labels), null_model, tile=20, halo=60)  # rounded up to the model's grid
    assert tiled.manifest["tiles"] > 1
    assert np.array_equal(whole.labels, tiled.labels)
    assert whole.n_objects == 2


def test_tiles_begin_on_the_models_grid_unless_the_image_is_resampled(blobs, null_model):
    image = Image(blobs[0][None])
    assert View.of(image, null_model).align == null_model.config.align
    assert View.of(replace(image, spacing=(0.25, 0.25)), null_model).align == 1


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_an_image_without_objects_gives_empty_results(runtime, tiny_folder):
    result = segment(np.zeros((50, 60), np.uint8), load(tiny_folder, runtime=runtime, threads=1))
    assert (result.n_objects, result.labels.any(), result.objects.n_objects) == (0, np.False_, 0)
    assert result.labels.shape == (50, 60)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5), (33, 70)])
def test_images_of_any_size_are_segmented(shape, null_model, tiny_folder, rng):
    image = rng.integers(0, 255, shape, np.uint8)
    assert segment(image, null_model).labels.shape == shape
    assert segment(image, tiny_folder).labels.shape == shape


def test_a_true_false_image_is_segmented(blobs, null_model):
    _, labels = blobs
    assert np.array_equal(segment(labels > 0, null_model).labels, labels)


def test_inverted_axes_give_inverted_labels(blobs, null_model):
    image, labels = blobs
    assert same_partition(segment(image.T, null_model).labels, labels.T)


def test_objects_below_the_score_are_left_out(blobs):
    image, labels = blobs
    unsure = NullModel(iou=0.4)
    assert segment(image, unsure).n_objects == 0
    assert segment(image, unsure, min_score=0.3).n_objects == labels.max()
    assert segment(image, unsure, min_score=0.3).objects["score"].tolist() == pytest.approx([0.4] * labels.max())


def test_one_channel_can_be_chosen(blobs, null_model):
    image, labels = blobs
    both = Image(np.stack([np.zeros_like(image), image]))
    assert np.array_equal(segment(both, null_model, channel=1).labels, labels)
    assert segment(both, null_model, channel=0).n_objects == 0
    with pytest.raises(ValueError, match="channel 2"):
        segment(both, null_model, channel=2)


def test_two_channels_without_a_choice_are_refused(blobs, null_model):
    image, _ = blobs
    with pytest.raises(ValueError, match=r"2 channels; choose one with channel \(from 0 to 1\)"):
        segment(Image(np.stack([image, image])), null_model)


def test_an_image_of_known_pixel_size_is_brought_to_the_models(null_model):
    labels = discs((120, 120), [(40, 40, 24), (85, 80, 20)])
    result = segment(picture(labels), null_model, mpp=0.25)
    assert result.manifest["image"]["zoom"] == 0.5
    assert result.labels.shape == labels.shape
    found = result.labels
    assert result.n_objects == 2
    for number in (1, 2):
        both, either = (found == number) & (labels == number), (found == number) | (labels == number)
        assert both.sum() / either.sum() > 0.93


def test_the_size_given_overrides_the_images(blobs, null_model):
    image, labels = blobs
    result = segment(Image(image[None], (0.25, 0.25)), null_model, mpp=0.5)
    assert np.array_equal(result.labels, labels)
    assert result.image.spacing == (0.5, 0.5)


def test_a_pixel_size_far_from_the_models_is_refused(blobs, null_model):
    image, _ = blobs
    with pytest.raises(ValueError, match=r"pixel of 50 um is 100 times.*mpp"):
        segment(image, null_model, mpp=50)


def test_a_volume_is_refused_by_a_planar_model(null_model):
    with pytest.raises(ValueError, match=r"'null' is for 2 axes \(yx\), but the image has 3"):
        segment(Image(np.zeros((1, 8, 9, 10))), null_model)


def test_progress_is_told_of_every_tile(blobs, null_model):
    image, _ = blobs
    told = []
    result = segment(image, null_model, tile=32, halo=0, progress=lambda done, total: told.append((done, total)))
    assert told == [(i + 1, result.manifest["tiles"]) for i in range(result.manifest["tiles"])]
    assert len(told) > 1


def test_the_manifest_says_how_it_was_made(blobs, null_model):
    image, _ = blobs
    manifest = segment(image, null_model, min_score=0.25, tile=48, halo=16).manifest
    assert manifest == json.loads(json.dumps(manifest))
    assert manifest["arguments"] == {
        "channel": None,
        "page": None,
        "mpp": None,
        "min_score": 0.25,
        "tile": 48,
        "halo": 16,
    }
    assert manifest["model"]["name"] == "null"
    assert manifest["image"]["shape"] == [1, 80, 112]
    assert set(manifest["seconds"]) == {"read", "glance", "look", "encode", "propose", "decode", "assemble", "stitch"}
    assert {"promptless", "numpy", "onnxruntime"} <= set(manifest["versions"])


def test_a_file_and_its_array_give_the_same(blobs, null_model, tmp_path):
    image, labels = blobs
    PillowImage.fromarray(image).save(tmp_path / "blobs.png")
    assert np.array_equal(segment(tmp_path / "blobs.png", null_model).labels, labels)
    assert np.array_equal(segment(str(tmp_path / "blobs.png"), null_model).labels, labels)


def test_a_model_may_be_named_by_its_folder(blobs, tiny_folder):
    image, labels = blobs
    result = segment(image, tiny_folder)
    assert np.mean((result.labels > 0) == (labels > 0)) > 0.95
    assert result.manifest["model"]["name"] == "tiny"


def test_both_runtimes_give_the_same_label_image(blobs, tiny_folder):
    image, labels = blobs
    onnx, torch = (segment(image, load(tiny_folder, runtime=name, threads=1)) for name in ("onnx", "torch"))
    assert onnx.n_objects >= labels.max() - 1
    assert np.array_equal(onnx.labels, torch.labels)
    assert onnx.masks.scores == pytest.approx(torch.masks.scores, abs=1e-3)


def test_no_answer_depends_on_other_kinds_of_configuration(blobs):
    image, labels = blobs
    other = replace(NULL, kind=Kind(pixel_size=2.0), align=1, pad=4)
    assert np.array_equal(segment(image, NullModel(other)).labels, labels)


def test_an_image_of_small_objects_is_seen_doubled_where_its_pixel_size_is_not_known():
    careful = NullModel(replace(NULL, kind=Kind(small_px=14.0)))
    places = [(20, 20 + 24 * i, 5) for i in range(6)]
    small = discs((60, 160), places)
    larger = discs((60, 160), [(30, 20 + 24 * i, 10) for i in range(6)])
    assert segment(picture(small), careful).manifest["image"]["zoom"] == 2.0
    assert segment(picture(larger), careful).manifest["image"]["zoom"] == 1.0
    assert segment(picture(small), careful, mpp=0.5).manifest["image"]["zoom"] == 1.0
    doubled = segment(picture(small), careful)
    assert doubled.n_objects == len(places)
    assert np.mean((doubled.labels > 0) == (small > 0)) > 0.99


def test_a_few_specks_do_not_double_an_image():
    careful = NullModel(replace(NULL, kind=Kind(small_px=14.0)))
    assert segment(picture(discs((60, 160), [(20, 20, 4), (20, 60, 4)])), careful).manifest["image"]["zoom"] == 1.0


def test_a_score_threshold_that_is_no_number_is_refused(blobs, null_model):
    with pytest.raises(ValueError, match="min_score is nan"):
        segment(blobs[0], null_model, min_score=float("nan"))


@pytest.mark.parametrize(("side", "looks"), [(80, 1), (300, 2)])
def test_an_image_that_the_glance_takes_in_whole_is_looked_at_once(side, looks, monkeypatch):
    labels = discs((side, side), [(20, 20, 12), (50, 50, 12)])
    model, seen = NullModel(replace(NULL, kind=Kind(small_px=14))), []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda image: seen.append(image.shape) or encode(image))
    assert segment(picture(labels), model).n_objects == 2
    assert len(seen) == looks


def test_the_unit_of_the_pixel_size_counts(null_model):
    image = Image(np.zeros((1, 20, 20), np.uint8), (0.0005, 0.0005), "mm")
    assert View.of(image, null_model).zoom == pytest.approx(1)
    with pytest.raises(ValueError, match="the pixel size is in 'furlong'"):
        View.of(replace(image, unit="furlong"), null_model)


def test_a_model_for_volumes_gives_the_structures_of_a_scan():
    image, labels = blocks()
    result = segment(image, NullVoxelModel())
    assert isinstance(result, VolumeSegmentation)
    assert np.array_equal(result.labels, labels)
    assert (result.n_objects, result.names) == (2, {1: "dim", 2: "bright"})
    assert np.array_equal(segment(image.data[0], NullVoxelModel()).labels, labels)
    assert repr(result) == "VolumeSegmentation(2 of 2 structures in 20 x 24 x 28 voxels)"


@pytest.mark.parametrize("option", [{"page": 0}, {"mpp": 1.0}, {"halo": 3}])
def test_options_for_planes_do_not_go_with_a_scan(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is for models of planes, which null_volume is not"):
        segment(blocks()[0], NullVoxelModel(), **option)


def test_points_of_a_plane_do_not_go_with_a_scan():
    with pytest.raises(ValueError, match=r"say which class is there; give them as \[promptless.Click"):
        segment(blocks()[0], NullVoxelModel(), points=Points.of(ndim=3))


@pytest.mark.parametrize("option", [{"frame": 0}, {"series": "x"}, {"flips": False}, {"keep": ["prompt"]}])
def test_options_for_scans_do_not_go_with_a_plane(option, null_model, blobs):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is for models of scans, which null is not"):
        segment(blobs[0], null_model, **option)


def test_a_model_for_volumes_has_no_prompts_to_find():
    with pytest.raises(ValueError, match="null_volume prompts itself with a dense map"):
        prompt(blocks()[0], NullVoxelModel())


def test_frames_and_series_are_of_files():
    for option in ({"frame": 0}, {"series": "x"}):
        with pytest.raises(ValueError, match=r"only .* have .*; pass the scan that is meant"):
            segment(blocks()[0], NullVoxelModel(), **option)


def test_a_plane_is_no_scan(blobs):
    with pytest.raises(ValueError, match="80 x 112 pixels, and null_volume is for scans, of three axes"):
        segment(blobs[0], NullVoxelModel())
