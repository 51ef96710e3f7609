"""Painting: each object gets pixels of its own, and the order of the objects does not matter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from made_up import in_image, masks_of
from promptless.labels import objects, paint
from promptless.masks import Mask

SHAPE = (12, 14)


@st.composite
def overlapping(draw, scores):
    n = draw(st.integers(0, 6))
    masks = [
        Mask(
            draw(st.tuples(st.integers(-2, 10), st.integers(-2, 12))),
            draw(hnp.arrays(bool, st.tuples(*[st.integers(1, 6)] * 2))),
        )
        for _ in range(n)
    ]
    return masks_of([m.trimmed() for m in masks], draw(st.lists(scores, min_size=n, max_size=n)))


ANY = st.integers(0, 1000).map(lambda n: n / 1000)
FEW = st.sampled_from([0.5, 0.75])


@given(overlapping(ANY))
def test_objects_have_pixels_of_their_own(masks):
    labels, kept = paint(masks, SHAPE)
    total = sum((in_image(m, SHAPE).astype(int) for m in kept), np.zeros(SHAPE, int))
    assert total.max(initial=0) <= 1
    assert np.array_equal(total > 0, labels > 0)


@given(overlapping(ANY))
def test_object_i_has_label_i_plus_1_and_lies_in_what_was_given(masks):
    labels, kept = paint(masks, SHAPE)
    assert sorted(objects(labels)) == list(range(1, len(kept) + 1))
    for number, (mask, i) in enumerate(zip(kept, kept.ids, strict=True), start=1):
        assert np.array_equal(in_image(mask, SHAPE), labels == number)
        assert not (in_image(mask, SHAPE) & ~in_image(masks.masks[i], SHAPE)).any()
        assert ndimage.label(mask.pixels)[1] == 1


@given(overlapping(ANY))
def test_the_best_object_keeps_its_largest_part_whole(masks):
    _, kept = paint(masks, SHAPE)
    areas = [in_image(m, SHAPE).sum() for m in masks]
    inside = [i for i in range(len(masks)) if areas[i]]
    if inside:
        best = max(inside, key=lambda i: masks.scores[i])
        if (masks.scores == masks.scores[best]).sum() == 1:
            parts = np.bincount(ndimage.label(in_image(masks.masks[best], SHAPE))[0].ravel())[1:]
            assert kept.masks[kept.ids.tolist().index(best)].area == parts.max()


@given(st.data(), overlapping(st.one_of(ANY, FEW)))
def test_the_order_of_the_objects_does_not_matter(data, masks):
    order = data.draw(st.permutations(range(len(masks))))
    one, other = paint(masks, SHAPE)[0], paint(masks.take(list(order)), SHAPE)[0]
    assert np.array_equal(one, other)
