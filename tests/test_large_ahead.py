from __future__ import annotations

import shutil
import threading
import time
from queue import SimpleQueue

import numpy as np
import pytest

from large_images import labels_of, nothing_ahead, stack_of
from made_up import DirectModel, NullModel, picture, scattered
from promptless import large
from promptless.large import ahead, bench, crew, store
from promptless.large.bench import FOUND, SETTLED, TOLD

CUT = {"tile": 32, "halo": 16}
RADII = {"small": (3, 6), "larger than a halo": (6, 14)}
FILES = ("_objects.csv", ".geojson", "_prompts.json")


@pytest.fixture(params=RADII)
def image(request, rng):
    return picture(scattered((150, 130), RADII[request.param], 40, rng, gap=1))


@pytest.fixture
def stack(rng, tmp_path):
    planes = np.stack([picture(scattered((80, 70), (3, 6), 12, rng, gap=2)) for _ in range(3)])
    return stack_of(planes, tmp_path / "image.ome.zarr")


def until_drawn(step, done, total):
    """End a run when everything is told."""
    if step == "drawn":
        raise KeyboardInterrupt


def parts_of(folder):
    """Return the folder of an unfinished run."""
    return folder / ".out.ome.zarr.parts"


def kept(folder):
    """Return what is kept of each tile."""
    return {path.name: path.read_bytes() for path in folder.glob(f"*{store.SUFFIX}")}


def followed(parts, model, rng, monkeypatch):
    """Return what is settled and told by the steps, and what ahead of them, tiles being found in any order."""
    after = {step: kept(parts / step) for step in (SETTLED, TOLD)}
    for step in after:
        shutil.rmtree(parts / step)
    monkeypatch.setattr(store, "done", lambda folder: set())
    numbers = SimpleQueue()
    with bench.opened(parts, model) as opened:
        for number in (*rng.permutation(opened.plan.tiles).tolist(), None):
            numbers.put(number)
        ahead.follow(opened, numbers, threading.Event())
    return after, {step: kept(parts / step) for step in after}


@pytest.mark.parametrize("model", [NullModel(), DirectModel()], ids=lambda model: model.config.name)
def test_whatever_order_tiles_are_found_in_the_same_is_settled_and_told(model, image, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(crew.Here, "ahead", nothing_ahead)
    with pytest.raises(KeyboardInterrupt):
        labels_of(image, tmp_path, model=model, progress=until_drawn, **CUT)
    after, before = followed(parts_of(tmp_path), model, rng, monkeypatch)
    assert before == after
    assert len(after[TOLD]) > 10


def test_so_it_is_in_a_stack(stack, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(crew.Here, "ahead", nothing_ahead)
    with pytest.raises(KeyboardInterrupt):
        large.segment(stack, tmp_path / "out.ome.zarr", NullModel(), progress=until_drawn, **CUT)
    after, before = followed(parts_of(tmp_path), NullModel(), rng, monkeypatch)
    assert before == after
    assert len(after[TOLD]) > 10


def test_objects_lie_where_those_of_their_tile_may(image, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        labels_of(image, tmp_path, progress=until_drawn, **CUT)
    with bench.opened(parts_of(tmp_path), NullModel()) as opened:
        bounds, reaches = ahead.bounds(opened), opened.reach(FOUND)
        assert (bounds[opened.plan.tiles, :, 1] > bounds[opened.plan.tiles, :, 0]).all()
        monkeypatch.setattr(store, "done", lambda folder: set())
        known = ahead.Known(opened)
        known.add(0)
        assert len(known.objects(0).masks) == len(opened.objects(FOUND, 0).masks)
        with pytest.raises(ahead.NotFoundError):
            known.objects(1)
    some = reaches.any(axis=(1, 2))
    assert some.sum() > 10
    assert (reaches[some, :, 0] >= bounds[some, :, 0]).all()
    assert (reaches[some, :, 1] <= bounds[some, :, 1]).all()


def test_tiles_are_told_while_others_are_found(image, tmp_path, monkeypatch):
    monkeypatch.setattr(crew.Here, "ahead", nothing_ahead)
    plain, _ = labels_of(image, tmp_path, "plain", **CUT)
    monkeypatch.undo()
    told = []

    def progress(step, done, total):
        for _ in range(200 if step == "found" and done == total else 0):
            told[:] = store.done(parts_of(tmp_path) / TOLD)
            if len(told) > 10:
                return
            time.sleep(0.05)

    found, _ = labels_of(image, tmp_path, progress=progress, **CUT)
    assert len(told) > 10
    assert np.array_equal(found, plain)
    for end in FILES:
        assert (tmp_path / f"out{end}").read_bytes() == (tmp_path / f"plain{end}").read_bytes()


def test_what_goes_wrong_ahead_is_left_to_the_steps_after_it(image, tmp_path, monkeypatch):
    plain, _ = labels_of(image, tmp_path, "plain", **CUT)

    def broken(*arguments):
        raise ValueError("no luck")

    monkeypatch.setattr(ahead, "tell_tile", broken)
    found, summary = labels_of(image, tmp_path, **CUT)
    assert np.array_equal(found, plain)
    assert not summary.failures
