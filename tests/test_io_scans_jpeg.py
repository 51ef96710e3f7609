"""JPEG in DICOM that pydicom leaves to other packages."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

import scans as made
from promptless.errors import UnreadableImageError
from promptless.io.scans import jpeg, read

LARGER = imagecodecs.jpeg8_encode(np.zeros((9, 9), np.uint8), lossless=True)


@pytest.mark.parametrize(("syntax", "predictor"), [(JPEGLosslessSV1, 1), (JPEGLossless, 1), (JPEGLossless, 6)])
@pytest.mark.parametrize(("bits", "signs"), [(8, 0), (12, 0), (16, 0), (12, 1), (16, 1)])
def test_lossless_jpeg_is_what_it_was(syntax, predictor, bits, signs, rng, tmp_path):
    low = -(2 ** (bits - 1)) if signs else 0
    stored = rng.integers(low, low + 2**bits, (3, 6, 7))
    (tmp_path / "s").mkdir()
    for i, plane in enumerate(stored):
        as_written = (plane % 2**bits).astype(np.uint8 if bits == 8 else np.uint16)  # two's complement
        code = imagecodecs.jpeg8_encode(as_written, lossless=True, predictor=predictor, bitspersample=bits)
        one = made.encoded(made.dataset(plane.astype(np.uint16), i), code, syntax)
        one.BitsStored, one.HighBit, one.PixelRepresentation, one.RescaleIntercept = bits, bits - 1, signs, 0
        one.save_as(tmp_path / "s" / f"{i}.dcm")
    assert np.array_equal(read(tmp_path / "s").data[0][:, ::-1, ::-1], stored)


def test_twelve_bits_of_extended_jpeg_are_nearly_what_they_were(tmp_path):
    smooth = (np.add.outer(np.arange(3), np.add.outer(np.arange(16), np.arange(16))) * 100).astype(np.uint16)
    (tmp_path / "s").mkdir()
    for i, plane in enumerate(smooth):
        code = imagecodecs.jpeg8_encode(plane, level=95, bitspersample=12)
        made.encoded(made.dataset(plane, i), code, JPEGExtended12Bit).save_as(tmp_path / "s" / f"{i}.dcm")
    read_again = read(tmp_path / "s").data[0][:, ::-1, ::-1] + 1024
    assert np.abs(read_again.astype(int) - smooth).max() <= 8


def test_extended_jpeg_of_another_writer_is_read():
    """A file that comes with pydicom; its own tests expect these values."""
    (plane,) = jpeg.decoded(pydicom.dcmread(get_testdata_file("JPGExtended.dcm", download=False)))
    assert (plane.shape, plane[420, 140], plane[230, 120]) == ((1024, 256), 244, 95)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda code: code[:-10], r"002.dcm, which cannot be read \(the JPEG in it has no end\)"),
        (lambda code: code[:20] + b"\xff\xd9", "002.dcm, which cannot be read"),
        (lambda code: LARGER, r"has \(9, 9\) pixels, not \(6, 7\)"),
    ],
)
def test_a_damaged_one_is_refused(spoil, message, rng, tmp_path):
    stored = rng.integers(0, 4096, (5, 6, 7)).astype(np.uint16)
    folder = made.series(tmp_path / "s", stored)
    code = imagecodecs.jpeg8_encode(stored[2], lossless=True, predictor=1, bitspersample=12)
    made.encoded(made.dataset(stored[2], 2), spoil(code), JPEGLosslessSV1).save_as(folder / "002.dcm")
    with pytest.raises(UnreadableImageError, match=message):
        read(folder)
