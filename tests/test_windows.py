from __future__ import annotations

import numpy as np
import pytest

from made_up import NULL, NullModel, in_image, point, rectangle
from promptless.config import WindowConfig
from promptless.labels import objects
from promptless.loading import load
from promptless.masks import Mask
from promptless.prompts import Prompt, Prompts
from promptless.windows import (
    Level,
    Window,
    chunks,
    crop,
    decode,
    decode_chunk,
    mask_prompt,
    place,
    pooled,
    stability_of,
    threshold,
    tokens_of,
)

CONFIG = WindowConfig(stride=4, cells=8, chunk=4)


COARSE = WindowConfig(stride=16, cells=8, chunk=4)
"""The windows of published backbones: a logit is four pixels wide."""


def boxed(number, *sides):
    return Prompt(number, np.zeros((0, 2), np.float32), np.zeros(0, np.int64), np.array(sides, np.float32))


def full(mask, number=1):
    """Return the prompt that the generator would make of an object."""
    middle = np.array([mask.reference], np.float32)
    return Prompt(number, middle, np.array([1]), mask.box.astype(np.float32), mask)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load(tiny_folder, threads=1)


@pytest.fixture(scope="module")
def seen(model, blobs):
    """The embedding of `blobs` by the tiny model, and a prompt for each of its objects."""
    image, labels = blobs
    rgb = np.repeat(image[None].astype(np.float32) / 255, 3, axis=0)
    prompts = [full(mask, number) for number, mask in objects(labels).items()]
    return model.encode(rgb).features, prompts, labels


@pytest.mark.parametrize(("side", "pool"), [(5, 1), (24, 1), (25, 2), (48, 2), (49, 4), (96, 4), (97, 8), (500, 32)])
def test_objects_larger_than_the_window_use_a_larger_pool(side, pool):
    assert place(boxed(1, (40, 45), (100, 100 + side)), 1.0, CONFIG).pool == pool


def test_the_window_has_its_object_in_the_middle():
    window = place(boxed(1, (58, 70), (96, 104)), 1.0, CONFIG)  # middle at 64, 100
    assert window.start == (16 - 4, 25 - 4)


def test_the_zoom_counts_when_the_pool_is_chosen():
    assert [place(boxed(1, (0, 20), (0, 20)), zoom, CONFIG).pool for zoom in (0.5, 1.0, 2.0, 4.0)] == [1, 1, 2, 4]


def test_pooling_takes_the_mean_also_of_a_part_at_the_end(rng):
    values = rng.normal(size=(2, 5, 6)).astype(np.float32)
    result = pooled(values, 4)
    assert result.shape == (2, 2, 2)
    assert result[0, 0, 0] == pytest.approx(values[0, :4, :4].mean(), abs=1e-6)
    assert result[1, 1, 1] == pytest.approx(values[1, 4:, 4:].mean(), abs=1e-6)
    assert np.array_equal(pooled(values, 1), values)


def test_a_window_is_zero_beyond_the_border(rng):
    values = rng.normal(size=(2, 10, 10)).astype(np.float32)
    level = Level(values, (0, 0))
    window = crop(level, Window((-3, 6), 1), CONFIG)
    assert np.array_equal(window[:, 3:, :4], values[:, :5, 6:])
    assert not window[:, :3].any()
    assert not window[:, :, 4:].any()
    assert not crop(level, Window((-30, 60), 1), CONFIG).any()


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_pooling_what_windows_reach_is_pooling_all(rng, pool):
    values = rng.normal(size=(2, 45, 62)).astype(np.float32)
    whole = Level(pooled(values, pool), (0, 0))
    corners = [(-3, 2), (5, 40 // pool), (40 // pool, -5), (44 // pool, 61 // pool), (2, 3)]
    for chosen in ([Window(at, pool)] for at in corners):
        part = Level.reached(values, chosen, pool, CONFIG)
        assert np.array_equal(crop(part, chosen[0], CONFIG), crop(whole, chosen[0], CONFIG))
    every = [Window(at, pool) for at in corners]
    part = Level.reached(values, every, pool, CONFIG)
    assert all(np.array_equal(crop(part, w, CONFIG), crop(whole, w, CONFIG)) for w in every)


def test_points_are_in_window_pixels():
    prompt = Prompt(1, np.array([[20, 31], [3, 5]], np.float32), np.array([1, 0]))
    coords, labels = tokens_of(prompt, Window((2, 5), 1), 4, 1.0, CONFIG)
    assert coords[:2].tolist() == [[20 - 8, 31 - 20], [3 - 8, 5 - 20]]
    assert labels.tolist() == [1, 0, -1, -1]


def test_pooled_windows_and_zoomed_images_keep_pixel_centres_in_place():
    # The middle of a pixel, p + 0.5, is what zoom and pool scale.
    coords, _ = tokens_of(point(1, 20, 31), Window((2, 3), 2), 1, 1.0, CONFIG)
    assert coords.tolist() == [[(20.5 - 16) / 2 - 0.5, (31.5 - 24) / 2 - 0.5]]
    coords, _ = tokens_of(point(1, 20, 31), Window((0, 0), 1), 1, 0.5, CONFIG)
    assert coords.tolist() == [[20.5 / 2 - 0.5, 31.5 / 2 - 0.5]]


def test_a_box_becomes_two_corners():
    coords, labels = tokens_of(boxed(1, (4, 10), (6, 20)), Window((0, 0), 1), 5, 1.0, CONFIG)
    assert labels.tolist() == [2, 3, -1, -1, -1]
    assert (coords[:2] + 0.5).tolist() == [[4, 6], [10, 20]]


def test_the_mask_prompt_is_1_on_the_object_and_minus_1_elsewhere():
    mask = Mask((10, 21), np.array([[1, 0], [1, 1]], bool))
    logits = mask_prompt(full(mask), Window((2, 4), 1), 1.0, CONFIG)
    expected = np.full((32, 32), -1)
    expected[2, 5] = expected[3, 5] = expected[3, 6] = 1
    assert np.array_equal(logits, expected)


def test_a_prompt_without_a_mask_has_zeros():
    assert not mask_prompt(point(1, 5, 5), Window((0, 0), 1), 1.0, CONFIG).any()


@pytest.mark.parametrize("start", [(2, 4), (-3, -2), (4, 7)])
def test_a_mask_goes_into_a_window_and_comes_back(start, rng):
    mask = Mask((10, 18), rng.uniform(size=(12, 10)) < 0.6).trimmed()
    window = Window(start, 1)
    back = threshold(mask_prompt(full(mask), window, 1.0, CONFIG), window, 1.0, CONFIG, (40, 40))
    corner, shown = np.array(start) * 4, np.zeros((40, 40), bool)
    shown[tuple(slice(max(c, 0), c + 32) for c in corner)] = True
    assert np.array_equal(in_image(back, (40, 40)), in_image(mask, (40, 40)) & shown)


def test_a_large_rectangle_survives_a_pooled_window():
    mask = rectangle((8, 48), (16, 56))
    window = place(full(mask), 1.0, CONFIG)
    back = threshold(mask_prompt(full(mask), window, 1.0, CONFIG), window, 1.0, CONFIG, (64, 64))
    assert window.pool == 2
    assert back.box.tolist() == mask.box.tolist()


@pytest.mark.parametrize("pool", [1, 2])
def test_at_stride_16_a_logit_lands_on_its_own_pixels(pool):
    window, pitch = Window((1, 2), pool), 4 * pool
    logits = np.full((32, 32), -1, np.float32)
    logits[5:9, 10:12] = 1
    found = threshold(logits, window, 1.0, COARSE, (600, 600))
    corner = 16 * pool * np.array(window.start)
    assert found.box.tolist() == [
        [corner[0] + 5 * pitch, corner[0] + 9 * pitch],
        [corner[1] + 10 * pitch, corner[1] + 12 * pitch],
    ]
    assert found.area >= 0.9 * 4 * 2 * pitch**2  # only corners are rounded


@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
def test_at_stride_16_a_mask_goes_into_a_window_and_comes_back(zoom):
    y, x = np.indices((120, 120))
    disc = Mask((0, 0), (y - 61) ** 2 + (x - 47) ** 2 <= 20**2).trimmed()
    window = place(full(disc), zoom, COARSE)
    logits = mask_prompt(full(disc), window, zoom, COARSE)
    assert logits.shape == (32, 32)
    back = threshold(logits, window, zoom, COARSE, (120, 120))
    there, again = (in_image(mask, (120, 120)) for mask in (disc, back))
    pitch = 4 / zoom
    assert (there & again).sum() / (there | again).sum() > 1 - 0.01 * pitch
    assert np.abs(back.box - disc.box).max() <= pitch / 2


def test_at_stride_16_points_and_boxes_are_in_window_pixels():
    coords, _ = tokens_of(point(1, 40, 50), Window((2, 1), 1), 1, 1.0, COARSE)
    assert coords.tolist() == [[40 - 32, 50 - 16]]
    coords, _ = tokens_of(boxed(1, (40, 56), (16, 48)), Window((2, 1), 1), 2, 1.0, COARSE)
    assert (coords + 0.5).tolist() == [[8, 0], [24, 32]]


def test_every_mask_comes_back_from_a_model_that_repeats_the_prompt(blobs):
    _, labels = blobs
    found = objects(labels)
    prompts = Prompts(labels.shape, tuple(full(mask, number) for number, mask in found.items()))
    masks = decode(NullModel(), np.zeros((2, 20, 28), np.float32), prompts)
    assert masks.ids.tolist() == list(found)
    assert all(np.array_equal(in_image(m, labels.shape), labels == i) for m, i in zip(masks, masks.ids, strict=True))
    assert masks.stability.tolist() == [1] * len(found)


def test_no_prompts_give_no_masks():
    assert len(decode(NullModel(), np.zeros((2, 4, 4), np.float32), Prompts((16, 16)))) == 0


def test_an_empty_answer_is_left_out():
    prompts = Prompts((40, 40), (point(3, 9, 9), full(rectangle((4, 9), (5, 9)), 4)))
    assert decode(NullModel(), np.zeros((2, 10, 10), np.float32), prompts).ids.tolist() == [4]


def test_the_decoder_is_asked_for_at_most_a_chunk_at_a_time(blobs):
    asked = []

    class Counting(NullModel):
        def decode(self, windows, *prompts):
            asked.append(len(windows))
            return super().decode(windows, *prompts)

    _, labels = blobs
    prompts = Prompts(labels.shape, tuple(full(mask, i) for i, mask in objects(labels).items()))
    decode(Counting(), np.zeros((2, 20, 28), np.float32), prompts)
    assert sum(asked) == len(prompts)
    assert max(asked) <= NULL.window.chunk


@pytest.mark.parametrize(("n", "lengths"), [(0, []), (3, [3]), (4, [4]), (9, [4, 4, 1])])
def test_chunks_hold_everything_once(n, lengths):
    parts = list(chunks(list(range(n)), 4))
    assert [len(p) for p in parts] == lengths
    assert [i for part in parts for i in part] == list(range(n))


def test_stability_is_the_iou_at_two_thresholds():
    logits = np.array([[5, 5, 0.5], [-0.5, -5, -5]], np.float32)
    assert stability_of(logits) == 2 / 4
    assert stability_of(np.full((3, 3), -5, np.float32)) == 0


def test_a_prompt_is_answered_the_same_whatever_chunk_it_is_in(model, seen):
    embedding, prompts, _ = seen
    windows = [place(p, 1.0, CONFIG) for p in prompts]
    level = Level(embedding, (0, 0))
    together, scores = decode_chunk(model, level, windows, prompts, 1.0)
    for i, (window, prompt) in enumerate(zip(windows, prompts, strict=True)):
        alone, score = decode_chunk(model, level, [window], [prompt], 1.0)
        assert together[i] == pytest.approx(alone[0], abs=1e-4)
        assert scores[i] == pytest.approx(score[0], abs=1e-5)


def test_a_prompt_is_answered_the_same_whatever_else_is_asked(model, seen):
    embedding, prompts, labels = seen
    many = np.tile(np.array([[8.0, 10.0]], np.float32), (CONFIG.points + 6, 1))
    clicked = Prompt(99, many, np.ones(len(many), np.int64))
    alone = decode(model, embedding, Prompts(labels.shape, (prompts[3],)))
    beside = decode(model, embedding, Prompts(labels.shape, (prompts[3], clicked)))
    assert beside.ids[0] == alone.ids[0]
    assert beside.scores[0] == pytest.approx(alone.scores[0], abs=1e-5)
    assert np.array_equal(in_image(beside.masks[0], labels.shape), in_image(alone.masks[0], labels.shape))


def test_the_order_of_the_prompts_is_kept_and_does_not_matter(model, seen):
    embedding, prompts, labels = seen
    forward = decode(model, embedding, Prompts(labels.shape, tuple(prompts)))
    backward = decode(model, embedding, Prompts(labels.shape, tuple(prompts[::-1])))
    assert forward.ids.tolist() == backward.ids.tolist()[::-1] == [p.id for p in prompts]
    assert forward.scores == pytest.approx(backward.scores[::-1], abs=1e-5)


@pytest.mark.parametrize("side", [12, 40])
def test_an_answer_does_not_depend_on_where_the_tile_begins(model, side, rng):
    embedding = rng.normal(size=(32, 40, 40)).astype(np.float32)
    mask = rectangle((70, 70 + side), (66, 66 + side))
    here = decode(model, embedding, Prompts((160, 160), (full(mask),)))
    there = decode(model, embedding[:, 4:, 8:], Prompts((144, 128), (full(mask.moved((-16, -32))),)))
    assert place(full(mask), 1.0, CONFIG).pool == (1 if side == 12 else 2)
    assert there.scores[0] == pytest.approx(here.scores[0], abs=1e-5)
    assert there.masks[0].moved((16, 32)).box.tolist() == here.masks[0].box.tolist()
    assert np.array_equal(there.masks[0].pixels, here.masks[0].pixels)


def test_the_trained_decoder_outlines_what_it_is_asked_for(model, seen):
    embedding, prompts, labels = seen
    masks = decode(model, embedding, Prompts(labels.shape, tuple(prompts)))
    iou = [
        (in_image(m, labels.shape) & (labels == i)).sum() / (in_image(m, labels.shape) | (labels == i)).sum()
        for m, i in zip(masks, masks.ids, strict=True)
    ]
    assert np.mean(iou) > 0.7
