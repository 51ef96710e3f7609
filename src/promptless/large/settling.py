"""Phase two: which of a tile's objects are kept, and which pixels each gets, as if all of the image were painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from promptless.labels import best_first, lay, renumbered
from promptless.large.store import Found
from promptless.masks import boxes_of

Boxes = NDArray[np.int64]
Reader = Callable[[int], Found]


def settle(number: int, reaches: Boxes, read: Reader) -> Found:
    """Return the objects of tile `number` that are kept, with the pixels that they keep, in reading order.

    `labels.paint` lays objects down from the best to the worst. What becomes of one depends on better ones that it
    overlaps, on better ones that these overlap, and so on: those are painted here, and no others, so the outcome is
    that of painting everything, whatever tile it is asked for. `reaches` (tiles, ndim, 2) are the boxes around the
    objects of every tile, `read` gives a tile's objects.
    """
    own = read(number)
    if not len(own.masks):
        return own
    asked = reaches[number]
    while True:
        near = np.flatnonzero(meeting(reaches, asked[None])[:, 0])
        parts = [own if i == number else within(asked, read(int(i))) for i in near]
        every = Found.joined(parts)
        sizes = np.cumsum([0, *(len(part.masks) for part in parts)])
        at = int(np.flatnonzero(near == number)[0])
        mine = np.arange(sizes[at], sizes[at + 1])
        boxes = boxes_of(every.masks.masks, len(asked))
        order = best_first(every.masks)
        needed = better_ones(mine, boxes, order)
        around = np.stack([boxes[needed, :, 0].min(axis=0), boxes[needed, :, 1].max(axis=0)], axis=1)
        if (around[:, 0] >= asked[:, 0]).all() and (around[:, 1] <= asked[:, 1]).all():
            break
        asked = np.stack([np.minimum(around[:, 0], asked[:, 0]), np.maximum(around[:, 1], asked[:, 1])], axis=1)
    return painted(every, set(mine.tolist()), [i for i in order if needed[i]], around)


def within(box: NDArray[np.int64], found: Found) -> Found:
    """Return the objects whose boxes share pixels with a box (ndim, 2)."""
    boxes = boxes_of(found.masks.masks, len(box))
    return found.take(np.flatnonzero(meeting(boxes, box[None])[:, 0]).tolist())


def better_ones(mine: NDArray[np.int64], boxes: Boxes, order: list[int]) -> NDArray[np.bool_]:
    """Return which objects are `mine`, or what becomes of these depends on, by the boxes (objects, ndim, 2) of all."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    needed = np.zeros(len(boxes), bool)
    new = mine
    while len(new):
        needed[new] = True
        above = meeting(boxes, boxes[new]) & (rank[:, None] < rank[new][None])
        new = np.flatnonzero(above.any(axis=1) & ~needed)
    return needed


def meeting(boxes: Boxes, others: Boxes) -> NDArray[np.bool_]:
    """Return which of `boxes` (n, ndim, 2) share pixels with which of `others` (m, ndim, 2), as (n, m)."""
    starts = np.maximum(boxes[:, None, :, 0], others[None, :, :, 0])
    return np.asarray((starts < np.minimum(boxes[:, None, :, 1], others[None, :, :, 1])).all(axis=2))


def painted(every: Found, mine: set[int], order: list[int], around: NDArray[np.int64]) -> Found:
    """Return those of `mine` that are kept when objects are laid down in `order`, inside a box around them all."""
    offset = tuple(-int(v) for v in around[:, 0])
    moved = replace(every.masks, masks=tuple(mask.moved(offset) for mask in every.masks))
    canvas = np.zeros(tuple(np.ptp(around, axis=1)), np.int32)
    kept = [i for i in lay(moved, order, canvas) if i in mine]
    chosen = replace(moved.take(kept), ids=np.array(kept, np.int64))
    _, masks = renumbered(canvas, chosen, kept)
    back = tuple(mask.moved(tuple(-v for v in offset)) for mask in masks)
    return Found(replace(masks, masks=back), tuple(every.prompts[int(i)] for i in masks.ids))
