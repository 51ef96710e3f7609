"""The student that ships, on real images, and with its teacher."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from promptless.config import ModelConfig
from promptless.data.prepared import read
from promptless.editing import clicked, edit
from promptless.image import Image
from promptless.loading import load
from promptless.metrics.pixels import dice
from promptless.pipeline import segment
from promptless.registry import CONFIG, WEIGHTS, model_hash, names

SPLIT = Path(__file__).parents[2] / "recipes" / "splits" / "dsb2018.json"
pytestmark = pytest.mark.skipif("nuclei-fast" not in names(), reason="`nuclei-fast` is not in src/promptless/weights")


@pytest.fixture(scope="module")
def runs():
    """The middle of scikit-image's brown and blue histology image, segmented by both runtimes."""
    image = data.immunohistochemistry()[128:384, 128:384]
    return {runtime: segment(image, load("nuclei-fast", runtime=runtime, threads=1)) for runtime in ("onnx", "torch")}


def test_both_runtimes_agree_on_a_real_image(runs):
    onnx, torch = runs["onnx"].labels, runs["torch"].labels
    assert dice(torch, onnx) > 0.995
    assert 20 <= runs["onnx"].n_objects <= 400


def test_its_teacher_is_the_model_that_ships():
    student, teacher = (ModelConfig.read(WEIGHTS / name / CONFIG) for name in ("nuclei-fast", "nuclei"))
    assert student.teacher.sha256 == model_hash(teacher)
    assert student.align == teacher.align


def test_a_click_is_decoded_by_the_teacher_without_being_told_where_it_is(runs):
    before = runs["onnx"]
    at = tuple(before.prompts.items[0].points[0].tolist())
    after = edit(before, clicked(before, [at], []), load("nuclei-fast", threads=1))
    assert after.manifest["edits"][0]["model"]["name"] == "nuclei"
    assert after.manifest["edits"][0]["edited"] == [1]


def test_a_black_image_has_no_nuclei():
    assert segment(np.zeros((256, 256), np.uint8), load("nuclei-fast", threads=1)).n_objects == 0


def test_nuclei_of_the_development_images_are_outlined():
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        pytest.skip("PROMPTLESS_DATA is not set; it names the folder that holds dsb2018/")
    model, ids = load("nuclei-fast", threads=1), json.loads(SPLIT.read_text())["dev"][:5]
    samples = read(Path(root) / "dsb2018", ids)
    assert np.mean([dice(s.labels, segment(Image(s.pixels), model).labels) for s in samples]) > 0.8
