"""Large images: settling between neighbours is painting everything; tiled = whole, in any order, interrupted or not."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from large_images import labels_of, nothing_ahead
from made_up import NullModel, discs, picture, point, same_partition, scattered
from promptless import labels as label_images
from promptless import large
from promptless.large.crew import HANDS
from promptless.large.settling import settle
from promptless.large.store import Found
from promptless.masks import Mask, Masks
from promptless.pipeline import segment
from promptless.tiles import tiles


@st.composite
def crowds(draw):
    """Objects that overlap each other across the borders of tiles, and the tiles."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(20, 60)), draw(st.integers(20, 60))
    masks = []
    for _ in range(draw(st.integers(1, 60))):
        size = rng.integers(2, 12, 2)
        start = tuple(int(rng.integers(0, n - s)) for n, s in zip(shape, size, strict=True))
        pixels = rng.random(size) < 0.8
        pixels[0, 0] = pixels[-1, -1] = True
        masks.append(Mask(start, pixels))
    scores = rng.choice(np.linspace(0.5, 1, 7), len(masks)).astype(np.float32)  # some alike
    cuts = list(tiles(shape, (draw(st.integers(6, 20)),) * 2, (3, 3)))
    return shape, masks, scores, cuts


@settings(max_examples=40)
@given(crowds())
def test_settling_each_tile_by_itself_is_painting_everything(crowd):
    shape, masks, scores, cuts = crowd
    n, ones = len(masks), np.ones(len(masks), np.float32)
    owner = np.array([next(i for i, cut in enumerate(cuts) if cut.owns(mask.reference)) for mask in masks])
    order = np.argsort(owner, kind="stable")
    every = Masks(tuple(masks), np.arange(n), scores, ones, np.zeros(n, bool)).take(order)
    expected, kept = label_images.paint(every, shape)

    found = [every.take(np.flatnonzero(owner[order] == i)) for i in range(len(cuts))]
    parts = [Found(part, tuple(point(int(i), 0, 0) for i in part.ids)) for part in found]
    reaches = np.stack([part.reach(2) for part in parts])
    canvas, ids = np.zeros(shape, np.int32), []
    for number in range(len(cuts)):
        settled = settle(number, reaches, parts.__getitem__)
        for mask, prompt in zip(settled.masks, settled.prompts, strict=True):
            ids.append(prompt.id)
            assert not canvas[mask.region][mask.pixels].any()
            canvas[mask.region][mask.pixels] = len(ids)
    assert same_partition(canvas, expected)
    assert sorted(ids) == sorted(kept.ids.tolist())


@settings(max_examples=4)
@given(st.integers(80, 120), st.integers(70, 110), st.sampled_from([32, 48]), st.integers(0, 2**32 - 1))
def test_tiled_equals_whole(height, width, tile, seed):
    labels = scattered((height, width), (3, 7), 25, np.random.default_rng(seed), gap=2)
    whole = segment(picture(labels), NullModel())
    with TemporaryDirectory() as folder:
        found, summary = labels_of(picture(labels), Path(folder), tile=tile, halo=16)
    assert summary.n_objects == whole.n_objects == found.max()
    assert same_partition(found, whole.labels)


def test_one_tile_gives_the_very_labels_of_the_pipeline(blobs, tmp_path):
    image, _ = blobs
    found, summary = labels_of(image, tmp_path)
    assert summary.n_tiles == 1
    assert np.array_equal(found, segment(image, NullModel()).labels)


@pytest.mark.parametrize("at", [(70, 70), (64, 96), (47, 113), (100, 33)])
def test_an_object_larger_than_the_halo_is_neither_cut_nor_doubled(at, tmp_path):
    image = picture(discs((170, 180), [(*at, 22), (150, 160, 4)]))
    found, _ = labels_of(image, tmp_path, tile=32, halo=16)
    assert same_partition(found, segment(image, NullModel()).labels)


def test_objects_in_the_region_asked_for_are_those_of_the_whole(tmp_path, rng):
    labels = scattered((120, 110), (3, 6), 40, rng, gap=3)
    whole, _ = labels_of(picture(labels), tmp_path, "whole", tile=32, halo=16)
    part, _ = labels_of(picture(labels), tmp_path, "part", tile=32, halo=16, roi=(30, 20, 50, 60))
    middles = {n: mask.reference for n, mask in label_images.objects(whole).items()}
    wanted = [n for n, (y, x) in middles.items() if 30 <= y < 80 and 20 <= x < 80]
    assert same_partition(part, np.where(np.isin(whole, wanted), whole, 0))
    assert 0 < len(wanted) < whole.max()


TILES = {"tile": 32, "halo": 16}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A crowded picture (uint8) of twelve tiles, the files that a run on it writes, and how many steps that takes."""
    image = picture(scattered((100, 90), (3, 6), 30, np.random.default_rng(7), gap=1))
    folder, told = tmp_path_factory.mktemp("undisturbed"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large.crew.Here, "ahead", nothing_ahead)
        _, summary = labels_of(image, folder, progress=lambda step, done, total: told.append(step), **TILES)
    assert summary.n_tiles < len(told) <= 3 * summary.n_tiles + 1  # a tile without objects is looked at, no more
    return image, files(folder), len(told)


def test_any_order_of_tiles_gives_identical_files(undisturbed, tmp_path, rng, monkeypatch):
    image, expected, _ = undisturbed
    taken = large.crew.Here.each
    monkeypatch.setattr(large.crew.Here, "each", lambda self, step, n: taken(self, step, rng.permutation(list(n))))
    labels_of(image, tmp_path, **TILES)
    assert files(tmp_path) == expected


def files(folder: Path) -> dict[str, bytes]:
    """Return all that a run has written, but for the manifest, which has the seconds."""
    store = folder / "out.ome.zarr"
    chunks = {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}
    return chunks | {end: (folder / f"out{end}").read_bytes() for end in ("_objects.csv", ".geojson", "_prompts.json")}


class Killed(BaseException):
    """What no step catches."""


@pytest.mark.parametrize(
    ("ahead", "after"), [(False, n) for n in (1, 5, 12, 20, 30, 35)] + [(True, n) for n in (1, 5, 12)]
)
def test_a_run_that_is_killed_and_resumed_ends_as_one_that_was_not(ahead, after, undisturbed, tmp_path, monkeypatch):
    image, expected, n_steps = undisturbed
    if not ahead:
        monkeypatch.setattr(large.crew.Here, "ahead", nothing_ahead)
    told = []

    def killing(step, done, total):
        told.append(step)
        if len(told) == after:
            raise Killed

    with pytest.raises(Killed):
        labels_of(image, tmp_path, progress=killing, **TILES)
    assert not (tmp_path / "out.ome.zarr").exists()
    again = []
    labels_of(image, tmp_path, begin="resume", progress=lambda s, d, t: again.append(s), **TILES)
    assert files(tmp_path) == expected
    under_way = n_steps - after - len(again)  # when it was killed; nothing is done twice
    assert 0 <= under_way <= (n_steps if ahead else HANDS + 1)
    assert not list(tmp_path.glob(".*parts"))
