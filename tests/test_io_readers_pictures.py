from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from promptless.errors import UnreadableImageError
from promptless.io.readers import read


def first(array):
    return np.moveaxis(array, -1, 0)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_every_orientation_is_turned_upright(orientation, shape, tmp_path, rng):
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    picture = PillowImage.fromarray(rng.integers(0, 255, shape, np.uint8))
    picture.save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(PillowImage.open(tmp_path / "a.png")))
    image = read(tmp_path / "a.png")
    assert np.array_equal(image.data, np.atleast_3d(expected).transpose(2, 0, 1))
    assert image.shape == expected.shape[:2]


@pytest.mark.parametrize("samples", [3, 4])
def test_colours_of_16_bits_keep_them(samples, tmp_path, rng):
    pixels = rng.integers(0, 65_535, (20, 30, samples)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(pixels))
    assert np.array_equal(read(tmp_path / "a.png").data, first(pixels[..., :3]))
    assert np.array_equal(read(tmp_path / "a.png", None, "green").data, pixels[None, ..., 1])


def test_a_picture_taller_than_a_strip_is_read_whole(tmp_path, rng):
    pixels = rng.integers(0, 255, (2500, 3, 3), np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png").data, first(pixels))


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_the_frames_of_an_animation_are_pages(name, tmp_path, rng):
    frames = rng.integers(0, 255, (3, 20, 30, 3), np.uint8)
    pictures = [PillowImage.fromarray(frame) for frame in frames]
    pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], lossless=True)
    with pytest.raises(UnreadableImageError, match=r"I=3, Y=20, X=30, S=3.*--page 0 to 2"):
        read(tmp_path / name)
    assert np.array_equal(read(tmp_path / name, 2).data, first(frames[2]))


def test_inks_become_colours(tmp_path, rng):
    inks = np.broadcast_to(rng.integers(0, 255, (1, 1, 4), np.uint8), (20, 30, 4))
    picture = PillowImage.fromarray(np.ascontiguousarray(inks), mode="CMYK")
    picture.save(tmp_path / "a.jpg", quality=100, subsampling=0)
    expected = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(read(tmp_path / "a.jpg").data - first(expected)).max() < 8


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_grey_is_one_channel_however_it_is_stored(mode, tmp_path, rng):
    pixels = rng.integers(0, 255, (20, 30), np.uint8)
    grey = PillowImage.fromarray(pixels)
    stored = PillowImage.fromarray(pixels.astype(np.uint16)) if mode == "I;16" else grey.convert(mode)
    stored.save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png").data, pixels[None])


def test_a_file_of_another_kind_is_refused_whatever_its_name_says(tmp_path, rng):
    PillowImage.fromarray(rng.integers(0, 255, (20, 30), np.uint8)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    with pytest.raises(UnreadableImageError, match="is not a PNG image, whatever its name says"):
        read(tmp_path / "a.png")
