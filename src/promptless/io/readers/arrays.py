"""NumPy's `.npy`, mapped and not loaded; pickles are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.errors import UnreadableImageError
from promptless.image import MAX_COLOURS
from promptless.io.readers.scene import Index, Scene

MAGIC = b"\x93NUMPY"


@contextmanager
def npy(path: Path) -> Iterator[Npy]:
    """Open a `.npy` file."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UnreadableImageError("is not a NPY file, whatever its name says")
    array = np.lib.format.open_memmap(path, mode="r")
    transparent = array.ndim > 2 and array.shape[-1] == 4 and array.dtype == np.uint8
    yield Npy(array[..., :3] if transparent else array)


@dataclass(frozen=True)
class Npy:
    """An array in a file."""

    array: NDArray[np.generic]

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """The array, its axes told from its shape."""
        return (Scene(axes_of(self.array), self.array.shape, self.array.dtype),)

    def pixels(self, number: int, index: Index) -> NDArray[np.generic]:
        """Copy from the file what `index` selects."""
        return np.array(self.array[index])


def axes_of(array: NDArray[np.generic]) -> str:
    """Return the axes that the shape of `array` tells: a plane (y, x) or (y, x, c), alone or in a stack."""
    shape = array.shape
    if len(shape) < 2 or not array.size:
        raise UnreadableImageError(f"holds an array of shape {shape}, which is no image; save (y, x) or (y, x, colour)")
    if len(shape) == 2 or shape[-1] > MAX_COLOURS:
        return "Q" * (len(shape) - 2) + "YX"
    if shape[-3] <= MAX_COLOURS:
        raise UnreadableImageError(
            f"holds an array of shape {shape}, which may be {shape[-3]} planes of {shape[-2]} x {shape[-1]} or one of "
            f"{shape[-3]} x {shape[-2]} in {shape[-1]} channels; save the plane (y, x) that is meant"
        )
    return "Q" * (len(shape) - 3) + "YX" + ("S" if shape[-1] == 3 else "C")
