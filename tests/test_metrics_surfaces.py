from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from promptless.metrics.surfaces import (
    distances_to,
    edge_distances,
    hausdorff,
    surface_dice,
    surfel_distances,
    surfel_sizes,
)


def box(shape, *edges):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in edges)] = True
    return mask


def test_a_flat_surface_has_the_area_of_a_voxels_face():
    codes = {(1, 1): 0b00001111, (1, 2): 0b00110011, (2, 2): 0b01010101}  # z, y and x faces: corners in array order
    sizes = surfel_sizes((3.0, 2.0, 0.5))
    assert sizes[list(codes.values())].tolist() == pytest.approx([2.0 * 0.5, 3.0 * 0.5, 3.0 * 2.0])


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 0.7), (1.0, 1.0, 1.0), (3.0, 2.0, 0.7)])
def test_a_mask_and_its_complement_have_one_surface(spacing):
    sizes = surfel_sizes(spacing)
    assert sizes.tolist() == sizes[::-1].tolist()
    assert (sizes[0], sizes[-1]) == (0, 0)
    assert (sizes[1:-1] > 0).all()


def test_doubling_the_spacing_doubles_lengths_and_quadruples_areas():
    assert surfel_sizes((2.0, 6.0)) == pytest.approx(2 * surfel_sizes((1.0, 3.0)))
    assert surfel_sizes((2.0, 4.0, 6.0)) == pytest.approx(4 * surfel_sizes((1.0, 2.0, 3.0)))


@pytest.mark.parametrize("distances", [surfel_distances, edge_distances])
def test_truth_and_prediction_may_change_places(distances, rng):
    a, b = rng.uniform(size=(2, 7, 8, 9)) < 0.3
    one, other = distances(a, b, (2.0, 1.0, 0.5)), distances(b, a, (2.0, 1.0, 0.5))
    assert surface_dice(one, 1) == pytest.approx(surface_dice(other, 1))
    assert hausdorff(one) == hausdorff(other)


def test_planes_are_measured_by_length():
    truth, predicted = box((12, 12), (2, 8), (2, 8)), box((12, 12), (2, 8), (4, 10))
    found = surfel_distances(truth, predicted, (1.0, 0.5))
    assert hausdorff(found) == 1
    assert surface_dice(found, 1) == 1
    assert surface_dice(found, 0.9) < 1
    assert found.true_size.sum() == pytest.approx(2 * 5 * 1.0 + 2 * 5 * 0.5 + 4 * 0.5 * np.hypot(1, 0.5))


@pytest.mark.parametrize("spacing", [(1.0, 0.5), (2.5, 0.7, 0.7)])
def test_distances_are_those_of_the_distance_transform(spacing, rng):
    surface, places = rng.uniform(size=(2, *(9,) * len(spacing))) < 0.1
    everywhere = ndimage.distance_transform_edt(~surface, sampling=spacing)
    assert np.array_equal(distances_to(surface, places, spacing), everywhere[places])
    assert np.isinf(distances_to(surface & False, places, spacing)).all()


def test_without_surfaces_nothing_is_defined():
    nothing = np.zeros((4, 4, 4), bool)
    found = surfel_distances(nothing, nothing, (1.0, 1.0, 1.0))
    assert np.isnan([surface_dice(found, 1), hausdorff(found)]).all()


def test_four_axes_are_refused():
    mask = np.ones((2, 2, 2, 2), bool)
    with pytest.raises(ValueError, match="2 or 3 axes; these have 4"):
        surfel_distances(mask, mask, (1.0,) * 4)
