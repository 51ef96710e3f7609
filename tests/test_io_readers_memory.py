from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile

from promptless.errors import UnreadableImageError
from promptless.io.readers import memory, read


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(path, side):
    """Write a small PNG of `side` times `side` black pixels in colours."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((3 * side + 1) * min(side, 400)), 9)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def tiff_bomb(path, side):
    """Write a TIFF of one tile that says it is `side` times `side` pixels large."""
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), tile=(64, 64), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[name].overwrite(side)


def tile_bomb(path, side):
    """Write a small TIFF whose tile is `side` times `side` pixels large."""
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), tile=(64, 64), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(side)


def npy_bomb(path, side):
    """Write a `.npy` of a sparse file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (side, side)})
    with path.open("wb") as file:
        file.write(header.getvalue())
        file.truncate(len(header.getvalue()) + side * side)


@pytest.mark.parametrize(
    ("name", "write", "side"),
    [
        ("a.png", png_bomb, 13_300),
        ("a.png", png_bomb, 60_000),
        ("a.tif", tiff_bomb, 20_000),
        ("a.tif", tiff_bomb, 60_000),
        ("a.tif", tile_bomb, 50_000),
    ],
)
def test_a_small_file_that_becomes_enormous_is_refused_before_it_is_decoded(name, write, side, tmp_path):
    write(tmp_path / name, side)
    assert (tmp_path / name).stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableImageError, match=name):
        read(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_the_refusal_has_the_need_the_limit_and_the_way_out(tmp_path):
    tiff_bomb(tmp_path / "a.tif", 30_000)
    with pytest.raises(UnreadableImageError, match=r"30000 x 30000 pixels of uint8.* GB, above the 2\.0 GB.*cut it"):
        read(tmp_path / "a.tif")


def test_a_large_file_may_take_more_and_so_may_whom_the_variable_allows(tmp_path, monkeypatch):
    npy_bomb(tmp_path / "a.npy", 15_000)
    assert memory.allowed((tmp_path / "a.npy").stat().st_size) == 40 * (tmp_path / "a.npy").stat().st_size
    (tmp_path / "b.png").write_bytes(b"x")
    assert memory.allowed((tmp_path / "b.png").stat().st_size) == 2 * 2**30
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "0.5")
    assert memory.allowed(10) == memory.allowed(10**9) == 2**29
    monkeypatch.setenv("PROMPTLESS_MAX_MEMORY", "much")
    with pytest.raises(ValueError, match="PROMPTLESS_MAX_MEMORY is 'much'"):
        memory.allowed((tmp_path / "b.png").stat().st_size)


def test_reading_takes_no_more_than_was_foreseen(tmp_path):
    """In a process of its own, an RGB picture as large as memory for it is foreseen."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from promptless.io.readers import memory, read
path = Path(sys.argv[1])
Image.fromarray(np.zeros((6000, 6000, 3), np.uint8)).save(path, compress_level=1)
""".strip()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True)
    code = """
import resource, sys
from pathlib import Path
from promptless.io.readers import read
import numpy, scipy.ndimage, onnxruntime
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read(Path(sys.argv[1]), None, "green")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
""".strip()
    answer = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True, capture_output=True)
    plane = (6000, 6000)
    foreseen = memory.needed(4 * 36_000_000, 3, plane, np.dtype(np.uint8)) - memory.FIXED
    assert int(answer.stdout) * 1024 < 1.1 * foreseen


def test_tiles_that_are_missing_are_not_taken_for_black(tmp_path):
    tiff_bomb(tmp_path / "a.tif", 200)
    with pytest.raises(UnreadableImageError, match="lacks 15 of its 16 tiles or strips"):
        read(tmp_path / "a.tif")
