from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from promptless.errors import UnreadableImageError
from promptless.io.readers import read


@pytest.fixture
def saved(tmp_path):
    def save(array, **options):
        np.save(tmp_path / "a.npy", array, **options)
        return tmp_path / "a.npy"

    return save


@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f4", ">f8", "?"])
def test_a_plane_is_read_as_it_is(saved, rng, dtype):
    array = rng.integers(0, 2, (20, 30)).astype(dtype)
    image = read(saved(array))
    assert np.array_equal(image.data, array[None])
    assert image.data.dtype.isnative


def test_colours_come_last_and_transparency_is_dropped(saved, rng):
    array = rng.integers(0, 255, (20, 30, 4), np.uint8)
    assert np.array_equal(read(saved(array)).data, np.moveaxis(array[..., :3], -1, 0))
    assert np.array_equal(read(saved(array[..., :3]), None, "blue").data, array[None, ..., 2])


def test_an_array_that_can_be_read_in_several_ways_is_refused_with_the_readings(saved, rng):
    array = rng.integers(0, 255, (3, 20, 30), np.uint8)
    with pytest.raises(UnreadableImageError, match=r"--page 0 to 2, or --channel 0 to 2 .*, or --channel rgb"):
        read(saved(array))
    assert np.array_equal(read(saved(array), 2).data, array[2:])
    assert np.array_equal(read(saved(array), None, 2).data, array[2:])
    assert np.array_equal(read(saved(array), None, "rgb").data, array)
    with pytest.raises(UnreadableImageError, match="3 planes of 20 x 4 or one of 3 x 20 in 4 channels"):
        read(saved(array[..., :4].astype(np.uint16)))


def test_a_stack_of_five_axes_is_refused_and_its_pages_are_offered(saved, rng):
    array = rng.integers(0, 255, (2, 3, 2, 20, 30), np.uint8)
    with pytest.raises(UnreadableImageError, match=r"Q=2, Q=3, Q=2, Y=20, X=30.*--page 0 to 11"):
        read(saved(array))
    assert np.array_equal(read(saved(array), 7).data[0], array[1, 0, 1])


@pytest.mark.parametrize("array", [np.zeros(9), np.zeros(()), np.zeros((5, 6), complex)])
def test_what_is_no_image_is_refused(saved, array):
    with pytest.raises(UnreadableImageError, match=r"a\.npy"):
        read(saved(array))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0, 3), (2, 0, 7)])
def test_an_array_without_pixels_is_refused_by_its_shape(saved, shape):
    with pytest.raises(UnreadableImageError, match=r"holds an array of shape \(.*, which is no image"):
        read(saved(np.zeros(shape, np.uint8)))


def test_pickles_are_never_opened(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was opened",)

    with pytest.raises(UnreadableImageError):
        read(saved(np.array([[Trap()]], object), allow_pickle=True))
    (tmp_path / "a.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UnreadableImageError, match="is not a NPY file"):
        read(tmp_path / "a.npy")


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (60_000, 60_000)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(100))
    with pytest.raises(UnreadableImageError, match=r"a\.npy"):
        read(tmp_path / "a.npy")
