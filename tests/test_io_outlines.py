from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from made_up import in_image
from promptless.io.outlines import fill, outline
from promptless.masks import Mask

PIXELS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any)


def rasterised(shape, size):
    """Return which pixel centres lie in a shape in x, y, by shapely."""
    y, x = np.indices(size) + 0.5
    return shapely.contains_xy(shape, x, y)


def drawn(rows):
    return np.array([[c == "#" for c in row] for row in rows])


@pytest.mark.parametrize(
    "rows",
    [
        ["###", "#.#", "###"],  # a hole
        ["##..", "##..", "..##", "..##"],  # parts that touch at a corner
        ["#####", "#.#.#", "##.##", "#####"],  # holes that touch at a corner
        ["##.", "#.#", "###"],  # a hole that touches the outside at a corner
        ["#.#", ".#.", "#.#"],
        ["#####", "#...#", "#.#.#", "#...#", "#####"],  # a part in a hole
        ["####", "#..#", "#.##", "##.."],
        ["#"],
    ],
)
def test_the_outline_is_valid_and_holds_the_pixels(rows):
    pixels = drawn(rows)
    shape = outline(Mask((2, 3), pixels))
    assert shape.is_valid
    assert shape.area == pixels.sum()
    assert np.array_equal(rasterised(shape, (8, 10)), in_image(Mask((2, 3), pixels), (8, 10)))


@given(PIXELS)
def test_any_outline_is_valid_and_filling_it_gives_the_pixels_back(pixels):
    mask = Mask((2, 3), pixels)
    shape, expected = outline(mask), in_image(mask, (12, 13))
    assert shape.is_valid
    assert np.array_equal(rasterised(shape, (12, 13)), expected)
    assert np.array_equal(in_image(fill(shape, (12, 13)), (12, 13)), expected)


@given(PIXELS)
def test_the_outline_is_the_union_of_the_pixels(pixels):
    y, x = np.nonzero(pixels)
    assert outline(Mask((0, 0), pixels)).equals(shapely.union_all(shapely.box(x, y, x + 1, y + 1)))


@given(arrays(np.float64, (5, 2), elements=st.integers(-20, 120).map(lambda n: n / 8 + 0.01)))
def test_any_polygon_is_filled_where_shapely_finds_pixel_centres(corners):
    shape = shapely.Polygon(corners)
    if shape.is_valid:
        assert np.array_equal(in_image(fill(shape, (9, 11)), (9, 11)), rasterised(shape, (9, 11)))


def test_polygons_that_share_an_edge_share_no_pixel():
    left, right = (fill(shapely.box(a, 0, b, 4), (4, 6)) for a, b in ((0, 2.5), (2.5, 6)))
    assert (left.box[1].tolist(), right.box[1].tolist()) == ([0, 2], [2, 6])


@pytest.mark.parametrize("shape", [shapely.Point(1, 1), shapely.LineString([(0, 0), (5, 5)]), shapely.Polygon()])
def test_what_has_no_area_has_no_pixels(shape):
    assert fill(shape, (5, 5)).area == 0


def test_parts_that_meet_at_a_corner_are_separate_polygons():
    shape = outline(Mask((0, 0), np.eye(3, dtype=bool)))
    assert shape.geom_type == "MultiPolygon"
    assert len(shape.geoms) == 3


def test_the_outline_runs_along_pixel_edges_from_the_corner_of_the_first_pixel():
    shape = outline(Mask((1, 2), np.ones((2, 3), bool)))
    assert shape.equals(shapely.box(2, 1, 5, 3))
    assert len(shape.exterior.coords) == 5


@given(PIXELS)
def test_rings_turn_as_geojson_wants(pixels):
    for part in shapely.get_parts(outline(Mask((0, 0), pixels))):
        assert part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)
