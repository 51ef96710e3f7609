from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from skimage.draw import polygon2mask

from made_up import NullModel
from promptless.io.geojson import outline, write
from promptless.masks import Mask
from promptless.pipeline import segment


def rasterised(shape, size):
    """Return which pixel centres lie in a shape in x, y."""
    y, x = np.indices(size) + 0.5
    return shapely.contains_xy(shape, x, y)


@pytest.mark.parametrize(
    "rows",
    [
        ["###", "#.#", "###"],  # a hole
        ["##..", "##..", "..##", "..##"],  # parts that touch at a corner
        ["#####", "#.#.#", "##.##", "#####"],  # holes that touch at a corner
        ["#.#", ".#.", "#.#"],
        ["####", "#..#", "#.##", "##.."],
        ["#"],
    ],
)
def test_rasterising_the_outline_gives_the_pixels_back(rows):
    pixels = np.array([[c == "#" for c in row] for row in rows])
    shape = outline(Mask((2, 3), pixels))
    assert shape.is_valid
    assert shape.area == pixels.sum()
    expected = np.zeros((8, 10), bool)
    expected[2 : 2 + pixels.shape[0], 3 : 3 + pixels.shape[1]] = pixels
    assert np.array_equal(rasterised(shape, (8, 10)), expected)


def test_parts_that_meet_at_a_corner_are_separate_polygons():
    shape = outline(Mask((0, 0), np.eye(3, dtype=bool)))
    assert shape.geom_type == "MultiPolygon"
    assert len(shape.geoms) == 3


def test_the_outline_runs_along_pixel_edges_from_the_corner_of_the_first_pixel():
    shape = outline(Mask((1, 2), np.ones((2, 3), bool)))
    assert shape.equals(shapely.box(2, 1, 5, 3))
    assert len(shape.exterior.coords) == 5


def test_the_file_gives_the_labels_back(blobs, tmp_path):
    image, labels = blobs
    write(segment(image, NullModel()), tmp_path / "a.geojson")
    content = json.loads((tmp_path / "a.geojson").read_text())
    back = np.zeros_like(labels)
    for feature in content["features"]:
        ring = np.array(feature["geometry"]["coordinates"][0])[:, ::-1] - 0.5  # x, y at corners -> y, x at centres
        back[polygon2mask(labels.shape, ring)] = int(feature["properties"]["name"])
    assert content["type"] == "FeatureCollection"
    assert np.array_equal(back, labels)


def test_features_have_what_qupath_reads(blobs, tmp_path):
    result = segment(blobs[0], NullModel())
    write(result, tmp_path / "a.geojson")
    lines = (tmp_path / "a.geojson").read_text().splitlines()
    feature = json.loads(lines[1].rstrip(","))
    assert len(lines) == 2 + result.n_objects
    assert feature["type"] == "Feature"
    assert feature["geometry"]["type"] in ("Polygon", "MultiPolygon")
    assert feature["properties"]["objectType"] == "detection"
    assert feature["properties"]["classification"]["name"] == "Nucleus"
    assert feature["properties"]["measurements"]["area"] == result.masks.masks[0].area


def test_no_objects_give_an_empty_collection(tmp_path):
    write(segment(np.zeros((9, 9), np.uint8), NullModel()), tmp_path / "a.geojson")
    assert json.loads((tmp_path / "a.geojson").read_text()) == {"type": "FeatureCollection", "features": []}
