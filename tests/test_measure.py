from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from made_up import masks_of
from promptless.image import Image
from promptless.labels import objects
from promptless.measure import measure


def measured(labels, image):
    found = list(objects(labels).values())
    return measure(labels, image, masks_of(found, [0.5] * len(found)))


def labelled():
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:13], labels[10:16, 20:26] = 1, 2
    return labels


def test_a_rectangle_measures_what_it_should():
    labels = labelled()
    columns = measured(labels, Image((labels * 10)[None]))
    assert columns["label"].tolist() == [1, 2]
    assert columns["area"].tolist() == [40, 36]
    assert [columns[f"bbox-{i}"][0] for i in range(4)] == [2, 3, 6, 13]
    assert [columns[f"centroid-{i}"][0] for i in range(2)] == [3.5, 7.5]
    assert columns["solidity"].tolist() == [1, 1]
    assert columns["eccentricity"][1] == 0
    assert columns["major_axis_length"][0] > columns["minor_axis_length"][0]
    assert columns["equivalent_diameter"][1] == pytest.approx(2 * np.sqrt(36 / np.pi))
    assert columns["mean_intensity-0"].tolist() == [10, 20]


def test_the_columns_of_the_decoder_come_last():
    labels = labelled()
    columns = measured(labels, Image(labels[None]))
    assert list(columns)[-3:] == ["score", "stability", "tile_border"]
    assert columns["score"].tolist() == [0.5, 0.5]


def test_nothing_physical_is_said_of_an_image_of_unknown_pixel_size():
    labels = labelled()
    assert not [name for name in measured(labels, Image(labels[None])) if "um" in name]


def test_areas_and_lengths_come_in_micrometres_too():
    labels = labelled()
    columns = measured(labels, Image(labels[None], (0.5, 0.5)))
    assert columns["area_um2"].tolist() == [10, 9]
    assert columns["centroid_um-1"][0] == 3.75
    for name in ("perimeter", "major_axis_length", "minor_axis_length", "equivalent_diameter"):
        assert columns[f"{name}_um"] == pytest.approx(columns[name] / 2)


def test_lengths_are_left_out_where_pixels_are_not_square():
    labels = labelled()
    columns = measured(labels, Image(labels[None], (0.5, 0.25)))
    assert columns["area_um2"].tolist() == [5, 4.5]
    assert "perimeter_um" not in columns


def test_channels_are_named_where_the_image_names_them():
    labels = labelled()
    columns = measured(labels, Image(np.stack([labels, labels * 2, labels * 3]), channel_names=("r", "g", "b")))
    assert columns["mean_intensity-g"].tolist() == [2, 4]


def test_no_objects_give_the_same_columns_without_rows():
    labels = labelled()
    image = Image(labels[None], (0.5, 0.5))
    empty = measured(np.zeros_like(labels), image)
    assert list(empty) == list(measured(labels, image))
    assert {len(values) for values in empty.values()} == {0}


def test_volumes_are_measured_without_the_shape_of_planes():
    labels = np.zeros((6, 8, 8), np.int32)
    labels[1:4, 2:6, 2:6] = 1
    columns = measured(labels, Image(labels[None], (2.0, 0.5, 0.5)))
    assert columns["volume_um3"].tolist() == [24]
    assert "perimeter" not in columns


def test_large_labels_are_measured_without_a_table_as_long_as_they():
    labels = labelled() * 10_000_000
    tracemalloc.start()
    columns = measured(labels, Image(labels[None]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert columns["label"].tolist() == [10_000_000, 20_000_000]
    assert columns["area"].tolist() == [40, 36]
    assert peak < 10e6
