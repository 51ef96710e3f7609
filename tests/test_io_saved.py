from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from promptless.editing import edit
from promptless.image import Image
from promptless.pipeline import segment
from promptless.prompts import Prompts
from promptless.result import Segmentation


@pytest.fixture
def saved(blobs, null_model, tmp_path):
    result = segment(blobs[0], null_model)
    gaps = Prompts(result.prompts.shape, result.prompts.items[1:])
    result = edit(result, gaps, null_model)
    return result, result.save(tmp_path, "a")


def test_saving_and_loading_gives_the_same(saved, tmp_path):
    result, _ = saved
    again = Segmentation.load(tmp_path, "a", result.image)
    assert np.array_equal(again.labels, result.labels)
    assert again.masks.scores.tobytes() == result.masks.scores.tobytes()
    assert again.masks.stability.tobytes() == result.masks.stability.tobytes()
    assert again.masks.tile_border.tolist() == result.masks.tile_border.tolist()
    assert again.masks.ids.tolist() == result.masks.ids.tolist()
    assert again.prompts.to_json() == result.prompts.to_json()
    for one, other in zip(again.masks, result.masks, strict=True):
        assert one.start == other.start
        assert np.array_equal(one.pixels, other.pixels)


def test_saving_again_writes_the_same_files(saved, tmp_path):
    result, paths = saved
    before = {kind: path.read_bytes() for kind, path in paths.items()}
    Segmentation.load(tmp_path, "a", result.image).save(tmp_path, "a")
    assert {kind: path.read_bytes() for kind, path in paths.items()} == before


@pytest.mark.parametrize("kind", ["labels", "objects"])
def test_an_altered_result_is_not_edited(saved, tmp_path, kind):
    result, paths = saved
    paths[kind].write_bytes(paths[kind].read_bytes() + b"\n")
    with pytest.raises(ValueError, match="is not the file that the manifest names"):
        Segmentation.load(tmp_path, "a", result.image)


def test_edited_prompts_are_welcome(saved, tmp_path):
    result, paths = saved
    content = json.loads(paths["prompts"].read_text())
    content["prompts"].pop()
    paths["prompts"].write_text(json.dumps(content))
    assert len(Segmentation.load(tmp_path, "a", result.image).prompts) == len(result.prompts) - 1


def test_another_image_is_refused(saved, tmp_path):
    with pytest.raises(ValueError, match="but the image has"):
        Segmentation.load(tmp_path, "a", Image(np.zeros((1, 5, 5), np.uint8)))


def test_an_old_manifest_cannot_be_gone_on_from(saved, tmp_path):
    result, paths = saved
    record = json.loads(paths["manifest"].read_text())
    del record["outputs"]
    paths["manifest"].write_text(json.dumps(record))
    with pytest.raises(ValueError, match="lacks outputs"):
        Segmentation.load(tmp_path, "a", replace(result).image)
