from __future__ import annotations

import pytest

from promptless.tiles import Tile, middle, round_up, tiles


def test_an_image_no_larger_than_tile_and_halos_is_one_tile():
    assert list(tiles((30, 20), (20, 20), (5, 5))) == [Tile((slice(0, 30), slice(0, 20)), (slice(0, 30), slice(0, 20)))]


def test_a_larger_image_is_cut_with_halos_clipped_at_the_border():
    assert [(t.core[0], t.outer[0]) for t in tiles((50,), (20,), (4,))] == [
        (slice(0, 20), slice(0, 24)),
        (slice(20, 40), slice(16, 44)),
        (slice(40, 50), slice(36, 50)),
    ]


def test_tiles_begin_on_the_grid_that_is_asked_for():
    cuts = list(tiles((100, 90), (10, 17), (3, 5), align=8))
    assert len(cuts) > 4
    assert all(start % 8 == 0 for cut in cuts for start in cut.offset)


def test_a_tile_owns_its_core_and_not_its_halo():
    tile = Tile((slice(4, 8), slice(0, 8)), (slice(2, 10), slice(0, 10)))
    assert (tile.offset, tile.shape) == ((2, 0), (8, 10))
    assert tile.owns((4, 7))
    assert not tile.owns((3, 7))
    assert not tile.owns((8, 7))


def test_a_tile_knows_where_its_core_lies_in_what_is_seen():
    assert Tile((slice(8, 20), slice(0, 4)), (slice(5, 25), slice(0, 6))).inner == (slice(3, 15), slice(0, 4))


@pytest.mark.parametrize(("size", "halo", "align"), [((0,), (1,), 1), ((4,), (-1,), 1), ((4,), (1,), 0)])
def test_sizes_that_make_no_sense_are_refused(size, halo, align):
    with pytest.raises(ValueError, match="at least"):
        list(tiles((9,), size, halo, align))


@pytest.mark.parametrize(("value", "rounded"), [(0, 0), (1, 8), (8, 8), (9, 16)])
def test_rounding_up_gives_the_next_multiple(value, rounded):
    assert round_up(value, 8) == rounded


def test_the_middle_is_as_large_as_asked_where_there_is_room():
    assert middle((100, 30), (40, 40)) == (slice(30, 70), slice(0, 30))
