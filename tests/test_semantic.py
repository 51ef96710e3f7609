from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

import promptless
from made_up import NULL_SEMANTIC, NullModel, NullSemanticModel, discs, picture, same_partition
from promptless import library
from promptless.check import check
from promptless.cli import app
from promptless.config import AdapterConfig, Kind, WindowConfig
from promptless.image import Image
from promptless.io.hashes import sha256
from promptless.networks import adapted
from promptless.pipeline import segment
from promptless.prompts import Points, Prompts
from promptless.result import Segmentation
from promptless.semantic import cut
from promptless.view import View


@pytest.fixture
def model():
    return NullSemanticModel()


def test_objects_are_the_connected_parts_of_the_mask(blobs, model):
    image, labels = blobs
    result = segment(image, model)
    assert same_partition(result.labels, labels)
    assert result.labels.dtype == np.int32
    assert result.masks.ids.tolist() == sorted(np.unique(labels[labels > 0]))
    assert result.objects["score"].tolist() == pytest.approx([1.0] * labels.max(), abs=1e-3)


def test_tiles_give_the_mask_of_the_whole_where_each_pixel_answers_for_itself(blobs, model):
    image, _ = blobs
    whole, tiled = segment(image, model), segment(image, model, tile=30, halo=5)
    assert tiled.manifest["tiles"] > whole.manifest["tiles"] == 1
    assert np.array_equal(whole.labels, tiled.labels)


def test_there_is_a_prompt_per_tile_with_all_its_points(blobs, model):
    image, _ = blobs
    result = segment(image, model, tile=40, halo=8)
    assert len(result.prompts) == result.manifest["tiles"] == 6
    assert set(result.manifest["prompts"]) == {str(p.id) for p in result.prompts.items}
    assert not {p.id for p in result.prompts.items} & {*result.masks.ids.tolist()}
    for prompt in result.prompts.items:
        assert prompt.source == "auto"
        assert len(prompt.points) == len(prompt.point_labels) <= 8
        assert (prompt.points >= prompt.box[:, 0]).all()
        assert (prompt.points < prompt.box[:, 1]).all()
        inside = image[tuple(prompt.points.astype(int).T)] > 128
        assert inside.tolist() == (prompt.point_labels == 1).tolist()


def test_the_model_is_asked_with_as_many_tokens_as_it_was_trained_with(blobs, model):
    segment(blobs[0], model, tile=40, halo=8)
    assert {len(labels) for _, labels in model.asked} == {NULL_SEMANTIC.points.tokens}


def test_a_second_run_gives_the_same_points(blobs, model):
    one, other = (segment(blobs[0], model).prompts.to_json() for _ in range(2))
    assert one == other


def test_points_can_be_had_without_decoding(blobs, model):
    found = promptless.prompt(blobs[0], model, tile=40, halo=8)
    asked = segment(blobs[0], model, tile=40, halo=8).prompts
    assert [p.id for p in found.items] == [1, 2, 3, 4, 5, 6]
    assert [p.points.tolist() for p in found.items] == [p.points.tolist() for p in asked.items]


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_points_are_in_pixels_of_the_image_whatever_the_model_sees(zoom, model):
    labels = discs((96, 96), [(30, 30, 16), (70, 60, 14)])
    result = segment(picture(labels), model, mpp=0.5 * zoom)
    assert result.manifest["image"]["zoom"] == zoom
    points = result.prompts.items[0]
    on = points.points[points.point_labels == 1]
    assert on == pytest.approx(np.array([(30, 30), (70, 60)]), abs=1 / zoom)
    assert np.mean((result.labels > 0) == (labels > 0)) > 0.98


def test_an_experts_point_joins_the_automatic_ones_and_changes_the_mask_there(blobs):
    image, _ = blobs
    model = NullSemanticModel(reach=3)
    before = segment(image, model)
    after = segment(image, model, points=promptless.Points.of([(60, 20)], [(40, 20)]))
    assert not before.labels[60, 20]
    assert before.labels[40, 20]
    assert after.labels[60, 20]
    assert not after.labels[40, 20]
    changed = (before.labels > 0) != (after.labels > 0)
    near = np.zeros_like(changed)
    near[57:64, 17:24] = near[37:44, 17:24] = True
    assert changed.any()
    assert not changed[~near].any()
    first, asked = before.prompts.items[0], after.prompts.items[0]
    assert np.array_equal(asked.points[: len(first.points)], first.points)
    assert asked.points[len(first.points) :].tolist() == [[60, 20], [40, 20]]
    assert asked.point_labels[len(first.points) :].tolist() == [1, 0]
    assert (asked.source, asked.state) == ("user", "edited")


def test_an_experts_point_reaches_every_tile_that_sees_it(blobs):
    image, _ = blobs
    model = NullSemanticModel(reach=2)
    result = segment(image, model, tile=40, halo=8, points=Points.of([(60, 41)]))
    users = [p for p in result.prompts.items if p.source == "user"]
    assert 2 <= len(users) < len(result.prompts)
    assert all([60, 41] in p.points.tolist() for p in users)
    assert result.labels[60, 41]


@pytest.mark.parametrize("at", [(80.6, 3), (-1, 0)])
def test_a_point_outside_the_image_is_refused(blobs, model, at):
    with pytest.raises(ValueError, match="is not in the image of 80 x 112 pixels"):
        segment(blobs[0], model, points=Points.of([at]))


def test_a_model_of_objects_refuses_points(blobs, null_model):
    with pytest.raises(ValueError, match="decodes every object on its own"):
        segment(blobs[0], null_model, points=Points.of([(3, 3)]))


def test_embeddings_are_not_kept_for_edits_that_cannot_be(blobs, model, tmp_path):
    with pytest.raises(ValueError, match="null takes no edits"):
        segment(blobs[0], model, embeddings=promptless.Embeddings(tmp_path / "kept"))


def test_points_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match=r"points have \[2, 3\] coordinates"):
        Points.of([(1, 2)], [(1, 2, 3)])


def test_points_with_too_many_coordinates_are_refused(blobs, model):
    with pytest.raises(ValueError, match="3 coordinates, but the image has 2 axes"):
        segment(blobs[0], model, points=Points.of([(1, 2, 3)]))


def test_prompts_of_a_semantic_result_cannot_be_edited(blobs, model):
    result = segment(blobs[0], model)
    with pytest.raises(ValueError, match=r"give points of your own instead.*--point Y,X"):
        promptless.edit(result, result.prompts, model)


def test_a_model_that_cannot_answer_for_the_whole_says_what_to_do(blobs):
    with pytest.raises(ValueError, match="an ONNX model has no file; run it on torch"):
        segment(blobs[0], NullModel(NULL_SEMANTIC))


def test_parts_below_the_score_are_left_out(blobs, model):
    image, labels = blobs
    unsure = NullSemanticModel(sure=1)  # a logit of 1: a probability of .73
    assert segment(image, unsure, min_score=0.7).n_objects == labels.max()
    assert segment(image, unsure, min_score=0.8).n_objects == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5), (33, 70)])
def test_images_of_any_size_give_a_result(shape, model, rng):
    result = segment(rng.integers(0, 255, shape, np.uint8), model)
    assert result.labels.shape == shape


def test_a_dark_image_has_no_objects_and_only_negatives(model):
    result = segment(np.zeros((50, 60), np.uint8), model)
    assert (result.n_objects, result.objects.n_objects) == (0, 0)
    assert not result.prompts.items[0].point_labels.any()


def test_small_objects_do_not_double_an_image_for_a_model_that_tells_none_apart():
    careful = NullSemanticModel(replace(NULL_SEMANTIC, kind=Kind(small_px=14.0)))
    small = discs((60, 160), [(20, 20 + 24 * i, 5) for i in range(6)])
    assert segment(picture(small), careful).manifest["image"]["zoom"] == 1.0


def test_what_would_happen_is_told_for_a_semantic_model_too(blobs, model, tmp_path):
    np.save(tmp_path / "blobs.npy", blobs[0])
    report = check(tmp_path / "blobs.npy", model, tile=40, halo=8)
    assert (report.tiles, report.object_px) == (6, None)
    assert report.seconds > 0


@pytest.fixture(scope="module")
def on_nuclei(tmp_path_factory):
    """The folder of a semantic adapter on the base that ships, which has learned nothing."""
    folder = tmp_path_factory.mktemp("adapter")
    backbone = library.load("nuclei")
    names = AdapterConfig(backbone.name, backbone.digest, generator=(4, 8, 16))
    config = replace(NULL_SEMANTIC, name="sac", pad=16, align=128, window=WindowConfig(), adapter=names, input_size=64)
    torch.manual_seed(0)
    files = adapted.save(adapted.begun(backbone, config), folder)
    replace(config, files={name: sha256(folder / name) for name in files}).write(folder / "config.json")
    return folder


def test_an_adapter_segments_from_the_command_line_and_takes_points(blobs, on_nuclei, tmp_path):
    np.save(tmp_path / "blobs.npy", blobs[0])
    out = tmp_path / "out"
    first, second = (
        CliRunner().invoke(
            app,
            ["segment", str(tmp_path / "blobs.npy"), "-o", str(out), "-m", str(on_nuclei), "--threads", "1", *more],
        )
        for more in (["--also", "classes"], ["--point", "60,20"])
    )
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "(1 point of yours)" in second.stdout
    written = Prompts.load(out / "blobs_prompts.json")
    assert any([60, 20] in p.points.tolist() and p.source == "user" for p in written.items)
    classes = tifffile.imread(out / "blobs_classes.tif")
    assert np.array_equal(classes > 0, tifffile.imread(out / "blobs_labels.tif") > 0)


@pytest.mark.parametrize("shape", [(64, 64), (65, 64), (300, 100), (1000, 61)])
@pytest.mark.parametrize("zoom", [1.0, 0.7, 3.0])
def test_no_tile_is_larger_than_the_model_takes_and_none_is_a_sliver(shape, zoom):
    view = View(Image(np.zeros((1, *shape), np.uint8)), 0, 1, zoom)
    cuts = cut(view, replace(NULL_SEMANTIC, input_size=64), 1024, 128)
    owned = np.zeros(shape, int)
    for tile in cuts:
        owned[tile.core] += 1
        assert all(round(n * zoom) <= 64 for n in tile.shape)
        assert tile.shape == tuple(min(n, int(64 / zoom)) for n in shape)  # as large as what was learned from
        for core, outer, n in zip(tile.core, tile.outer, shape, strict=True):
            halo = int(64 / zoom) // 8
            assert 0 <= outer.start <= max(0, core.start - halo)
            assert n >= outer.stop >= min(n, core.stop + halo)
        assert all(s.stop - s.start >= min(n, 64 / zoom) / 3 for s, n in zip(tile.core, shape, strict=True))
    assert (owned == 1).all()


def test_everything_is_written_and_drawn_and_read_back(blobs, model, tmp_path):
    image, labels = blobs
    path = tmp_path / "blobs.npy"
    np.save(path, image)
    result = segment(path, model, tile=40, halo=8)
    saved = result.save(tmp_path / "out", "blobs", also=["classes", "coco"], overlay="prompts")
    assert all(Path(p).stat().st_size for p in saved.values())
    again = Segmentation.load(tmp_path / "out", "blobs", result.image)
    assert np.array_equal(again.labels, result.labels)
    assert Prompts.load(saved["prompts"]).digests() == result.prompts.digests()
    assert np.array_equal(tifffile.imread(saved["classes"]), labels > 0)
    entries = json.loads(saved["coco"].read_text())["annotations"]
    assert len(entries) == labels.max()
    assert not any("point_coords" in entry for entry in entries)  # no point was meant for one object


class TwoKinds(NullSemanticModel):
    """A semantic model that calls what is very bright the second class."""

    def __init__(self):
        super().__init__(replace(NULL_SEMANTIC, classes=("dim", "bright")))

    def encode(self, image):
        seen, light = super().encode(image), image.mean(axis=0)
        kinds = np.stack([0.5 - light, np.where(light < 0.8, 3, -3), np.where(light < 0.8, -3, 3)])
        return seen._replace(maps=np.concatenate([seen.maps, kinds.astype(np.float32)]))


@pytest.mark.parametrize("tile", [30, 1024])
def test_objects_of_a_semantic_mask_have_classes_where_the_model_tells_them(tile):
    labels = discs((80, 80), [(20, 20, 8), (20, 60, 9), (58, 40, 10)])
    image = np.choose(labels, [30, 170, 240, 170]).astype(np.uint8)
    result = segment(image, TwoKinds(), tile=tile, halo=5)
    pairs = zip(result.masks, result.masks.classes, strict=True)
    assert {int(labels[mask.region][mask.pixels][0]): int(c) for mask, c in pairs} == {1: 1, 2: 2, 3: 1}
    assert sorted(map(str, result.objects["class_name"])) == ["bright", "dim", "dim"]
