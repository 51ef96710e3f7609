"""Prompts as the decoder will meet them: the generator's own, and a user's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptless import labels as label_images
from promptless.config import ProposalConfig
from promptless.masks import Mask
from promptless.prompts import BACKGROUND, OBJECT, Prompt
from promptless.propose import propose

Array = NDArray[np.float32]

MATCH = 0.2
"""A proposal asks for the object it overlaps most, where their IoU reaches this; else it is a false alarm."""
NOTHING = 0


@dataclass(frozen=True)
class Question:
    """A prompt and the label of the object it asks for; `NOTHING` for a false alarm."""

    prompt: Prompt
    target: int


def automatic(maps: Array, labels: NDArray[np.int32], config: ProposalConfig) -> list[Question]:
    """Return what the prompt generator asks on an image, each prompt with the object it should yield."""
    sizes = np.bincount(labels.ravel())
    return [Question(p, matching(p.coarse, labels, sizes)) for p in propose(maps, config).items if p.coarse is not None]


def matching(mask: Mask, labels: NDArray[np.int32], sizes: NDArray[np.int64]) -> int:
    """Return the label of the object with the largest IoU with `mask`, `NOTHING` below `MATCH`."""
    shared = np.bincount(labels[mask.region][mask.pixels], minlength=len(sizes))
    iou = shared / (sizes + mask.area - shared)
    iou[0] = 0
    best = int(iou.argmax())
    return best if iou[best] >= MATCH else NOTHING


def by_user(labels: NDArray[np.int32], n: int, rng: np.random.Generator) -> list[Question]:
    """Return up to `n` prompts as a user would give them: a click, a box, a rough mask, a correction."""
    found = label_images.objects(labels)
    chosen = rng.permutation(np.array(list(found), np.int64))[:n]
    ways = (click, box, rough, correction)
    kinds = rng.choice(len(ways), size=len(chosen), p=[0.25, 0.25, 0.25, 0.25])
    return [
        Question(ways[kind](found[int(i)], int(i), found, rng), int(i)) for i, kind in zip(chosen, kinds, strict=True)
    ]


def click(mask: Mask, number: int, found: dict[int, Mask], rng: np.random.Generator) -> Prompt:
    """Return one point somewhere in the object."""
    return Prompt(number, inside(mask, rng), np.array([OBJECT]))


def box(mask: Mask, number: int, found: dict[int, Mask], rng: np.random.Generator) -> Prompt:
    """Return a jittered box, half the time with a point."""
    n = int(rng.integers(2))
    points = inside(mask, rng) if n else np.zeros((0, mask.pixels.ndim), np.float32)
    return Prompt(number, points, np.full(n, OBJECT), jittered_box(mask, rng))


def rough(mask: Mask, number: int, found: dict[int, Mask], rng: np.random.Generator) -> Prompt:
    """Return a point, a box and a mask that is too small or too large."""
    return Prompt(number, inside(mask, rng), np.array([OBJECT]), jittered_box(mask, rng), distorted(mask, rng))


def correction(mask: Mask, number: int, found: dict[int, Mask], rng: np.random.Generator) -> Prompt:
    """Return a wrong mask with the click that says what is wrong: half is missing, or a neighbour is in it."""
    near = [other for i, other in found.items() if i != number and adjacent(mask, other)]
    if near and rng.uniform() < 0.5:
        other = near[int(rng.integers(len(near)))]
        points = np.concatenate([inside(mask, rng), inside(other, rng)])
        return Prompt(number, points, np.array([OBJECT, BACKGROUND]), None, union(mask, other))
    kept, missing = halves(mask, rng)
    if not kept.area or not missing.area:
        return rough(mask, number, found, rng)
    return Prompt(number, np.concatenate([inside(kept, rng), inside(missing, rng)]), np.array([OBJECT] * 2), None, kept)


def inside(mask: Mask, rng: np.random.Generator) -> Array:
    """Return one pixel (1, ndim) of the object, the likelier the further inside it lies."""
    depths = depth(mask).ravel()
    return pixel(mask, int(rng.choice(depths.size, p=depths / depths.sum())))


def deepest(mask: Mask) -> Array:
    """Return the pixel (1, ndim) of the object that lies furthest inside it."""
    return pixel(mask, int(depth(mask).argmax()))


def depth(mask: Mask) -> NDArray[np.float64]:
    """Return how far inside the object each pixel of its crop lies, in pixels."""
    return np.asarray(ndimage.distance_transform_edt(np.pad(mask.pixels, 1))[(slice(1, -1),) * mask.pixels.ndim])


def pixel(mask: Mask, number: int) -> Array:
    """Return the pixel (1, ndim) of an object's crop with this number, counted along the flattened crop."""
    return np.array([np.unravel_index(number, mask.pixels.shape)], np.float32) + np.array(mask.start, np.float32)


def jittered_box(mask: Mask, rng: np.random.Generator) -> Array:
    """Return the bounding box with each side moved by about a tenth of its length."""
    exact = mask.box.astype(np.float32)
    length = np.ptp(exact, axis=1, keepdims=True)
    moved = exact + np.clip(rng.normal(0, 0.1, exact.shape), -0.2, 0.2) * length
    return np.stack([moved[:, 0], np.maximum(moved[:, 1], moved[:, 0] + 1)], axis=1).astype(np.float32)


def distorted(mask: Mask, rng: np.random.Generator) -> Mask:
    """Return the object eroded or dilated by up to a fifth of its size."""
    steps = max(1, round(float(rng.uniform(0, 0.2)) * float(np.sqrt(mask.area))))
    padded = np.pad(mask.pixels, steps)
    smaller = ndimage.binary_erosion(padded, iterations=steps)
    larger = ndimage.binary_dilation(padded, iterations=steps)
    pixels = smaller if rng.uniform() < 0.5 and smaller.any() else larger
    return Mask(tuple(a - steps for a in mask.start), pixels).trimmed()


def halves(mask: Mask, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Return the object cut in two by a line near its middle."""
    direction = rng.normal(size=mask.pixels.ndim)
    index = np.indices(mask.pixels.shape)
    middle = index[:, mask.pixels].mean(axis=1)
    position = np.asarray(np.tensordot(direction, index - middle.reshape(-1, *[1] * mask.pixels.ndim), 1))
    first = mask.pixels & (position > rng.normal(0, 0.5))
    return Mask(mask.start, first).trimmed(), Mask(mask.start, mask.pixels & ~first).trimmed()


def adjacent(a: Mask, b: Mask) -> bool:
    """Return whether the bounding boxes of two objects come within two pixels."""
    return bool((np.maximum(a.box[:, 0], b.box[:, 0]) <= np.minimum(a.box[:, 1], b.box[:, 1]) + 2).all())


def union(a: Mask, b: Mask) -> Mask:
    """Return both objects as one."""
    start = np.minimum(a.start, b.start)
    pixels = np.zeros(tuple(np.maximum(a.stop, b.stop) - start), bool)
    for mask in (a, b):
        pixels[mask.moved(tuple(-start)).region] |= mask.pixels
    return Mask(tuple(int(v) for v in start), pixels)
