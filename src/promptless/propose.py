"""The automatic prompt generator's second half: from its maps to one prompt per object."""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.segmentation import watershed

from promptless import labels as label_images
from promptless.config import ProposalConfig
from promptless.masks import Mask, boxes_of
from promptless.prompts import BACKGROUND, OBJECT, Prompt, Prompts
from promptless.tiles import Region

Array = NDArray[np.float32]
NEIGHBOUR_PX = 3  # objects whose boxes come this close are neighbours
CANDIDATES = 9  # nearest objects, itself included, among which an object's neighbours are looked for


def propose(maps: Array, config: ProposalConfig, near: Region | None = None) -> Prompts:
    """Return a prompt for every object that the generator sees, in every reading of where objects end.

    `maps` (2 or more, *spatial) are logits: foreground, and interior distance (1 in the middle of an object, 0 at
    its border); further ones are not looked at. Each prompt has a point inside, points in its neighbours and in
    the background near it labelled 0, its box, and its coarse mask. Where peaks may be one object or several,
    both are asked for: the decoder's predicted IoU decides. Of objects whose boxes do not reach into `near`, a part
    of the maps, nothing is asked.
    """
    foreground, interior = sigmoid(maps[:2])
    basins, height = basins_of(foreground, interior, config)
    prompts: list[Prompt] = []
    asked: set[tuple[int, ...]] = set()
    for saddle in config.saddles:
        owner = merged(basins, height, saddle)
        members = groups(owner)
        new = {number for number, group in members.items() if group not in asked}
        masks = {i: mask for i, mask in label_images.objects(owner[basins]).items() if mask.area >= config.min_area}
        wanted = [i for i, mask in masks.items() if i in new and (near is None or mask.meets(near))]
        prompts += reading(masks, wanted, foreground, height, config, first=len(prompts) + 1)
        asked.update(members.values())
    return Prompts(foreground.shape, tuple(prompts))


def reading(
    masks: dict[int, Mask], wanted: list[int], foreground: Array, height: Array, config: ProposalConfig, first: int
) -> list[Prompt]:
    """Return a prompt, numbered from `first` on, for each `wanted` object of all that are seen."""
    near = neighbours(masks, wanted, config.negatives - 1)
    centres = {i: peak(masks[i], height) for i in {*wanted, *chain(*near)}}
    return [
        prompt(number, masks[i], centres[i], [centres[other] for other in others], foreground)
        for number, (i, others) in enumerate(zip(wanted, near, strict=True), start=first)
    ]


def groups(owner: NDArray[np.int32]) -> dict[int, tuple[int, ...]]:
    """Return which basins each merged basin is made of; `owner` says for each basin (0, the background) whose it is."""
    if len(owner) < 2:
        return {}
    order = np.argsort(owner[1:], kind="stable") + 1
    numbers, first = np.unique(owner[order], return_index=True)
    parts = np.split(order, first[1:])
    return {int(number): tuple(part.tolist()) for number, part in zip(numbers, parts, strict=True)}


def basins_of(foreground: Array, interior: Array, config: ProposalConfig) -> tuple[NDArray[np.int64], Array]:
    """Return the foreground cut into one basin per local peak of the smoothed interior distance, and that map."""
    height = ndimage.gaussian_filter(interior, config.smooth)
    inside = foreground > config.foreground
    within = np.where(inside, height, -1)  # else what lies beside an object may hide its peak
    peaks = (ndimage.maximum_filter(within, 3) == within) & inside
    seeds, _ = ndimage.label(peaks, np.ones((3,) * height.ndim))
    return np.asarray(watershed(-height, seeds, mask=inside), np.int64), height


def coarse_labels(maps: Array, config: ProposalConfig) -> NDArray[np.int32]:
    """Return the generator's own label image, in the middle one of its readings."""
    foreground, interior = sigmoid(maps[:2])
    basins, height = basins_of(foreground, interior, config)
    return merged(basins, height, sorted(config.saddles)[len(config.saddles) // 2])[basins]


def merged(basins: NDArray[np.int64], height: Array, saddle: float) -> NDArray[np.int32]:
    """Return for each basin the one it is merged into: those whose pass reaches `saddle` times the lower peak.

    The highest pass comes first, and the higher peak takes the lower one in.
    """
    n = int(basins.max()) + 1
    peak_of = np.zeros(n, np.float32)
    np.maximum.at(peak_of, basins.ravel(), height.ravel())
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    pairs, heights = passes(basins, height)
    for i in np.argsort(-heights, kind="stable"):
        higher, lower = sorted((root(int(pairs[i, 0])), root(int(pairs[i, 1]))), key=lambda r: -peak_of[r])
        if heights[i] >= saddle * peak_of[lower]:
            parent[lower] = higher
    return np.array([root(i) for i in range(n)], np.int32)


def passes(basins: NDArray[np.int64], height: Array) -> tuple[NDArray[np.int64], Array]:
    """Return the pairs (n, 2) of basins that touch, and the height of the highest pass of each pair."""
    n = int(basins.max(initial=0)) + 1
    keys, heights = [], []
    for axis in range(basins.ndim):
        basin, level = np.moveaxis(basins, axis, 0), np.moveaxis(height, axis, 0)
        before, after = basin[:-1], basin[1:]
        border = (before != after) & (before > 0) & (after > 0)
        one, other = before[border], after[border]
        keys.append(np.minimum(one, other) * n + np.maximum(one, other))
        heights.append(np.minimum(level[:-1][border], level[1:][border]))
    found, which = np.unique(np.concatenate(keys), return_inverse=True)
    highest = np.zeros(len(found), np.float32)
    np.maximum.at(highest, which, np.concatenate(heights))
    return np.stack(np.divmod(found, n), axis=1), highest


def peak(mask: Mask, height: Array) -> tuple[int, ...]:
    """Return the object's pixel (in the image) where `height` is largest."""
    values = np.where(mask.pixels, height[mask.region], -1)
    at = np.unravel_index(values.argmax(), values.shape)
    return tuple(int(a) + s for a, s in zip(at, mask.start, strict=True))


def neighbours(masks: dict[int, Mask], wanted: list[int], n: int) -> list[list[int]]:
    """Return for each `wanted` object the up to `n` others with boxes within `NEIGHBOUR_PX` pixels, nearest first."""
    if not wanted:
        return []
    ids = np.array(list(masks))
    boxes = boxes_of(list(masks.values()), len(masks[wanted[0]].start))
    own = np.searchsorted(ids, wanted)
    centres = boxes.mean(axis=2)
    _, nearest = KDTree(centres).query(centres[own], k=range(1, min(CANDIDATES, len(ids)) + 1))
    near = []
    for i, others in zip(own, np.asarray(nearest), strict=True):
        apart = np.maximum(boxes[others, :, 0] - boxes[i, :, 1], boxes[i, :, 0] - boxes[others, :, 1]).max(axis=1)
        near.append(ids[others[(apart < NEIGHBOUR_PX) & (others != i)]][:n].tolist())
    return near


def prompt(
    number: int, mask: Mask, centre: tuple[int, ...], others: list[tuple[int, ...]], foreground: Array
) -> Prompt:
    """Return the prompt for one object, with negative points in `others` and in the background."""
    outside = background_point(mask, foreground)
    points = [centre, *others, *([] if outside is None else [outside])]
    return Prompt(
        number,
        np.array(points, np.float32),
        np.array([OBJECT] + [BACKGROUND] * (len(points) - 1), np.int64),
        mask.box.astype(np.float32),
        mask,
        float(foreground[mask.region][mask.pixels].mean()),
    )


def background_point(mask: Mask, foreground: Array) -> tuple[int, ...] | None:
    """Return the pixel near the object least likely to be foreground, None where all are likely."""
    region = tuple(slice(max(s.start - NEIGHBOUR_PX, 0), s.stop + NEIGHBOUR_PX) for s in mask.region)
    around = foreground[region]
    at = np.unravel_index(around.argmin(), around.shape)
    if around[at] >= 0.5:
        return None
    return tuple(int(a) + s.start for a, s in zip(at, region, strict=True))


def sigmoid(logits: Array) -> Array:
    """Return the probability of each logit."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)
