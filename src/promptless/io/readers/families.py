"""Which files are images, by their suffix, and what opens them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from promptless.io.readers.arrays import npy
from promptless.io.readers.pictures import picture
from promptless.io.readers.scene import Source
from promptless.io.readers.tiff import tiff
from promptless.io.readers.volumes import volume

Opener = Callable[[Path], AbstractContextManager[Source]]

READERS: dict[str, Opener] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".webp"), picture),
    **dict.fromkeys((".tif", ".tiff"), tiff),
    ".npy": npy,
    **dict.fromkeys((".nii", ".nii.gz"), partial(volume, "NIfTI")),
    ".dcm": partial(volume, "DICOM"),
}


def suffix_of(path: Path) -> str | None:
    """Return the suffix, in lower case, by which `path` is opened, None where it has none of them."""
    return next((suffix for suffix in READERS if path.name.lower().endswith(suffix)), None)
