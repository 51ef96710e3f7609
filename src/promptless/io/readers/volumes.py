"""NIfTI and DICOM: known by their suffix, and refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptless.errors import VolumeError
from promptless.io.readers.scene import Source


@contextmanager
def volume(kind: str, _: Path) -> Iterator[Source]:
    """Refuse a volume."""
    raise VolumeError(f"is {kind}, a format of volumes, and only planes are read")
    yield
