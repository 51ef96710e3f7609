from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
import tifffile

from promptless.errors import UnreadableImageError
from promptless.io.readers import read
from promptless.io.readers.lzw import sound


@pytest.mark.parametrize("n", [0, 1, 5, 300, 5_000, 200_000])
@pytest.mark.parametrize("values", [1, 2, 9, 256])
def test_what_an_encoder_writes_is_sound(n, values, rng):
    assert sound(imagecodecs.lzw_encode(rng.integers(0, values, n).astype(np.uint8).tobytes()))


def test_a_code_that_was_never_defined_is_not(rng):
    good = imagecodecs.lzw_encode(rng.integers(0, 256, 300).astype(np.uint8).tobytes())
    assert not sound(good[:1] + b"\x7f" + good[2:])
    assert not sound(bytes([0x80, 0x45, 0x20, 0x50, 0x38, 0x24, 0x14, 0]))  # crashed imagecodecs 2026.3.6


def test_a_tiff_with_such_a_code_is_refused(tmp_path, rng):
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 255, (16, 16), np.uint8), compression="lzw", tile=(16, 16))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        at = file.pages[0].dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[at : at + 8] = bytes([0x80, 0x45, 0x20, 0x50, 0x38, 0x24, 0x14, 0])
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(UnreadableImageError, match="damaged LZW data"):
        read(tmp_path / "a.tif")
