"""Kinds of JPEG in DICOM that pydicom decodes with other packages only: lossless, and extended to 12 bits."""

from __future__ import annotations

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

SYNTAXES = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
END = b"\xff\xd9"
"""What a JPEG ends with."""


def decoded(dataset: Dataset) -> NDArray[np.integer]:
    """Return the pixels of a file of one of `SYNTAXES` as stored, (frame, row, column)."""
    n = int(dataset.get("NumberOfFrames", 1) or 1)
    frames = [frame(code, dataset) for code in generate_frames(dataset.PixelData, number_of_frames=n)]
    if len(frames) != n:
        raise ValueError(f"it has {len(frames)} of its {n} frames")
    return np.stack(frames)


def frame(code: bytes, dataset: Dataset) -> NDArray[np.integer]:
    """Return the pixels of a frame; what is lost of it, libjpeg would make up."""
    if END not in code.rstrip(b"\0")[-len(END) - 2 :]:  # a byte fills up an odd length
        raise ValueError("the JPEG in it has no end")
    pixels = imagecodecs.jpeg8_decode(code)
    shape = (int(dataset.Rows), int(dataset.Columns))
    if pixels.shape != shape:
        raise ValueError(f"the JPEG in it has {pixels.shape} pixels, not {shape}")
    return signed(pixels, int(dataset.BitsStored)) if dataset.PixelRepresentation else np.asarray(pixels)


def signed(pixels: NDArray[np.unsignedinteger], bits: int) -> NDArray[np.integer]:
    """Return pixels whose lowest `bits` are a number that may be below 0; JPEG knows none such."""
    unused = 16 - bits
    return (pixels.astype(np.uint16) << unused).view(np.int16) >> unused
