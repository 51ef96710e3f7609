from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from made_up import NULL, DirectModel, NullModel, discs, picture, same_partition
from promptless import edit, prompt, segment
from promptless.config import ProposalConfig
from promptless.direct import logit, taken
from promptless.editing import blank, clicked
from promptless.embeddings import Embeddings
from promptless.large import seams as seams_module
from promptless.large.finding import Look
from promptless.large.segmenting import preview
from promptless.propose import propose, sigmoid

LABELS = discs((64, 96), [(16, 16, 8), (16, 48, 6), (44, 30, 9), (46, 70, 7)])


def maps_of(labels, quality):
    """Return maps that show `labels`, each object of its own quality."""
    foreground = np.where(labels > 0, 3.0, -3.0)
    return np.stack([foreground, foreground, logit_of(np.array([0.01, *quality])[labels])]).astype(np.float32)


def logit_of(values):
    return np.log(values / (1 - values))


def test_an_objects_score_is_its_mean_quality():
    quality = [0.9, 0.2, 0.7, 0.5]
    maps = maps_of(LABELS, quality)
    prompts = propose(maps, ProposalConfig())
    masks = taken(prompts, maps, 1.0, 0.5)
    assert [mask.area for mask in masks] == [prompt.coarse.area for prompt in prompts.items]
    assert masks.ids.tolist() == [prompt.id for prompt in prompts.items]
    by_place = [quality[LABELS[tuple(p.points[0].astype(int))] - 1] for p in prompts.items]
    assert masks.scores.tolist() == pytest.approx(by_place, abs=1e-4)
    assert masks.stability.tolist() == [1.0] * 4


def test_what_barely_passes_the_threshold_is_not_stable():
    maps = maps_of(LABELS, [0.9] * 4)
    maps[0] = np.where(LABELS == 2, 0.5, maps[0])
    masks = taken(propose(maps, ProposalConfig()), maps, 1.0, 0.5)
    assert sorted(masks.stability.tolist()) == [0.0, 1.0, 1.0, 1.0]
    assert sigmoid(np.array([logit(0.3)])) == pytest.approx(0.3)


def test_scores_are_looked_up_where_the_model_saw_the_object():
    """The maps are twice as fine as the image that the prompts are in."""
    maps = maps_of(LABELS, [0.9, 0.2, 0.7, 0.5])
    prompts = propose(maps, ProposalConfig())
    half = type(prompts)((32, 48), tuple(p.zoomed(0.5, (32, 48)) for p in prompts.items))
    fine, coarse = taken(prompts, maps, 1.0, 0.5), taken(half, maps, 2.0, 0.5)
    assert coarse.scores == pytest.approx(fine.scores, abs=0.12)  # half pixels at the rim see some background


def test_without_objects_there_is_nothing():
    maps = np.full((3, 16, 16), -5, np.float32)
    assert len(taken(propose(maps, ProposalConfig()), maps, 1.0, 0.5)) == 0


def test_tiled_equals_whole():
    model, image = DirectModel(), picture(LABELS)
    whole = segment(image, model, tile=512)
    tiled = segment(image, model, tile=16, halo=16)
    assert same_partition(whole.labels, LABELS)
    assert same_partition(whole.labels, tiled.labels)
    assert whole.masks.scores == pytest.approx(tiled.masks.scores)


def test_objects_of_low_quality_are_left_out():
    image = np.where(LABELS == 2, 150, picture(LABELS)).astype(np.uint8)
    result = segment(image, DirectModel(), min_score=0.8)
    assert result.n_objects == 3


class Sharing(DirectModel):
    """A model whose least score is a share of the median in the middle of the image."""

    def __init__(self, share, least=0.5):
        super().__init__()
        self.config = replace(self.config, min_share=share, min_score=least)


def graded(levels):
    """Return a picture of eight discs of these brightnesses (of 255), white first."""
    labels = discs((64, 128), [(16 + 32 * (i // 4), 16 + 32 * (i % 4), 7) for i in range(8)])
    return np.array([10, *levels], np.uint8)[labels]


def test_the_least_score_follows_what_is_typical_of_the_image():
    levels = [255, 240, 238, 236, 234, 232, 230, 160]
    result = segment(graded(levels), Sharing(0.8))
    typical = np.median((np.array(levels) - 10) / 245)
    assert result.manifest["arguments"]["min_score"] == pytest.approx(0.8 * typical, abs=0.01)
    assert result.n_objects == 7
    assert segment(graded(levels), Sharing(0.5)).n_objects == 8


def test_the_models_own_least_score_is_the_least():
    levels = [255, *[150] * 7]
    result = segment(graded(levels), Sharing(0.8, least=0.7))
    assert result.manifest["arguments"]["min_score"] == 0.7
    assert result.n_objects == 1


def test_a_score_that_is_asked_for_is_taken_as_it_is():
    result = segment(graded([255, *[240] * 6, 150]), Sharing(1.0), min_score=0.1)
    assert result.manifest["arguments"]["min_score"] == 0.1
    assert result.n_objects == 8


def test_an_image_of_nothing_says_nothing_of_what_is_typical():
    assert segment(np.full((64, 64), 9, np.uint8), Sharing(1.0)).manifest["arguments"]["min_score"] == 0.5


def test_tiles_are_judged_by_the_whole_image():
    image = graded([255, 240, 238, 236, 234, 232, 230, 160])
    whole, tiled = segment(image, Sharing(0.8), tile=512), segment(image, Sharing(0.8), tile=16, halo=16)
    assert same_partition(whole.labels, tiled.labels)


def test_large_images_and_their_seams_have_the_least_score_of_the_image(tmp_path, monkeypatch):
    model, path = Sharing(0.8), tmp_path / "a.tif"
    tifffile.imwrite(path, graded([255, 240, 238, 236, 234, 232, 230, 160]), tile=(16, 16))
    least = segment(path, model).manifest["arguments"]["min_score"]
    assert least > model.config.min_score
    assert preview(path, model).min_score == least
    asked, look_of = [], Look.of
    monkeypatch.setattr(seams_module.Look, "of", lambda *args: asked.append(args[4]) or look_of(*args))
    seams_module.seams(path, model, tile=32, halo=16)
    assert asked == [least]


def test_a_prompts_file_given_back_loses_no_object_by_the_students_own_least_score():
    model, teacher = Sharing(0.9), NullModel(iou=0.6)
    image = graded([255, *[240] * 7])
    before = segment(image, model)
    assert before.manifest["arguments"]["min_score"] > 0.6 > teacher.config.min_score
    empty = blank(image, model)
    assert edit(empty, before.prompts, model, teacher=teacher).n_objects == before.n_objects == 8


def test_a_share_is_for_models_that_decode_nothing():
    with pytest.raises(ValueError, match=r"min_share is 0.8.*output is direct: that of null is instances"):
        replace(NULL, min_share=0.8)


def test_an_edited_prompt_is_decoded_by_the_teacher_and_all_else_stays():
    model, teacher = DirectModel(), NullModel()
    image = picture(LABELS)
    image[2:9, 70:90] = 140  # seen, but scored too low by the student
    before = segment(image, model, min_score=0.7)
    wanted = clicked(before, [(16.0, 20.0)], [])
    after = edit(before, wanted, model, teacher=teacher)
    assert after.manifest["edits"][0]["model"]["name"] == NULL.name
    assert after.manifest["edits"][0]["edited"] == [int(before.labels[16, 20])]
    others = before.labels != before.labels[16, 20]
    assert (after.labels[others] == before.labels[others]).all()
    assert after.manifest["model"]["name"] == "direct"


def test_taking_an_object_away_needs_no_teacher():
    model = DirectModel()
    before = segment(picture(LABELS), model)
    rest = type(before.prompts)(before.prompts.shape, before.prompts.items[1:])
    assert edit(before, rest, model).n_objects == 3


def test_prompts_are_found_as_by_any_model():
    found = prompt(picture(LABELS), DirectModel())
    assert len(found) == 4
    assert all(p.box is not None and p.coarse is not None for p in found.items)


def test_there_are_no_embeddings_to_keep(tmp_path):
    with pytest.raises(ValueError, match="decoded by its teacher"):
        segment(picture(LABELS), DirectModel(), embeddings=Embeddings(tmp_path))


def test_it_decodes_nothing_itself():
    with pytest.raises(TypeError, match="its teacher does"):
        DirectModel().decode(*[np.zeros(0)] * 5)
