from __future__ import annotations

import numpy as np

from made_up import masks_of, rectangle
from promptless.stitch import cut, owned
from promptless.tiles import Tile, tiles


def test_each_object_belongs_to_one_tile():
    shape, whole = (60, 60), rectangle((26, 34), (27, 33))
    owners = []
    for tile in tiles(shape, (20, 20), (10, 10)):
        seen = rectangle(*((a - o, b - o) for (a, b), o in zip(whole.box, tile.offset, strict=True))).clipped(
            tile.shape
        )
        owners += [m.box.tolist() for m in owned(masks_of([seen]), tile, shape)] if seen.area == whole.area else []
    assert owners == [whole.box.tolist()]


def test_an_object_in_the_halo_is_left_to_the_neighbour():
    tile = Tile((slice(0, 20), slice(0, 20)), (slice(0, 30), slice(0, 30)))
    kept = owned(masks_of([rectangle((2, 6), (2, 6)), rectangle((22, 28), (2, 6))]), tile, (60, 60))
    assert kept.ids.tolist() == [0]


def test_an_object_at_an_inner_edge_is_marked():
    tile = Tile((slice(20, 40), slice(0, 20)), (slice(16, 44), slice(0, 24)))
    kept = owned(masks_of([rectangle((0, 10), (4, 8)), rectangle((5, 10), (4, 8))]), tile, (60, 60))
    assert kept.tile_border.tolist() == [True, False]
    assert kept.masks[0].start == (16, 4)


def test_the_edge_of_the_image_is_not_an_inner_edge():
    tile = Tile((slice(0, 20),), (slice(0, 24),))
    assert not cut(np.array([[0, 5]]), tile, (60,))
    assert cut(np.array([[18, 24]]), tile, (60,))
    assert not cut(np.array([[18, 24]]), tile, (24,))
