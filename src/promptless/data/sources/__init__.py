"""One file per data set; each finds what was published, as a `Source`."""

from collections.abc import Callable

from promptless.data.source import Source
from promptless.data.sources import dsb2018, folder, glas, monuseg, pannuke

SOURCES: dict[str, Callable[..., Source]] = {
    "dsb2018": dsb2018.read,
    "monuseg": monuseg.read,
    "pannuke": pannuke.read,
    "glas": glas.read,
    "folder": folder.read,
}
