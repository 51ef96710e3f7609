from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from promptless.io.label_files import TiffPage, UnreadableLabelsError, read

COLOURS = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)


@pytest.fixture
def labels(rng):
    return rng.integers(0, 40_000, (70, 50)).astype(np.uint16)


def save(path, labels, **options):
    if path.suffix == ".png":
        PillowImage.fromarray(labels).save(path)
    elif path.suffix == ".npy":
        np.save(path, labels)
    else:
        tifffile.imwrite(path, labels, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.tif", "a.TIFF"])
def test_every_format_keeps_labels_and_their_type(name, labels, tmp_path):
    image = read(save(tmp_path / name, labels))
    assert (image.shape, image.labels.dtype, image.spacing) == ((70, 50), np.uint16, None)
    assert np.array_equal(image.labels[:], labels)


@pytest.mark.parametrize("options", [{"rowsperstrip": 16}, {"tile": (32, 16)}, {}])
@pytest.mark.parametrize("rows", [slice(0, 70), slice(10, 33), slice(69, 70), slice(60, 99), slice(5, 5)])
def test_a_compressed_tiff_is_decoded_by_rows(options, rows, labels, tmp_path):
    image = read(save(tmp_path / "a.tif", labels, compression="zlib", **options))
    assert isinstance(image.labels, TiffPage)
    assert np.array_equal(image.labels[rows], labels[rows])


@pytest.mark.parametrize("pages", [1, 3])
def test_damaged_lzw_labels_are_refused_before_the_decoder_sees_them(pages, rng, tmp_path):
    stack = rng.integers(0, 9, (pages, 16, 16)).astype(np.uint8)
    path = save(tmp_path / "a.tif", stack, photometric="minisblack", compression="lzw")
    with tifffile.TiffFile(path) as file:
        at = file.pages[-1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[at : at + 8] = bytes([0x80, 0x45, 0x20, 0x50, 0x38, 0x24, 0x14, 0])  # crashed imagecodecs 2026.3.6
    path.write_bytes(content)
    with pytest.raises(UnreadableLabelsError, match="damaged LZW data"):
        read(path)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd"])
def test_tiles_that_were_never_written_are_background(compression, labels, tmp_path):
    def tiles():
        yield labels[:32, :32]
        yield from [None] * 4
        yield labels[32:64, :32]

    options = {"shape": (64, 96), "dtype": labels.dtype, "tile": (32, 32), "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", tiles(), **options)
    expected = np.zeros((64, 96), np.uint16)
    expected[:32, :32], expected[32:, 64:] = labels[:32, :32], labels[32:64, :32]
    assert np.array_equal(read(tmp_path / "a.tif").labels[:], expected)


def test_rows_of_a_large_tiff_need_little_memory(tmp_path):
    large = np.zeros((4000, 4000), np.uint32)
    path = save(tmp_path / "a.tif", large, compression="zlib", rowsperstrip=64)
    tracemalloc.start()
    assert read(path).labels[100:200].shape == (100, 4000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # the whole of it has 64 MB


def test_a_volume_in_a_tiff_has_three_axes(rng, tmp_path):
    volume = rng.integers(0, 9, (4, 20, 30)).astype(np.uint8)
    image = read(save(tmp_path / "a.tif", volume, photometric="minisblack", metadata={"axes": "ZYX"}))
    assert np.array_equal(image.labels[:], volume)


def test_bool_and_whole_floats_become_integers(labels, tmp_path):
    assert read(save(tmp_path / "a.npy", labels > 5)).labels[:].tolist() == (labels > 5).astype(int).tolist()
    image = read(save(tmp_path / "b.tif", labels.astype(np.float32)))
    assert image.labels.dtype == np.int64
    assert np.array_equal(image.labels[:], labels)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", COLOURS, "3 channels; a label image has one number per pixel"),
        ("a.tif", COLOURS, "3 channels; a label image has one number per pixel"),
        ("a.tif", np.full((5, 6), 0.5, np.float32), "fractions; labels are integers"),
        ("a.npy", np.array(["a"]), "cannot be read|labels are integers"),
        ("a.npy", np.full((2, 2), 1j), "complex128; labels are integers"),
    ],
)
def test_what_is_no_label_image_is_refused(name, content, message, tmp_path):
    with pytest.raises(UnreadableLabelsError, match=message):
        read(save(tmp_path / name, content))


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "a.png").write_text("no")
    (tmp_path / "a.gif").write_text("no")
    (tmp_path / "a.npy").write_text("no")
    for name, message in (
        ("a.png", "a.png is not a PNG file"),
        ("a.gif", "no suffix of a label image"),
        ("a.npy", "a.npy cannot be read"),
        ("b.tif", "b.tif does not exist"),
    ):
        with pytest.raises(UnreadableLabelsError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_three_equal_channels_are_one(name, channels, rng, tmp_path):
    labels = rng.integers(0, 200, (7, 5)).astype(np.uint8)
    colours = np.stack([labels] * 3 + [np.full_like(labels, 255)] * (channels - 3), axis=-1)
    path = save(tmp_path / name, colours, **({"photometric": "rgb"} if name == "a.tif" else {}))
    assert np.array_equal(read(path).labels[slice(None)], labels)


def test_equal_channels_may_stand_first(rng, tmp_path):
    labels = rng.integers(0, 60_000, (7, 5)).astype(np.uint16)
    path = save(tmp_path / "a.tif", np.stack([labels] * 3), imagej=True, metadata={"axes": "CYX"})
    assert np.array_equal(read(path).labels[slice(None)], labels)


def test_bmp_is_read(labels, tmp_path):
    PillowImage.fromarray((labels % 200).astype(np.uint8)).save(tmp_path / "a.bmp")
    assert np.array_equal(read(tmp_path / "a.bmp").labels[:], labels % 200)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png", "a.tif"])
def test_what_changes_values_is_no_label_image(labels, name, tmp_path):
    pixels = (labels % 200).astype(np.uint8)
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, pixels, compression="jpeg")
    else:
        PillowImage.fromarray(pixels).save(tmp_path / name, format="WEBP" if name == "a.webp" else "JPEG")
    with pytest.raises(UnreadableLabelsError, match="changes values where it compresses"):
        read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_turned_to_array_order(suffix, rng, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    labels = rng.integers(0, 5, (4, 5, 6)).astype(np.int16)  # z, y, x
    volume = nibabel.Nifti1Image(labels.T, np.diag([0.5, 0.75, 3.0, 1.0]))
    nibabel.save(volume, tmp_path / f"a{suffix}")
    image = read(tmp_path / f"a{suffix}")
    assert np.array_equal(image.labels[:], labels)
    assert image.spacing == (3.0, 0.75, 0.5)


def test_nifti_without_nibabel_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImportError, match=r"pip install 'promptless\[volume\]'"):
        read(tmp_path / "a.nii.gz")
