from __future__ import annotations

import numpy as np
import pytest

from promptless.embeddings import Embeddings
from promptless.tiles import Tile

TILE = Tile((slice(0, 8), slice(0, 8)), (slice(0, 12), slice(0, 12)))
OTHER = Tile((slice(8, 16), slice(0, 8)), (slice(4, 16), slice(0, 12)))


def test_what_is_kept_comes_back(tmp_path, rng):
    features = rng.normal(size=(3, 4, 4)).astype(np.float32)
    kept = Embeddings(tmp_path / "a")
    kept.save("key", TILE, features)
    assert np.array_equal(kept.load("key", TILE), features)
    assert [path.suffix for path in (tmp_path / "a").iterdir()] == [".npy"]


def test_another_tile_or_key_has_nothing(tmp_path):
    kept = Embeddings(tmp_path)
    kept.save("key", TILE, np.zeros((1, 2, 2), np.float32))
    assert kept.load("key", OTHER) is None
    assert kept.load("other", TILE) is None


def test_a_damaged_file_is_named(tmp_path):
    kept = Embeddings(tmp_path)
    kept.path("key", TILE).write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"\.npy is damaged; delete it"):
        kept.load("key", TILE)


def test_embeddings_of_other_tiles_do_not_stay_behind(tmp_path):
    kept = Embeddings(tmp_path)
    for key, tile in (("old", TILE), ("key", TILE), ("key", OTHER)):
        kept.save(key, tile, np.zeros((1, 2, 2), np.float32))
    kept.keep_only("key", [TILE])
    assert list(tmp_path.iterdir()) == [kept.path("key", TILE)]


def test_class_maps_are_kept_beside_the_embedding(tmp_path, rng):
    features, maps = (rng.normal(size=(3, 4, 4)).astype(np.float32) for _ in range(2))
    kept = Embeddings(tmp_path)
    kept.save("key", TILE, features)
    assert kept.load_classes("key", TILE) is None
    kept.save_classes("key", TILE, maps[:0])  # of a model that tells none
    assert len(list(tmp_path.iterdir())) == 1
    kept.save_classes("key", TILE, maps)
    kept.keep_only("key", [TILE])
    assert np.array_equal(kept.load_classes("key", TILE), maps)
    assert np.array_equal(kept.load("key", TILE), features)
    kept.keep_only("other", [TILE])
    assert not list(tmp_path.iterdir())
