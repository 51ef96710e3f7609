from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from promptless.image import Image
from promptless.structures import structures
from voxel_models import blocks


def test_the_table_has_a_row_per_class_measured_plainly(rng):
    image, labels = blocks((12, 14, 16), spacing=(2.0, 1.0, 0.5))
    affine = rng.normal(size=(4, 4))
    affine[3] = (0, 0, 0, 1)
    table = structures(labels, replace(image, affine=affine), ("dim", "bright", "absent"))
    assert table["label"].tolist() == [1, 2, 3]
    for row, value in enumerate((1, 2)):
        where = np.argwhere(labels == value)
        assert table["voxels"][row] == len(where)
        assert math.isclose(table["ml"][row], len(where) * 1e-3)
        assert np.isclose(table["mean_intensity"][row], image.data[0][labels == value].mean())
        for axis, name in enumerate("zyx"):
            assert table[f"{name}_start"][row] == where[:, axis].min()
            assert table[f"{name}_stop"][row] == where[:, axis].max() + 1
        middle = affine @ [*where.mean(axis=0), 1]
        for axis, name in enumerate(("right", "front", "head")):
            assert np.isclose(table[f"centroid_mm-{name}"][row], middle[axis])


def test_what_was_not_found_has_a_row_without_a_place():
    image, labels = blocks()
    table = structures(np.zeros_like(labels), image, ("dim",))
    assert (table["voxels"][0], table["ml"][0], table["z_start"][0], table["x_stop"][0]) == (0, 0, 0, 0)
    assert np.isnan([table["mean_intensity"][0], table["centroid_mm-head"][0]]).all()


def test_without_spacing_and_affine_volumes_and_places_are_not_known():
    labels = np.ones((2, 3, 4), np.uint8)
    table = structures(labels, Image(np.zeros((1, 2, 3, 4), np.int16)), ("all",))
    assert table["voxels"][0] == 24
    assert np.isnan([table["ml"][0], table["centroid_mm-right"][0]]).all()


def test_micrometres_make_millilitres_too():
    labels = np.ones((10, 10, 10), np.uint8)
    image = Image(np.zeros((1, 10, 10, 10), np.int16), (1000.0, 1000.0, 1000.0), "um")
    assert math.isclose(structures(labels, image, ("all",))["ml"][0], 1)
