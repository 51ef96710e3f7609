from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from made_up import ClassModel, NullModel, bright_and_dim, of_labels
from promptless.io.coco import write
from promptless.pipeline import segment

LABELS = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 1, 2, 5]))


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
@given(LABELS)
def test_pycocotools_gives_the_labels_back(tmp_path_factory, labels):
    reader = pytest.importorskip("pycocotools.coco")
    path = tmp_path_factory.mktemp("coco") / "a.json"
    write(of_labels(labels), path)
    coco = reader.COCO(str(path))
    back = np.zeros_like(labels)
    for entry in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(entry)
        back[mask > 0] = entry["id"]
        encoded = coco.annToRLE(entry)
        assert reader.maskUtils.area(encoded) == entry["area"]
        assert reader.maskUtils.toBbox(encoded).tolist() == entry["bbox"]
    assert np.array_equal(back, labels)


def test_the_fields_are_those_of_coco_and_of_segment_anything(blobs, tmp_path):
    result = segment(blobs[0], NullModel())
    write(result, tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "", "height": 80, "width": 112}]
    assert content["categories"] == [{"id": 1, "name": "nucleus", "supercategory": ""}]
    entry = content["annotations"][0]
    assert (entry["id"], entry["image_id"], entry["category_id"], entry["iscrowd"]) == (1, 1, 1, 0)
    assert entry["predicted_iou"] == pytest.approx(0.9)
    assert 0 <= entry["stability_score"] <= 1
    (x, y), *_ = entry["point_coords"]
    assert result.labels[round(y), round(x)] == 1


def test_what_is_not_known_is_left_out(tmp_path):
    write(of_labels(np.eye(2, dtype=np.int32)), tmp_path / "a.json")
    (entry,) = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert set(entry) == {"id", "image_id", "category_id", "segmentation", "bbox", "area", "iscrowd"}


def test_no_objects_give_no_annotations(tmp_path):
    write(of_labels(np.zeros((2, 3), np.int32)), tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["annotations"] == []


def test_classes_are_categories(tmp_path):
    result = segment(bright_and_dim()[0], ClassModel())
    write(result, tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert [(entry["id"], entry["name"]) for entry in content["categories"]] == [(1, "dim"), (2, "bright")]
    assert [entry["category_id"] for entry in content["annotations"]] == result.masks.classes.tolist()
