from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from promptless.errors import UnreadableImageError
from promptless.io.readers import read
from promptless.io.readers.tiff import tiff


@pytest.fixture
def grey(rng):
    return rng.integers(0, 255, (24, 31), np.uint8)


@pytest.fixture
def stack(rng):
    """A stack (T, Z, C, Y, X) in which every plane differs."""
    return rng.integers(0, 60_000, (2, 3, 4, 24, 31), np.uint16)


@pytest.fixture
def colours(rng):
    return rng.integers(0, 60_000, (24, 31, 3), np.uint16)


def first(array):
    return np.moveaxis(array, -1, 0)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int32", "float16", "float32", "float64", ">u2", ">f4"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd", "packbits"])
def test_every_kind_of_number_is_read_as_it_is(grey, tmp_path, dtype, compression):
    values = (grey.astype(np.float64) / 2 - 60 * (np.dtype(dtype).kind != "u")).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, compression=compression, byteorder=">" if ">" in dtype else None)
    image = read(tmp_path / "a.tif")
    assert image.data.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(image.data, values[None])


def test_12_bits_and_1_bit_are_read(rng, tmp_path):
    deep = rng.integers(0, 4096, (24, 31)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "12.tif", deep, bitspersample=12)
    assert np.array_equal(read(tmp_path / "12.tif").data, deep[None])
    PillowImage.fromarray(deep > 2000).save(tmp_path / "1.tif", compression="group4")
    assert np.array_equal(read(tmp_path / "1.tif").data > 0, deep[None] > 2000)


@pytest.mark.parametrize(
    "options", [{"bigtiff": True}, {"tile": (16, 16)}, {"compression": "jpeg2000", "tile": (16, 16)}]
)
def test_large_tiled_and_jpeg_2000_files_are_read(grey, tmp_path, options):
    tifffile.imwrite(tmp_path / "a.tif", grey, **options)
    assert np.array_equal(read(tmp_path / "a.tif").data, grey[None])


def test_the_alpha_of_colours_and_of_grey_is_dropped(colours, tmp_path):
    rgba = np.concatenate([colours, colours[..., :1]], axis=-1)
    tifffile.imwrite(tmp_path / "rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read(tmp_path / "rgba.tif").data, first(colours))
    tifffile.imwrite(tmp_path / "planar.tif", first(rgba), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(tmp_path / "planar.tif").data, first(colours))
    grey_alpha = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "la.tif", colours[..., :2], **grey_alpha)
    assert np.array_equal(read(tmp_path / "la.tif").data, colours[None, ..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inks_become_colours(tmp_path, dtype):
    whole = np.iinfo(dtype).max
    inks = np.array([[[0, 0, 0, 0], [whole, 0, 0, 0], [0, whole, whole, 0], [0, 0, 0, whole]]], dtype)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    seen = np.moveaxis(read(tmp_path / "a.tif").data, 0, -1)[0]
    assert (seen // whole).tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]]


def test_inks_are_seen_as_pillow_sees_them(rng, tmp_path):
    inks = rng.integers(0, 256, (24, 31, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    expected = np.asarray(PillowImage.fromarray(inks, mode="CMYK").convert("RGB")).astype(int)
    assert np.abs(read(tmp_path / "a.tif").data - first(expected)).max() <= 1


@pytest.mark.parametrize("scale", [1, 257])
def test_a_palette_is_looked_up(grey, tmp_path, rng, scale):
    palette = rng.integers(0, 256, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="palette", colormap=palette * np.uint16(scale))
    assert np.array_equal(read(tmp_path / "a.tif").data, palette[:, grey])


def test_white_is_never_0(grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "a.tif").data, 255 - grey[None])
    tifffile.imwrite(tmp_path / "b.tif", grey > 100, photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "b.tif").data > 0, grey[None] <= 100)
    tifffile.imwrite(tmp_path / "c.tif", grey.astype(np.uint16) * 16, photometric="miniswhite", bitspersample=12)
    assert np.array_equal(read(tmp_path / "c.tif").data, 4095 - grey[None].astype(np.uint16) * 16)


def test_luminance_and_colour_differences_become_colours(tmp_path, rng):
    ycc = rng.integers(0, 256, (24, 31, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", ycc, photometric="ycbcr", subsampling=(1, 1), compression="zlib")
    expected = np.asarray(PillowImage.fromarray(ycc, mode="YCbCr").convert("RGB"))
    assert np.array_equal(read(tmp_path / "a.tif").data, first(expected))


def test_colours_that_no_rule_here_turns_into_rgb_are_refused(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([grey] * 3, axis=-1), photometric="cielab")
    with pytest.raises(UnreadableImageError, match="CIELAB"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("page", range(6))
def test_an_imagej_hyperstack_gives_the_page_and_channel_asked_for(stack, tmp_path, page):
    labels = [f"c:{c + 1}/4 z:1/3 - {name}" for _ in range(6) for c, name in enumerate(["DAPI", "GFP", "RFP", "Cy5"])]
    axes = {"axes": "TZCYX", "Labels": labels, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(4, 2), metadata=axes)
    image = read(tmp_path / "a.tif", page, "RFP")
    assert np.array_equal(image.data, stack.reshape(6, 4, 24, 31)[page, 2:3])
    assert image.spacing == pytest.approx((0.5, 0.25))
    assert image.channel_names == ("RFP",)
    assert (image.origin.page, image.origin.channel) == (page, 2)
    assert image.origin.axes == "T=2, Z=3, C=4, Y=24, X=31"


def test_an_imagej_stack_whose_pages_have_no_directory_is_read(stack, tmp_path):
    """Above 4 GB ImageJ writes one directory, and the other planes after the first."""
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TZCYX"})
    content = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        at, order = file.pages[0].offset, file.byteorder
        after = at + 2 + 12 * int.from_bytes(content[at : at + 2], "big" if order == ">" else "little")
    (tmp_path / "a.tif").write_bytes(content[:after] + bytes(4) + content[after + 4 :])
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 1
    assert np.array_equal(read(tmp_path / "a.tif", 4, 3).data, stack[1, 1, 3:])


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "CTZYX"])
def test_an_ome_tiff_gives_the_page_and_channel_asked_for_in_any_order(stack, tmp_path, axes):
    order = [("TZC").index(axis) for axis in axes[:3]]
    names = ["DAPI", "GFP", "RFP", "Cy5"]
    metadata = {"axes": axes, "Channel": {"Name": names}, "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm"}
    metadata |= {"PhysicalSizeY": 0.0005, "PhysicalSizeYUnit": "mm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack.transpose(*order, 3, 4), metadata=metadata, compression="zlib")
    image = read(tmp_path / "a.ome.tif", 5, "gfp")
    assert np.array_equal(image.data, stack[1, 2, 1:2])
    assert image.spacing == pytest.approx((0.5, 0.25))
    assert image.origin.channel_names == tuple(names)


def test_of_a_stack_only_the_page_asked_for_is_decoded(stack, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "TZCYX"}, compression="zlib")
    decoded = []
    for kind in (tifffile.TiffPage, tifffile.TiffFrame):
        monkeypatch.setattr(kind, "asarray", spying(kind.asarray, decoded))
    with pytest.raises(UnreadableImageError):
        read(tmp_path / "a.ome.tif")
    assert decoded == []
    read(tmp_path / "a.ome.tif", 3, 1)
    assert set(decoded) == {13}


def spying(asarray, decoded):
    def spied(page, *arguments, **options):
        decoded.append(page.index)
        return asarray(page, *arguments, **options)

    return spied


def test_colours_in_a_stack_are_pages_of_colours(colours, tmp_path):
    pages = np.stack([colours, colours[::-1]])
    tifffile.imwrite(tmp_path / "a.ome.tif", pages, photometric="rgb", metadata={"axes": "ZYXS"})
    assert np.array_equal(read(tmp_path / "a.ome.tif", 1).data, first(colours[::-1]))
    assert np.array_equal(read(tmp_path / "a.ome.tif", 1, "green").data, colours[None, ::-1, :, 1])


def test_pages_of_different_sizes_are_counted_as_they_lie_in_the_file(grey, colours, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in (grey, colours, grey[:10], grey[::-1]):
            file.write(page, metadata=None, photometric="rgb" if page.ndim == 3 else "minisblack")
    with pytest.raises(UnreadableImageError, match=r"holds 4 images .* --page 0 to 3"):
        read(tmp_path / "a.tif")
    assert np.array_equal(read(tmp_path / "a.tif", 1).data, first(colours))
    assert read(tmp_path / "a.tif", 2).shape == (10, 31)
    assert np.array_equal(read(tmp_path / "a.tif", 3).data, grey[None, ::-1])


def test_smaller_copies_are_not_counted(grey, tmp_path):
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as file:
        file.write(grey, metadata=None)
        file.write(grey[::2, ::2], metadata=None, subfiletype=1)
    with tifffile.TiffWriter(tmp_path / "pyramid.ome.tif") as file:
        file.write(grey, subifds=1, metadata={"axes": "YX"})
        file.write(grey[::2, ::2], subfiletype=1)
    for path in tmp_path.iterdir():
        assert np.array_equal(read(path).data, grey[None])


def test_axes_of_length_one_do_not_matter(grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", grey[None, None, None], imagej=True, metadata={"axes": "TZCYX"})
    tifffile.imwrite(tmp_path / "b.ome.tif", grey[None, None, None], metadata={"axes": "TZCYX"})
    for path in tmp_path.iterdir():
        assert np.array_equal(read(path).data, grey[None])
        assert np.array_equal(read(path, 0, 0).data, grey[None])


def test_a_page_in_a_file_that_is_not_there_is_refused(grey, tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", np.stack([grey, grey]), metadata={"axes": "ZYX"})
    content = (tmp_path / "a.ome.tif").read_bytes()
    assert b'PlaneCount="2"' in content
    (tmp_path / "a.ome.tif").write_bytes(content.replace(b'SizeZ="2"', b'SizeZ="9"'))
    with pytest.raises(UnreadableImageError, match=r"a\.ome\.tif"):
        read(tmp_path / "a.ome.tif", 7)


def test_labels_of_slices_are_no_channel_names(grey, tmp_path):
    stack = np.stack([grey, grey])
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZYX", "Labels": ["top", "bottom"]})
    assert read(tmp_path / "a.tif", page=1).origin.channel_names == ()
    tifffile.imwrite(tmp_path / "b.tif", stack, imagej=True, metadata={"axes": "CYX", "Labels": ["DAPI", "FITC"]})
    assert read(tmp_path / "b.tif", channel="FITC").origin.channel_names == ("DAPI", "FITC")


@pytest.mark.parametrize(("rows", "at_once"), [(1000, 1), (500, 2), (10, 8)])
def test_no_more_strips_are_counted_than_there_are(tmp_path, rows, at_once):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((1000, 1000), np.uint8), compression="zlib", rowsperstrip=rows)
    with tiff(path) as opened:
        assert opened.scenes[0].decoding == 2 * 10**6 + at_once * rows * 1000
