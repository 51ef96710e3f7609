from __future__ import annotations

import gc

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from promptless.errors import UnreadableImageError, VolumeError
from promptless.io.readers import read
from promptless.io.readers.families import READERS


@pytest.fixture
def grey(rng):
    return rng.integers(0, 255, (24, 31), np.uint8)


@pytest.fixture
def colours(rng):
    """A smooth picture in colours, so that JPEG keeps it."""
    y, x = np.mgrid[:48, :64]
    return np.stack([y * 5, x * 4, 255 - x * 2], axis=-1).clip(0, 255).astype(np.uint8)


def saved(array, path, **options):
    PillowImage.fromarray(array).save(path, **options)
    return path


def first(array):
    return np.moveaxis(array, -1, 0)


def test_a_grey_png_has_one_channel(grey, tmp_path):
    image = read(saved(grey, tmp_path / "a.png"))
    assert np.array_equal(image.data, grey[None])
    assert image.spacing is None


def test_a_png_of_16_bits_keeps_them(grey, tmp_path):
    deep = grey.astype(np.uint16) * 200
    image = read(saved(deep, tmp_path / "a.png"))
    assert np.array_equal(image.data, deep[None])


def test_colours_are_channels(colours, tmp_path):
    assert np.array_equal(read(saved(colours, tmp_path / "a.png")).data, first(colours))


def test_grey_that_was_saved_in_colours_has_one_channel(grey, tmp_path):
    assert np.array_equal(read(saved(np.stack([grey] * 3, axis=-1), tmp_path / "a.png")).data, grey[None])


def test_transparency_is_dropped(colours, grey, tmp_path):
    rgba = np.concatenate([colours, np.full((*colours.shape[:2], 1), 9, np.uint8)], axis=-1)
    assert np.array_equal(read(saved(rgba, tmp_path / "a.png")).data, first(colours))
    with_alpha = PillowImage.merge("LA", [PillowImage.fromarray(grey)] * 2)
    with_alpha.save(tmp_path / "b.png")
    assert np.array_equal(read(tmp_path / "b.png").data, grey[None])


def test_a_palette_is_looked_up(tmp_path):
    picture = PillowImage.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").data[:, 0, 1].tolist() == [40, 50, 60]


def test_a_picture_of_one_bit_is_true_and_false(grey, tmp_path):
    PillowImage.fromarray(grey > 100).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png").data[0] > 0, grey > 100)


def test_a_photograph_is_turned_upright(colours, tmp_path):
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # the camera was turned: rows go right to left
    path = saved(colours, tmp_path / "a.jpg", exif=exif, quality=95)
    image = read(path)
    assert image.shape == colours.shape[1::-1]
    assert np.abs(image.data.astype(int) - first(np.rot90(colours, -1))).mean() < 4


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".webp"])
def test_other_pictures_are_read(colours, tmp_path, suffix):
    image = read(saved(colours, tmp_path / f"a{suffix}"))
    assert np.abs(image.data.astype(int) - first(colours)).mean() < 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_a_tiff_is_read_as_it_is(grey, tmp_path, dtype, compression):
    values = grey.astype(dtype) * (0.1 if dtype == np.float32 else 1)
    values = values.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression)
    image = read(tmp_path / "a.tif")
    assert image.data.dtype == dtype
    assert np.array_equal(image.data, values[None])


def test_a_tiff_in_colours_is_read_planar_or_not(colours, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", first(colours), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(tmp_path / "a.tif").data, first(colours))
    assert np.array_equal(read(tmp_path / "b.tif").data, first(colours))


def test_a_jpeg_compressed_tiff_in_tiles_is_read(colours, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb", compression="jpeg", tile=(32, 32))
    assert np.abs(read(tmp_path / "a.tif").data.astype(int) - first(colours)).mean() < 6


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1), ("nm", 1e-3), ("mm", 1e3)])
def test_an_ome_tiff_knows_its_pixel_size(grey, tmp_path, unit, factor):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.25 / factor, "PhysicalSizeY": 0.5 / factor}
    metadata |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", grey, metadata=metadata)
    image = read(tmp_path / "a.ome.tif")
    assert image.spacing == pytest.approx((0.5, 0.25))
    assert np.array_equal(image.data, grey[None])


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m"])
def test_imagej_says_the_pixel_size_as_a_resolution_with_a_unit(grey, tmp_path, unit):
    tifffile.imwrite(tmp_path / "a.tif", grey, imagej=True, resolution=(4, 2), metadata={"unit": unit})
    assert read(tmp_path / "a.tif").spacing == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize("unit", [b"\xb5m ", b"\xc2\xb5m"])
def test_imagej_may_write_the_micro_sign_itself(grey, tmp_path, unit):
    tifffile.imwrite(tmp_path / "a.tif", grey, imagej=True, resolution=(4, 2), metadata={"unit": "zzz"})
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes().replace(b"unit=zzz", b"unit=" + unit))
    assert read(tmp_path / "a.tif").spacing == pytest.approx((0.5, 0.25))


def test_the_dots_per_inch_of_a_printer_are_not_believed(grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey, resolution=(300, 300), resolutionunit="INCH")
    tifffile.imwrite(tmp_path / "b.tif", grey, imagej=True, resolution=(72, 72), metadata={"unit": "inch"})
    assert read(tmp_path / "a.tif").spacing is None
    assert read(tmp_path / "b.tif").spacing is None


def test_a_stack_is_refused_with_its_axes(grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([grey] * 5), imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(UnreadableImageError, match="Z=5, Y=24, X=31"):
        read(tmp_path / "a.tif")


def test_what_is_not_there_or_not_an_image_is_refused_with_the_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("label,area\n1,20\n")
    (tmp_path / "text.tif").write_text("label,area\n1,20\n")
    (tmp_path / "notes.txt").write_text("hello")
    reasons = {
        "missing.png": "does not exist",
        "empty.png": "is empty",
        "text.png": "is not a PNG image, whatever its name says",
        "text.tif": "is not a TIF image, whatever its name says",
        "notes.txt": "no suffix of an image; these are read: .*png",
        ".": "is a folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(UnreadableImageError, match=reason):
            read(tmp_path / name)


WRITERS = {
    "a.png": lambda path, array: saved(array, path),
    "a.jpg": lambda path, array: saved(array, path, quality=90),
    "a.bmp": lambda path, array: saved(array, path),
    "a.webp": lambda path, array: saved(array, path, lossless=True),
    "plain.tif": tifffile.imwrite,
    "zlib.tif": lambda path, array: tifffile.imwrite(path, array, compression="zlib", rowsperstrip=8),
    "lzw.tif": lambda path, array: tifffile.imwrite(path, array, compression="lzw", rowsperstrip=8),
    "jpeg.tif": lambda path, array: tifffile.imwrite(path, array, compression="jpeg", tile=(16, 16)),
    "imagej.tif": lambda path, array: tifffile.imwrite(path, array, imagej=True),
    "a.ome.tif": tifffile.imwrite,
}


def pixels_or_reason(path):
    """Return what is read from a file, and why it is not."""
    try:
        return read(path).data, ""
    except UnreadableImageError as error:
        return None, str(error)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kept", [1, 4, 9, 0.2, 0.5, 0.9, -1])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_cut_short_is_refused_or_read_right(name, kept, tmp_path, rng):
    array = rng.integers(0, 255, (40, 50), np.uint8)
    WRITERS[name](tmp_path / name, array)
    whole, content = read(tmp_path / name).data, (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(kept * len(content)) if 0 < kept < 1 else kept])
    pixels, reason = pixels_or_reason(tmp_path / name)
    assert np.array_equal(pixels, whole) or name in reason
    assert "\n" not in reason


@pytest.mark.parametrize("name", ["zlib.tif", "lzw.tif", "jpeg.tif", "a.png"])
def test_a_damaged_file_is_refused(name, tmp_path, rng):
    WRITERS[name](tmp_path / name, rng.integers(0, 255, (40, 50), np.uint8))
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImageError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "zlib.tif"])
@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_cannot_be_read_is_closed(name, tmp_path, rng):
    WRITERS[name](tmp_path / name, rng.integers(0, 255, (40, 50), np.uint8))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-500])
    pixels, _ = pixels_or_reason(tmp_path / name)
    gc.collect()  # tells of files that were left open
    assert pixels is None


def test_every_reader_is_for_a_suffix_in_lower_case():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in READERS)


@pytest.mark.parametrize("name", ["a.nii", "a.NII.gz", "a.dcm"])
def test_volumes_are_refused_as_such(name, tmp_path):
    (tmp_path / name).write_bytes(bytes(400))
    with pytest.raises(VolumeError, match="a format of volumes"):
        read(tmp_path / name)
