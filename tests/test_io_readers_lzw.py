from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile

from promptless.errors import UnreadableImageError
from promptless.io.readers import read
from promptless.io.readers.lzw import check_all, sound


@pytest.mark.parametrize("n", [0, 1, 5, 300, 5_000, 200_000])
@pytest.mark.parametrize("values", [1, 2, 9, 256])
def test_what_an_encoder_writes_is_sound(n, values, rng):
    assert sound(imagecodecs.lzw_encode(rng.integers(0, values, n).astype(np.uint8).tobytes()))


def test_a_code_that_was_never_defined_is_not(rng):
    good = imagecodecs.lzw_encode(rng.integers(0, 256, 300).astype(np.uint8).tobytes())
    assert not sound(good[:1] + b"\x7f" + good[2:])
    assert not sound(bytes([0x80, 0x45, 0x20, 0x50, 0x38, 0x24, 0x14, 0]))  # crashed imagecodecs 2026.3.6


def damage(path):
    """Put a code that was never defined into the last page."""
    with tifffile.TiffFile(path) as file:
        at = file.pages[-1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[at : at + 8] = bytes([0x80, 0x45, 0x20, 0x50, 0x38, 0x24, 0x14, 0])
    path.write_bytes(content)


def test_every_page_of_a_series_is_looked_at(tmp_path, rng):
    stack = rng.integers(0, 255, (3, 16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, compression="lzw", photometric="minisblack")
    damage(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file, pytest.raises(UnreadableImageError, match="damaged LZW data"):
        check_all(file.series[0])


def test_each_page_is_looked_for_in_the_file_it_lies_in(tmp_path, rng):
    ome = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
    ome += 'DimensionOrder="XYZCT" Type="uint8" SizeX="64" SizeY="64" SizeZ="2" SizeC="1" SizeT="1">'
    for z, name in enumerate(("a.ome.tif", "b.ome.tif")):
        ome += f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
    ome += "</Pixels></Image></OME>"
    planes = rng.integers(0, 255, (2, 64, 64), np.uint8)
    for z, name in enumerate(("a.ome.tif", "b.ome.tif")):
        text = ome.replace("<OME ", f'<OME UUID="urn:uuid:{z}" ') + z * 200 * " "  # the second lies elsewhere
        tifffile.imwrite(tmp_path / name, planes[z], compression="lzw", description=text, metadata=None)
    assert np.array_equal(read(tmp_path / "a.ome.tif", page=1).data[0], planes[1])


def test_a_tiff_with_such_a_code_is_refused(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 255, (16, 16), np.uint8), compression="lzw", tile=(16, 16))
    damage(tmp_path / "a.tif")
    with pytest.raises(UnreadableImageError, match="damaged LZW data"):
        read(tmp_path / "a.tif")
