"""LZW streams, judged before they are decoded: imagecodecs crashes the process on codes that were never defined."""

from __future__ import annotations

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION

from promptless.errors import UnreadableImageError

CLEAR, END, FIRST = 256, 257, 258
LONGEST = 4096 - FIRST + 2
"""More codes than this cannot follow a clear code: the table would be full."""


def code_widths() -> NDArray[np.int64]:
    """Return the bits of each code after a clear code: 9 at first, one more whenever the table outgrows them."""
    table = FIRST + np.arange(LONGEST) - 1  # entries when code i is read; the first code adds none
    return np.asarray(np.clip(np.ceil(np.log2(np.maximum(table, FIRST) + 2)).astype(np.int64), 9, 12))


WIDTHS = code_widths()
STARTS = np.cumsum(WIDTHS) - WIDTHS


def check_all(series: tifffile.TiffPageSeries) -> None:
    """Refuse a series of which a page has a stream that is not sound LZW."""
    for page in series.pages:
        if page is not None:
            check(page)


def check(page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    """Refuse a page with a stream that is not sound LZW."""
    if page.keyframe.compression != COMPRESSION.LZW or page.keyframe.fillorder != 1:
        return
    file = page.parent.filehandle
    file.open()  # a series may lie in several files, of which tifffile closes all but the first
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        file.seek(offset)
        if count and not sound(file.read(count)):
            raise UnreadableImageError("holds damaged LZW data")


def sound(data: bytes) -> bool:
    """Return whether every code of a stream is defined where it is used."""
    padded = np.frombuffer(data + bytes(4), np.uint8).astype(np.uint32)
    at, end = 0, 8 * len(data)
    while at + 9 <= end:
        codes = codes_from(padded, at, end)
        stops = np.flatnonzero((codes == CLEAR) | (codes == END))
        used = codes[: stops[0]] if stops.size else codes
        if (used >= FIRST + np.arange(len(used))).any() or (used[:1] >= CLEAR).any():
            return False
        if not stops.size:
            return len(codes) < LONGEST
        if codes[stops[0]] == END:
            return True
        at += int(STARTS[stops[0]] + WIDTHS[stops[0]])
    return True


def codes_from(padded: NDArray[np.uint32], at: int, end: int) -> NDArray[np.int64]:
    """Return the codes from bit `at` on, as if none were a clear code."""
    starts = at + STARTS[at + STARTS + WIDTHS <= end]
    byte, bit = starts // 8, starts % 8
    window = (padded[byte] << 16) | (padded[byte + 1] << 8) | padded[byte + 2]
    widths = WIDTHS[: len(starts)]
    return np.asarray((window >> (24 - bit - widths)) & ((1 << widths) - 1), np.int64)
