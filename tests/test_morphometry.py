from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import regionprops_table

from promptless.labels import objects
from promptless.morphometry import Pixels, shapes
from promptless.strips import Strip

MODERN = {
    "eccentricity": "eccentricity",
    "axis_major_length": "major_axis_length",
    "axis_minor_length": "minor_axis_length",
    "orientation": "orientation",
    "perimeter": "perimeter",
    "solidity": "solidity",
}
"""Our names by scikit-image's."""


def same(labels):
    """Compare the shapes of the objects of a label image with scikit-image's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = regionprops_table(labels, properties=list(MODERN))
    found = shapes(Pixels(Strip.of(list(objects(labels).values()))))
    for name, values in expected.items():
        apart = np.abs(found[MODERN[name]] - values)
        if name == "orientation":  # it has no sense of direction
            round_ones = expected["eccentricity"] < 1e-6
            apart = np.where(round_ones, 0, np.minimum(apart, np.pi - apart))
        assert apart.max(initial=0) < 1e-6, name


@pytest.mark.parametrize("coarseness", [1, 2, 4])
def test_blobs_have_the_shapes_that_scikit_image_measures(coarseness):
    noise = np.random.default_rng(coarseness).standard_normal((200, 220))
    same(ndimage.label(ndimage.gaussian_filter(noise, coarseness) > 0.3 / coarseness)[0])


@given(arrays(np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 2)))
def test_any_pixels_have_the_shape_that_scikit_image_measures(labels):
    if labels.any():
        same(labels)


def test_an_object_is_measured_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    labels = ndimage.label(ndimage.gaussian_filter(rng.standard_normal((90, 90)), 2) > 0.1)[0]
    found = list(objects(labels).values())
    together = shapes(Pixels(Strip.of(found)))
    for i, mask in enumerate(found):
        alone = shapes(Pixels(Strip.of([mask])))
        assert all(alone[name][0] == pytest.approx(together[name][i], abs=1e-9) for name in alone)
