from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as PillowImage
from PIL import ImageDraw

from made_up import ClassModel, NullModel, bright_and_dim, of_labels
from promptless.io.classes import colour
from promptless.io.geojson import numbers, read, read_measured, write
from promptless.pipeline import segment

LABELS = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 0, 1, 2, 5]))


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": shapely.geometry.mapping(geometry), "properties": properties}


def saved(path, *features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def by_pillow(path, shape):
    """Return the label image that pillow fills: pictures ten times as large, of which it sees the middles of pixels."""
    labels = np.zeros(shape, np.int32)
    for entry in json.loads(path.read_text())["features"]:
        kind, parts = entry["geometry"]["type"], entry["geometry"]["coordinates"]
        for exterior, *holes in parts if kind == "MultiPolygon" else [parts]:
            picture = PillowImage.new("L", (10 * shape[1], 10 * shape[0]))
            for ring, value in [(exterior, 1), *((hole, 0) for hole in holes)]:
                ImageDraw.Draw(picture).polygon([(10 * x, 10 * y) for x, y in ring], fill=value)
            labels[np.asarray(picture)[5::10, 5::10] > 0] = int(entry["properties"]["name"])
    return labels


@given(LABELS)
def test_the_file_gives_the_labels_back_to_us_and_to_pillow(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("geojson") / "a.geojson"
    write(of_labels(labels), path)
    assert np.array_equal(read(path, labels.shape), labels)
    assert np.array_equal(by_pillow(path, labels.shape), labels)


def test_what_a_model_found_comes_back(blobs, tmp_path):
    result = segment(blobs[0], NullModel())
    write(result, tmp_path / "a.geojson")
    assert np.array_equal(read(tmp_path / "a.geojson", result.labels.shape), result.labels)


def test_features_have_what_qupath_reads(blobs, tmp_path):
    result = segment(blobs[0], NullModel())
    write(result, tmp_path / "a.geojson")
    lines = (tmp_path / "a.geojson").read_text().splitlines()
    entry = json.loads(lines[1].rstrip(","))
    assert len(lines) == 2 + result.n_objects
    assert entry["type"] == "Feature"
    assert entry["geometry"]["type"] in ("Polygon", "MultiPolygon")
    assert entry["properties"]["objectType"] == "detection"
    assert entry["properties"]["classification"]["name"] == "Nucleus"
    assert entry["properties"]["measurements"]["area"] == result.masks.masks[0].area
    assert 0 <= entry["properties"]["measurements"]["score"] <= 1


def test_scores_that_are_not_known_are_left_out(tmp_path):
    write(of_labels(np.eye(2, dtype=np.int32)), tmp_path / "a.geojson")
    (entry,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert entry["properties"]["measurements"] == {"area": 2}


def test_no_objects_give_an_empty_collection(tmp_path):
    write(segment(np.zeros((9, 9), np.uint8), NullModel()), tmp_path / "a.geojson")
    assert json.loads((tmp_path / "a.geojson").read_text()) == {"type": "FeatureCollection", "features": []}
    assert not read(tmp_path / "a.geojson", (9, 9)).any()


def test_what_was_edited_in_qupath_is_read_whatever_its_class_and_type(tmp_path):
    path = saved(
        tmp_path / "a.geojson",
        feature(shapely.box(0, 0, 2, 2), objectType="annotation", classification={"name": "Tumor"}),
        feature(shapely.box(3.2, 0.4, 5.1, 1.9), name="7"),  # its middle pixels only
        feature(shapely.Point(4, 4), name="a note"),
        feature(shapely.box(7, 4, 20, 20), objectType="annotation", name="7"),  # beyond the image
    )
    assert read(path, (6, 8)).tolist() == [
        [8, 8, 0, 7, 7, 0, 0, 0],
        [8, 8, 0, 7, 7, 0, 0, 0],
        [0] * 8,
        [0] * 8,
        [0] * 7 + [10],
        [0] * 7 + [10],
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["5", "", "3", "5"], [5, 6, 3, 7]),
        (["1000000000", str(2**31 - 1), "x"], [10**9, 2**31 - 1, 1]),  # no number is left above the largest
        ([str(2**31), "0" * 12 + "4", "0", "9" * 5000], [5, 4, 6, 7]),
    ],
)
def test_objects_keep_the_number_they_are_named_by_and_others_come_after(names, expected):
    assert numbers(names) == expected


@pytest.mark.parametrize("measured", [{"score": 0.25, "Area": "NaN"}, [{"name": "score", "value": 0.25}], None])
def test_what_was_measured_of_a_feature_comes_with_its_label(tmp_path, measured):
    path = saved(tmp_path / "a.geojson", feature(shapely.box(0, 0, 1, 1), name="4", measurements=measured))
    assert read_measured(path, (1, 1))[1] == {4: {"score": 0.25} if measured else {}}


def test_the_later_of_two_that_overlap_lies_on_top(tmp_path):
    path = saved(tmp_path / "a.geojson", feature(shapely.box(0, 0, 3, 1)), feature(shapely.box(2, 0, 4, 1)))
    assert read(path, (1, 4)).tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize("wrapped", [lambda entry: [entry], lambda entry: entry])
def test_a_list_of_features_and_a_single_one_are_read_too(tmp_path, wrapped):
    (tmp_path / "a.geojson").write_text(json.dumps(wrapped(feature(shapely.box(1, 0, 2, 1), name="4"))))
    assert read(tmp_path / "a.geojson", (1, 3)).tolist() == [[0, 4, 0]]


@pytest.mark.parametrize("text", ["", "{", "3", '{"features": [{"geometry": null}]}', '{"features": [3]}'])
def test_what_is_no_geojson_is_refused_by_name(tmp_path, text):
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(ValueError, match=r"a\.geojson cannot be read as GeoJSON"):
        read(tmp_path / "a.geojson", (3, 3))


def test_outlines_outside_the_image_mean_that_its_shape_is_wrong(tmp_path):
    ring = [[50, 5], [60, 5], [60, 9], [50, 9], [50, 5]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert read(path, (20, 55)).any()  # one that reaches beyond the border is cut there
    with pytest.raises(ValueError, match="has 1 outlines outside an image of 20 x 40"):
        read(path, (20, 40))


def test_classes_are_qupaths_classifications(tmp_path):
    result = segment(bright_and_dim()[0], ClassModel())
    write(result, tmp_path / "a.geojson")
    kinds = [entry["properties"] for entry in json.loads((tmp_path / "a.geojson").read_text())["features"]]
    expected = [{"name": ("", "Dim", "Bright")[v], "color": [*colour(v)]} for v in result.masks.classes.tolist()]
    assert [entry["classification"] for entry in kinds] == expected
    assert all(0.5 < entry["measurements"]["class_probability"] <= 1 for entry in kinds)
    measured = read_measured(tmp_path / "a.geojson", result.labels.shape)[1]
    assert [measured[i]["class_name"] for i in result.masks.ids.tolist()] == [kind["name"] for kind in expected]
