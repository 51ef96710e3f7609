from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
import zarr

from promptless.errors import UnreadableImageError
from promptless.io import lazy, readers
from promptless.io.readers.choice import STACK

WHOLE = slice(None)


@pytest.fixture
def colours(rng):
    return rng.integers(0, 255, (150, 170, 3), np.uint8)


def everything(path, **options):
    """Return the largest level of an image, read in uneven pieces."""
    with lazy.opened(path, **options) as pyramid:
        pixels = pyramid.levels[0].pixels
        _, height, width = pixels.shape
        rows = [
            np.concatenate([pixels[:, y : y + 37, x : x + 61] for x in range(0, width, 61)], axis=2)
            for y in range(0, height, 37)
        ]
        return np.concatenate(rows, axis=1)


KINDS = {
    "tiles": {"tile": (32, 48), "compression": "zlib"},
    "jpeg": {"tile": (32, 32), "compression": "jpeg"},
    "lzw": {"tile": (32, 32), "compression": "lzw"},
    "strips": {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    "plain strips": {"rowsperstrip": 7},
    "one strip": {"rowsperstrip": 150},
    "plain tiles": {"tile": (32, 32)},
    "planar": {"tile": (32, 32), "planarconfig": "separate"},
    "planar strips": {"planarconfig": "separate"},
    "big endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_a_tiff_are_those_of_the_whole(kind, colours, tmp_path):
    pixels = np.moveaxis(colours, -1, 0) if "planar" in kind else colours
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **KINDS[kind])
    assert np.array_equal(everything(tmp_path / "a.tif"), readers.read(tmp_path / "a.tif").data)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int16])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "tile": (64, 64)}])
def test_numbers_of_any_kind_and_chosen_pages_are_read(dtype, options, tmp_path, rng):
    pixels = rng.integers(0, 2000, (2, 3, 90, 80)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": "ZCYX"}, **options)
    chosen = {"page": 1, "channel": 2}
    assert np.array_equal(everything(tmp_path / "a.ome.tif", **chosen), pixels[1, 2][None])
    assert np.array_equal(everything(tmp_path / "a.ome.tif", **chosen), readers.read(tmp_path / "a.ome.tif", 1, 2).data)
    assert np.array_equal(everything(tmp_path / "a.ome.tif", page=0, channel="rgb"), pixels[0])


def test_an_image_whose_zero_is_white_is_inverted(tmp_path, rng):
    pixels = rng.integers(0, 255, (90, 80), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite", tile=(32, 32))
    assert np.array_equal(everything(tmp_path / "a.tif")[0], 255 - pixels)


def test_the_levels_of_an_ome_tiff_have_their_pixel_sizes(tmp_path, rng):
    pixels = rng.integers(0, 255, (200, 300), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        about = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        file.write(pixels, subifds=2, tile=(64, 64), metadata=about)
        for step in (2, 4):
            file.write(pixels[::step, ::step], subfiletype=1, tile=(64, 64))
    with lazy.opened(tmp_path / "a.ome.tif") as pyramid:
        assert [level.spacing for level in pyramid.levels] == [(0.25, 0.25), (0.5, 0.5), (1.0, 1.0)]
        assert [level.downsample for level in pyramid.levels] == [(1, 1), (2, 2), (4, 4)]
        assert np.array_equal(pyramid.levels[2].pixels[:, 3:20, 5:60][0], pixels[::4, ::4][3:20, 5:60])


def test_a_slide_is_read_at_all_its_levels(tmp_path, rng):
    pixels = rng.integers(0, 255, (512, 768, 3), np.uint8)
    told = "Aperio Image Library v1.0 \r\n512x768 (256x256) |AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(tmp_path / "a.svs") as file:
        options = {"photometric": "rgb", "tile": (256, 256), "metadata": None, "description": told}
        file.write(pixels, **options)
        file.write(pixels[::8, ::8], **{**options, "tile": None})  # the thumbnail
        file.write(pixels[::4, ::4], **options)
    with lazy.opened(tmp_path / "a.svs") as pyramid:
        assert [level.spacing for level in pyramid.levels] == [(0.5, 0.5), (2.0, 2.0)]
        assert np.array_equal(
            pyramid.levels[0].pixels[:, 200:300, 100:400], np.moveaxis(pixels, -1, 0)[:, 200:300, 100:400]
        )
        assert np.array_equal(pyramid.levels[1].pixels[:, :, :], np.moveaxis(pixels[::4, ::4], -1, 0))


def test_a_slide_as_scanners_write_it_is_what_tifffile_reads(tmp_path, rng):
    pixels = np.kron(rng.integers(0, 255, (33, 41, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
    told = "Aperio Image Library v12.0 \r\n656x528 [0,0 656x528] (240x240) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
    with tifffile.TiffWriter(tmp_path / "a.svs", bigtiff=True) as file:
        options = {"photometric": "rgb", "metadata": None, "compression": "jpeg", "compressionargs": {"level": 80}}
        tiles = {"tile": (240, 240)}
        file.write(pixels, description=told, **tiles, **options)
        file.write(pixels[::8, ::8], description=told, **options)
        file.write(pixels[::4, ::4], description=told, **tiles, **options)
        for name in ("label", "macro"):
            file.write(pixels[:64, :64], description=f"Aperio Image Library v12.0 \r\n{name} 64x64", **options)
    with tifffile.TiffFile(tmp_path / "a.svs") as file:
        decoded = [np.moveaxis(file.pages[number].asarray(), -1, 0) for number in (0, 2)]
    with lazy.opened(tmp_path / "a.svs") as pyramid:
        assert [level.shape for level in pyramid.levels] == [(528, 656), (132, 164)]
        assert pyramid.levels[0].spacing == pytest.approx((0.499, 0.499))
        assert np.array_equal(everything(tmp_path / "a.svs"), decoded[0])
        assert np.array_equal(pyramid.levels[1].pixels[:, 5:132, 100:164], decoded[1][:, 5:132, 100:164])


def ome_zarr(path, pixels, axes, version="0.5", *, unit="micrometer", scale=0.25, levels=2, **about):
    """Write pixels as OME-Zarr by hand."""
    form = {"0.5": 3, "0.4": 2}[version]
    datasets = []
    group = zarr.open_group(path, mode="w", zarr_format=form)
    for level in range(levels):
        step = 2**level
        part = pixels[tuple(slice(None, None, step) if axis in "yx" else WHOLE for axis in axes)]
        group.create_array(str(level), data=part, chunks=tuple(min(50, n) for n in part.shape))
        sizes = [scale * step if axis in "yx" else 1.0 for axis in axes]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": sizes}]})
    kinds = {"c": "channel", "t": "time"}
    named = [{"name": a, "type": kinds.get(a, "space")} | ({"unit": unit} if a in "yx" else {}) for a in axes]
    content = {"multiscales": [{"version": version, "axes": named, "datasets": datasets}], **about}
    group.attrs.update({"ome": {"version": version, **content}} if form == 3 else content)
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_of_both_versions_is_read(version, tmp_path, rng):
    pixels = rng.integers(0, 255, (3, 120, 90), np.uint8)
    channels = [{"label": name, "color": "FFFFFF"} for name in ("DAPI", "GFP", "Cy5")]
    path = ome_zarr(tmp_path / "a.ome.zarr", pixels, "cyx", version, omero={"channels": channels})
    assert np.array_equal(everything(path, channel="GFP"), pixels[1:2])
    with lazy.opened(path, channel="gfp") as pyramid:
        assert [level.spacing for level in pyramid.levels] == [(0.25, 0.25), (0.5, 0.5)]
        assert pyramid.channel_names == ("GFP",)
    with pytest.raises(UnreadableImageError, match=r"3 channels.*0 DAPI, 1 GFP, 2 Cy5"):
        everything(path)


def test_three_channels_shown_in_red_green_and_blue_are_colours(tmp_path, rng):
    pixels = rng.integers(0, 255, (3, 60, 90), np.uint8)
    channels = [{"color": colour} for colour in ("FF0000", "00FF00", "0000FF")]
    path = ome_zarr(tmp_path / "a.ome.zarr", pixels, "cyx", omero={"channels": channels})
    assert np.array_equal(everything(path), pixels)


@pytest.mark.parametrize("axes", ["tczyx", "xyc", "zyx", "cxy"])
def test_axes_may_stand_in_any_order(axes, tmp_path, rng):
    lengths = {"t": 1, "c": 1, "z": 3 if "z" in axes else 1, "y": 60, "x": 40}
    pixels = rng.integers(0, 255, [lengths[axis] for axis in axes], np.uint8)
    path = ome_zarr(tmp_path / "a.ome.zarr", pixels, axes, levels=1)
    options = {"page": 2} if "z" in axes else {}
    plane = pixels[tuple(2 if axis == "z" else WHOLE if axis in "yx" else 0 for axis in axes)]
    assert np.array_equal(everything(path, **options)[0], plane.T if axes.index("x") < axes.index("y") else plane)


def test_a_pixel_size_without_a_unit_is_not_known(tmp_path):
    path = ome_zarr(tmp_path / "a.ome.zarr", np.zeros((60, 40), np.uint8), "yx", unit="")
    with lazy.opened(path) as pyramid:
        assert [level.spacing for level in pyramid.levels] == [None, None]


def test_a_plain_zarr_array_is_read(tmp_path, rng):
    pixels = rng.integers(0, 255, (60, 70, 3), np.uint8)
    zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(32, 32, 3))
    assert np.array_equal(everything(tmp_path / "a.zarr"), np.moveaxis(pixels, -1, 0))


def test_pictures_are_read_whole(tmp_path, colours):
    from PIL import Image

    Image.fromarray(colours).save(tmp_path / "a.png")
    assert np.array_equal(everything(tmp_path / "a.png"), np.moveaxis(colours, -1, 0))


def test_what_is_no_image_is_refused_with_the_reason(tmp_path, rng):
    with pytest.raises(UnreadableImageError, match="does not exist"):
        everything(tmp_path / "nothing.tif")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnreadableImageError, match="no zarr array or group"):
        everything(tmp_path / "folder")
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    group.create_array("raw", data=np.zeros((9, 9), np.uint8))
    with pytest.raises(UnreadableImageError, match=r"without multiscales.*it holds raw"):
        everything(tmp_path / "group.zarr")
    path = ome_zarr(tmp_path / "half.zarr", np.zeros((60, 40), np.uint8), "yx")
    (path / "1" / "zarr.json").unlink()
    with pytest.raises(UnreadableImageError, match="names the level '1', which is not there"):
        everything(path)
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(UnreadableImageError, match="is not a TIF image"):
        everything(tmp_path / "text.tif")
    (tmp_path / "text.svs").write_text("no image")
    with pytest.raises(UnreadableImageError, match="no slide"):
        everything(tmp_path / "text.svs")


def test_damaged_tiles_fail_alone(tmp_path, rng):
    pixels = rng.integers(0, 255, (64, 64), np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[0].dataoffsets[3], file.pages[0].databytecounts[3]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    with lazy.opened(path) as pyramid:
        assert np.array_equal(pyramid.levels[0].pixels[:, :32, :][0], pixels[:32])
        with pytest.raises(Exception, match=r"(?i)zlib|deflate|decompress"):
            pyramid.levels[0].pixels[:, 32:, 32:]


def test_a_damaged_chunk_fails_and_a_missing_one_is_told(tmp_path, rng):
    pixels = rng.integers(1, 255, (100, 100), np.uint8)
    path = ome_zarr(tmp_path / "a.ome.zarr", pixels, "yx", levels=1)
    (path / "0" / "c" / "1" / "1").write_bytes(b"nonsense")
    (path / "0" / "c" / "0" / "1").unlink()
    with lazy.opened(path) as pyramid:
        plane = pyramid.levels[0].pixels
        assert pyramid.origin.notes == ("1 of 4 chunks are not stored, and read as 0",)
        assert np.array_equal(plane[:, :50, :50][0], pixels[:50, :50])
        assert not plane[:, :50, 50:].any()
        with pytest.raises(Exception, match=r"."):
            plane[:, 50:, 50:]


def test_where_the_bounds_of_a_slide_begin_is_told(rng):
    from promptless.io.lazy.slides import noting, pyramid

    slide = pyramid([rng.integers(0, 255, (40, 50, 3), np.uint8)], None, None, None)
    assert noting(slide, (None, None)) == noting(slide, ("0", "0")) == slide
    assert "begin at y 30, x 7" in noting(slide, ("30", "7")).origin.notes[-1]


@pytest.mark.parametrize(
    "options", [{"tile": (32, 32)}, {"tile": (32, 32), "compression": "zlib"}], ids=["plain", "zlib"]
)
def test_two_threads_read_what_one_reads(options, tmp_path, rng, monkeypatch):
    stack = rng.integers(0, 255, (6, 96, 96), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, ome=True, metadata={"axes": "ZYX"}, **options)
    seek = tifffile.FileHandle.seek

    def hesitant(self, *args):
        """Seek, and leave the others time to seek elsewhere."""
        found = seek(self, *args)
        time.sleep(0.0005)
        return found

    monkeypatch.setattr(tifffile.FileHandle, "seek", hesitant)

    def looked_at(seed):
        """Return whether a random region of a random plane is what it should be."""
        z, y, x = np.random.default_rng(seed).integers((6, 60, 60))
        with_plane = pyramid.plane(int(z)).levels[0].pixels
        return np.array_equal(with_plane[:, y : y + 36, x : x + 36][0], stack[z, y : y + 36, x : x + 36])

    with lazy.opened(tmp_path / "a.tif", page=STACK) as pyramid, ThreadPoolExecutor(2) as pool:
        assert all(pool.map(looked_at, range(150)))
