"""The model that ships, on real images."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from promptless.data.prepared import read
from promptless.image import Image
from promptless.loading import load
from promptless.metrics.pixels import dice
from promptless.pipeline import segment
from promptless.registry import names

SPLIT = Path(__file__).parents[2] / "recipes" / "splits" / "dsb2018.json"
pytestmark = pytest.mark.skipif("nuclei" not in names(), reason="the model `nuclei` is not in src/promptless/weights")


@pytest.fixture(scope="module")
def runs():
    """The middle of scikit-image's brown and blue histology image, segmented by both runtimes."""
    image = data.immunohistochemistry()[128:384, 128:384]
    return {runtime: segment(image, load("nuclei", runtime=runtime, threads=1)) for runtime in ("onnx", "torch")}


def test_both_runtimes_agree_on_a_real_image(runs):
    onnx, torch = runs["onnx"].labels, runs["torch"].labels
    assert dice(torch, onnx) > 0.995
    assert abs(runs["onnx"].n_objects - runs["torch"].n_objects) <= 2


def test_nuclei_are_found_in_stained_tissue(runs):
    assert 20 <= runs["onnx"].n_objects <= 400


def test_a_black_image_has_no_nuclei():
    assert segment(np.zeros((256, 256), np.uint8), load("nuclei", threads=1)).n_objects == 0


def test_nuclei_of_the_development_images_are_outlined():
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        pytest.skip("PROMPTLESS_DATA is not set; it names the folder that holds dsb2018/")
    model, ids = load("nuclei", threads=1), json.loads(SPLIT.read_text())["dev"][:5]
    samples = read(Path(root) / "dsb2018", ids)
    assert np.mean([dice(s.labels, segment(Image(s.pixels), model).labels) for s in samples]) > 0.8
