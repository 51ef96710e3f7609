from __future__ import annotations

import numpy as np
import pytest
import tifffile

from made_up import NullModel, picture, scattered
from promptless.image import Image
from promptless.large.finding import Look
from promptless.large.seams import moved, seams
from promptless.record import Steps
from promptless.view import View


def test_a_local_model_has_no_seams(tmp_path, rng):
    labels = scattered((110, 100), (3, 6), 35, rng, gap=2)
    tifffile.imwrite(tmp_path / "a.tif", picture(labels))
    found = seams(tmp_path / "a.tif", NullModel(), tile=32, halo=16)
    assert (found.agreement, found.strict, found.cut_per_1000) == (1, 1, 0)
    assert found.n_objects == (labels.max(), labels.max())
    assert min(found.n_tiles) > 1


class Shy(NullModel):
    """A model that sees nothing near the edge of what it looks at, so that its objects depend on the tiles."""

    def encode(self, image):
        inside = np.zeros_like(image)
        inside[:, 14:-14, 14:-14] = image[:, 14:-14, 14:-14]
        return super().encode(inside)


def test_seams_are_found_where_there_are_some(tmp_path, rng):
    labels = scattered((110, 100), (3, 6), 35, rng, gap=2)
    tifffile.imwrite(tmp_path / "a.tif", picture(labels))
    assert seams(tmp_path / "a.tif", Shy(), tile=32, halo=0).agreement < 0.9


def test_a_region_of_one_tile_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), np.uint8))
    with pytest.raises(ValueError, match="no seams"):
        seams(tmp_path / "a.tif", NullModel(), tile=64, halo=0)


def test_moved_tiles_cover_every_pixel_once():
    view = View.of(Image(np.zeros((1, 70, 90), np.uint8)), NullModel())
    covered = np.zeros((70, 90), int)
    for tile in moved(view, Look.of(view, NullModel(), 32, 16, 0.5, Steps()), 32, 16):
        covered[tile.core] += 1
        assert all(outer.start % view.align == 0 for outer in tile.outer)
    assert (covered == 1).all()
