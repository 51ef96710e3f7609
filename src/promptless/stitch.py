"""From tiles to the whole: an object belongs to the tile whose core holds its reference point."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from promptless.image import Shape
from promptless.masks import Masks
from promptless.tiles import Tile


def owned(masks: Masks, tile: Tile, shape: Shape) -> Masks:
    """Return the objects that `tile` answers for, in coordinates of the whole image of `shape`.

    `masks` are in coordinates of the tile. `tile_border` is set where an object reaches an edge of the
    tile that is not an edge of the image: it may go on beyond what the model saw.
    """
    moved = [mask.moved(tile.offset) for mask in masks]
    keep = [i for i, mask in enumerate(moved) if tile.owns(mask.reference)]
    chosen = masks.take(keep)
    return replace(
        chosen,
        masks=tuple(moved[i] for i in keep),
        tile_border=np.array([cut(moved[i].box, tile, shape) for i in keep], np.bool_),
    )


def cut(box: np.ndarray, tile: Tile, shape: Shape) -> bool:
    """Return whether a bounding box (ndim, 2) touches an inner edge of the tile's outer region."""
    return any(
        (start <= outer.start and outer.start > 0) or (stop >= outer.stop and outer.stop < n)
        for (start, stop), outer, n in zip(box, tile.outer, shape, strict=True)
    )
