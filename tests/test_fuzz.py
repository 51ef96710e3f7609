"""Damaged files of every format: what is read is an image, and what is not says why. Seeded, so it can be repeated."""

from __future__ import annotations

import os
import time
import tracemalloc

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from promptless.errors import UnreadableImageError
from promptless.image import Image
from promptless.io.readers import read

N = int(os.environ.get("PROMPTLESS_FUZZ", "600"))
SECONDS = 60
LIMIT = 2**31


def pillow(**options):
    return lambda path, array: PillowImage.fromarray(array).save(path, **options)


def tiff(**options):
    return lambda path, array: tifffile.imwrite(path, array, **options)


def grey_tiff(**options):
    return lambda path, array: tifffile.imwrite(path, array[..., 0], **options)


def stack(path, array):
    metadata = {"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, np.moveaxis(array, -1, 0), metadata=metadata)


def palette(path, array):
    PillowImage.fromarray(array).quantize(32).save(path)


def deep(path, array):
    path.write_bytes(imagecodecs.png_encode(array.astype(np.uint16) * 200))


WRITERS = {
    "rgb.png": pillow(),
    "palette.png": palette,
    "deep.png": deep,
    "a.jpg": pillow(quality=80),
    "a.bmp": pillow(),
    "a.webp": pillow(lossless=True),
    "b.webp": pillow(quality=60),
    "plain.tif": tiff(),
    "deflate.tif": tiff(compression="zlib", predictor=True, rowsperstrip=8),
    "lzw.tif": grey_tiff(compression="lzw", tile=(16, 16)),
    "jpeg.tif": tiff(compression="jpeg", tile=(16, 16)),
    "jpeg2000.tif": tiff(compression="jpeg2000", tile=(32, 32)),
    "packbits.tif": grey_tiff(compression="packbits"),
    "imagej.tif": grey_tiff(imagej=True, resolution=(2, 2), metadata={"unit": "um"}),
    "big.tiff": tiff(bigtiff=True),
    "a.ome.tif": stack,
    "a.npy": np.save,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a small image in every format, by name."""
    folder = tmp_path_factory.mktemp("whole")
    y, x = np.mgrid[:48, :64]
    array = np.stack([y * 5, x * 4, 255 - x * 2], axis=-1).clip(0, 255).astype(np.uint8)
    for name, write in WRITERS.items():
        write(folder / name, array)
    return {name: (folder / name).read_bytes() for name in WRITERS}


def outcome(path, content):
    """Return the image in `content`, or why it cannot be read; whatever else happens is a failure of the test."""
    path.write_bytes(content)
    began = time.monotonic()
    tracemalloc.start()
    try:
        return read(path, None, 0 if path.name == "a.ome.tif" else None)
    except UnreadableImageError as error:
        return str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert time.monotonic() - began < SECONDS
        assert peak < LIMIT


@pytest.mark.parametrize("name", WRITERS)
def test_whole_files_are_read(name, whole, tmp_path):
    assert isinstance(outcome(tmp_path / name, whole[name]), Image)


@pytest.mark.parametrize("name", WRITERS)
def test_files_cut_at_every_tenth_are_refused_or_read_right(name, whole, tmp_path):
    expected = outcome(tmp_path / name, whole[name]).data
    for tenth in range(10):
        answer = outcome(tmp_path / name, whole[name][: len(whole[name]) * tenth // 10])
        assert isinstance(answer, str) or np.array_equal(answer.data, expected)


@pytest.mark.parametrize("name", WRITERS)
def test_mislabelled_files_are_refused_or_read_as_what_they_are(name, whole, tmp_path):
    for suffix in {".png", ".jpg", ".bmp", ".webp", ".tif", ".npy", ".nii", ".dcm", ".txt"} - {
        f".{name.split('.')[-1]}"
    }:
        answer = outcome(tmp_path / f"a{suffix}", whole[name])
        assert isinstance(answer, str) or np.array_equal(answer.data, outcome(tmp_path / name, whole[name]).data)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("ignore")
def test_files_with_bits_flipped_are_read_or_refused(name, whole, tmp_path):
    rng = np.random.default_rng(sorted(WRITERS).index(name))
    for i in range(-(-N // len(WRITERS))):
        content = np.frombuffer(whole[name], np.uint8).copy()
        reach = len(content) if i % 2 else min(len(content), 300)  # headers are where it hurts
        places = rng.integers(0, reach, rng.integers(1, 9))
        content[places] ^= rng.integers(1, 256, len(places)).astype(np.uint8)
        answer = outcome(tmp_path / name, content.tobytes())
        assert isinstance(answer, Image | str)
