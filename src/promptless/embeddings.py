"""Image embeddings kept in a folder beside the result, so that an edited prompt need not wait for the encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptless.io.atomic import replacing
from promptless.tiles import Tile

Array = NDArray[np.float32]
CLASSES = " classes"
"""What is added to an embedding's key for its class maps."""


class Embeddings:
    """The embeddings of an image's tiles in `folder`, a file for each.

    A file is named after all that decides what is in it, so that one of another image, model or tile is never
    taken for it. They are large: 512 bytes for every 16 pixels with the model that ships. A model that tells classes
    has its class maps in a second file (4 bytes per pixel for the background and for each class).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, key: str, tile: Tile) -> Array | None:
        """Return the embedding of `tile`, mapped from the file so that only what is used is read; None without one."""
        return mapped(self.path(key, tile))

    def load_classes(self, key: str, tile: Tile) -> Array | None:
        """Return the class maps of `tile` likewise."""
        return mapped(self.path(key + CLASSES, tile))

    def save(self, key: str, tile: Tile, features: Array) -> None:
        """Keep the embedding of `tile`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.path(key, tile)) as temporary:
            np.save(temporary, features)

    def save_classes(self, key: str, tile: Tile, maps: Array) -> None:
        """Keep the class maps of `tile`, where there are any."""
        if len(maps):
            self.save(key + CLASSES, tile, maps)

    def keep_only(self, key: str, tiles: Iterable[Tile]) -> None:
        """Delete the embeddings of all but these tiles: of another model, image, zoom or size of tiles."""
        wanted = {self.path(name, tile) for tile in tiles for name in (key, key + CLASSES)}
        for path in self.folder.glob("*.npy"):
            if path not in wanted:
                path.unlink(missing_ok=True)

    def path(self, key: str, tile: Tile) -> Path:
        """Return where the embedding of `tile` is kept; `key` stands for the image and how the model looks at it."""
        text = f"{key} {[(s.start, s.stop) for s in tile.outer]}"
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npy"


def mapped(path: Path) -> Array | None:
    """Return the array in a file, mapped from it; None where it is not there."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path} is damaged; delete it, it is made again") from error
