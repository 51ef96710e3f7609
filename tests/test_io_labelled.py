from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from made_up import NullModel
from promptless.io.labelled import name, read
from promptless.pipeline import segment


@pytest.fixture
def result(blobs):
    return segment(blobs[0], NullModel(), mpp=0.5)


def test_a_label_image_alone_gives_objects_without_scores(tmp_path):
    labels = np.array([[0, 7, 7], [3, 0, 7]], np.int32)
    tifffile.imwrite(tmp_path / "cells.tif", labels)
    found = read(tmp_path / "cells.tif")
    assert np.array_equal(found.labels, labels)
    assert found.masks.ids.tolist() == [3, 7]
    assert [mask.area for mask in found.masks] == [1, 3]
    assert np.isnan(found.masks.scores).all()
    assert found.objects["label"].tolist() == [3, 7]
    assert not [column for column in found.objects if "intensity" in column]
    assert found.manifest == {"input": {"name": "cells.tif"}}


@pytest.mark.parametrize("kind", ["labels", "geojson"])
def test_beside_the_other_outputs_scores_and_pixel_size_are_known(result, tmp_path, kind):
    found = read(result.save(tmp_path, "a")[kind])
    assert np.array_equal(found.labels, result.labels)
    assert found.masks.scores == pytest.approx(result.masks.scores)
    assert found.masks.stability == pytest.approx(result.masks.stability)
    assert found.image.spacing == (0.5, 0.5)
    assert found.objects["area_um2"] == pytest.approx(result.objects["area_um2"])
    assert found.manifest["model"] == result.manifest["model"]


def test_labels_that_were_changed_have_no_scores(result, tmp_path):
    paths = result.save(tmp_path, "a")
    labels = tifffile.imread(paths["labels"])
    labels[-3:, -3:] = 40
    tifffile.imwrite(paths["labels"], labels)
    found = read(paths["labels"])
    assert found.masks.ids[-1] == 40
    assert np.isnan(found.masks.scores).all()  # what 3 is now need not be what was scored as 3


def test_an_object_drawn_in_place_of_a_deleted_one_has_no_score_of_its(result, tmp_path):
    path = result.save(tmp_path, "a")["geojson"]
    content = json.loads(path.read_text())
    drawn = content["features"].pop(3) | {"properties": {"objectType": "annotation"}}
    content["features"].append(drawn)
    path.write_text(json.dumps(content))
    found = read(path)
    kept = [i for i in range(result.n_objects) if i != 3]
    assert found.masks.ids.tolist() == [*result.masks.ids[kept], result.n_objects + 1]
    assert found.masks.scores[:-1] == pytest.approx(result.masks.scores[kept], abs=1e-4)
    assert found.masks.stability[:-1] == pytest.approx(result.masks.stability[kept], abs=1e-4)
    assert np.isnan([found.masks.scores[-1], found.masks.stability[-1]]).all()


def test_geojson_alone_needs_the_shape_of_its_image(result, tmp_path):
    text = result.save(tmp_path / "out", "a")["geojson"].read_text()
    (tmp_path / "b.geojson").write_text(text)
    with pytest.raises(ValueError, match=r"b\.geojson does not say how large its image is; .*--shape"):
        read(tmp_path / "b.geojson")
    assert np.array_equal(read(tmp_path / "b.geojson", (80, 112)).labels, result.labels)


def test_the_tile_border_is_read_back(result, tmp_path):
    paths = result.save(tmp_path, "a")
    paths["objects"].write_text("label,score,stability,tile_border\n2,0.5,0.25,True\n")
    masks = read(paths["labels"]).masks
    assert np.flatnonzero(masks.tile_border).tolist() == [1]
    assert masks.scores[1] == 0.5


def test_a_name_is_the_stem_without_what_we_add(tmp_path):
    assert [name(tmp_path / n) for n in ("a_labels.tif", "b.c.geojson", "d.png")] == ["a", "b.c", "d"]
    assert json.dumps(name(tmp_path / "a_labels.x.tif")) == '"a_labels.x"'


def test_classes_that_a_user_gave_in_the_file_itself_are_kept(result, tmp_path):
    path = result.save(tmp_path, "a")["geojson"]
    content = json.loads(path.read_text())
    content["features"][0]["properties"]["classification"]["name"] = "Tumor"
    path.write_text(json.dumps(content))
    found = read(path)
    assert "Tumor" in found.class_names
    first = int(content["features"][0]["properties"]["name"])
    named = dict(zip(found.masks.ids.tolist(), found.masks.classes.tolist(), strict=True))
    assert found.class_names[named[first] - 1] == "Tumor"
