"""Window decoding: each prompt is decoded on the part of the embedding around it.

A window is a small image of its own: prompts are in its coordinates, its positional encoding is its own,
so a result does not depend on the tile. The cost per object is constant, whatever the image's size.
Objects larger than the window are decoded on a pooled embedding, whose windows reach further.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptless.config import UPSCALING, WindowConfig
from promptless.masks import Mask, Masks
from promptless.model import Model
from promptless.prompts import PADDING, Prompt, Prompts
from promptless.resample import resample

Array = NDArray[np.float32]

BOX_START, BOX_STOP = 2, 3
"""Point labels of a box's corners, as SAM's prompt encoder numbers its tables."""
STABILITY_OFFSET = 1.0
"""Logit offset between the two thresholds of `stability` (as in SAM's automatic mask generator)."""


@dataclass(frozen=True)
class Window:
    """Where a prompt is decoded: `start` in cells of the embedding pooled by `pool`."""

    start: tuple[int, ...]
    pool: int


def place(prompt: Prompt, zoom: float, config: WindowConfig) -> Window:
    """Return the window for a prompt: the finest that holds its object, with the object in the middle.

    `zoom` is model pixels per image pixel.
    """
    extent = prompt.extent * zoom
    room = config.size * config.fill
    pool = 1
    while np.ptp(extent, axis=1).max() > room * pool:
        pool *= 2
    middle = extent.mean(axis=1) / (config.stride * pool)
    return Window(tuple(int(v) for v in np.round(middle - config.cells / 2)), pool)


def decode(model: Model, embedding: Array, prompts: Prompts, zoom: float = 1.0) -> Masks:
    """Return one mask per prompt, in pixels of the image; empty masks are left out.

    `embedding` (channel, *grid) is of the whole tile that the prompts are in.
    """
    config = model.config.window
    windows = [place(prompt, zoom, config) for prompt in prompts.items]
    parts = []
    for pool in sorted({window.pool for window in windows}):
        members = [i for i, window in enumerate(windows) if window.pool == pool]
        level = Level.reached(embedding, [windows[i] for i in members], pool, config)
        for chunk in chunks_by_tokens(members, prompts.items, config):
            chosen = [windows[i] for i in chunk], [prompts.items[i] for i in chunk]
            parts.append((chunk, *decode_chunk(model, level, *chosen, zoom)))
    return in_image(parts, windows, prompts, zoom, config)


@dataclass(frozen=True)
class Level:
    """The part of a pooled embedding that windows reach: `cells` (channel, *grid) from `start` on."""

    cells: Array
    start: tuple[int, ...]

    @classmethod
    def reached(cls, embedding: Array, windows: list[Window], pool: int, config: WindowConfig) -> Level:
        """Pool no more of `embedding` than `windows` need."""
        every = np.array([window.start for window in windows])
        grid = np.array(embedding.shape[1:])
        start = np.clip(every.min(axis=0), 0, grid // pool)
        stop = np.minimum(np.maximum((every.max(axis=0) + config.cells) * pool, start * pool), grid)
        part = embedding[:, *(slice(a * pool, b) for a, b in zip(start, stop, strict=True))]
        return cls(pooled(part, pool), tuple(start.tolist()))


def decode_chunk(
    model: Model, level: Level, windows: list[Window], prompts: list[Prompt], zoom: float
) -> tuple[Array, Array]:
    """Return the single-mask logits (n, *window) and predicted IoUs (n,) of some prompts on one pooled embedding."""
    config = model.config.window
    tokens = max(n_points(p, config) for p in prompts) + 2
    points = [tokens_of(p, w, tokens, zoom, config) for p, w in zip(prompts, windows, strict=True)]
    decoded = model.decode(
        np.stack([crop(level, window, config) for window in windows]),
        np.stack([coords for coords, _ in points]),
        np.stack([labels for _, labels in points]),
        np.stack([mask_prompt(p, w, zoom, config) for p, w in zip(prompts, windows, strict=True)])[:, None],
        np.array([p.coarse is not None for p in prompts]),
    )
    return decoded.low_res_logits[:, 0], decoded.iou_predictions[:, 0]


def pooled(embedding: Array, pool: int) -> Array:
    """Return the mean of every `pool` x `pool` cells of (channel, *grid); a part at the end counts by what it has."""
    for axis in range(1, embedding.ndim) if pool > 1 else ():
        n = embedding.shape[axis]
        edges = np.arange(0, n, pool)
        sums = np.add.reduceat(embedding, edges, axis=axis)
        sizes = np.minimum(edges + pool, n) - edges
        embedding = (sums / sizes.reshape([-1 if a == axis else 1 for a in range(embedding.ndim)])).astype(np.float32)
    return embedding


def crop(level: Level, window: Window, config: WindowConfig) -> Array:
    """Return the window (channel, cells, ...) of an embedding, zero beyond its border."""
    cells = level.cells
    out = np.zeros((len(cells), *[config.cells] * (cells.ndim - 1)), np.float32)
    first = [a - s for a, s in zip(window.start, level.start, strict=True)]
    source = tuple(
        slice(max(a, 0), max(0, min(a + config.cells, n))) for a, n in zip(first, cells.shape[1:], strict=True)
    )
    target = tuple(
        slice(s.start - a, s.start - a + max(0, s.stop - s.start)) for s, a in zip(source, first, strict=True)
    )
    out[:, *target] = cells[:, *source]
    return out


def tokens_of(
    prompt: Prompt, window: Window, n: int, zoom: float, config: WindowConfig
) -> tuple[Array, NDArray[np.int64]]:
    """Return `n` tokens: coordinates (n, ndim) in window pixels, in array order, and their labels, padded with -1."""
    ndim = len(window.start)
    coords = np.zeros((n, ndim), np.float32)
    labels = np.full(n, PADDING, np.int64)
    points = [prompt.points.reshape(-1, ndim)]
    marks = [*prompt.point_labels]
    if prompt.box is not None:
        points.append(prompt.box.T - 0.5)  # corners in the coordinates of pixel centres
        marks += [BOX_START, BOX_STOP]
    every = np.concatenate(points)
    origin = np.asarray(window.start) * config.stride * window.pool
    coords[: len(every)] = ((every + 0.5) * zoom - origin) / window.pool - 0.5
    labels[: len(marks)] = marks
    return coords, labels


def mask_prompt(prompt: Prompt, window: Window, zoom: float, config: WindowConfig) -> Array:
    """Return the coarse mask as logits (*window): 1 on the object, -1 elsewhere, 0 between; all 0 without one."""
    shape = (config.logits,) * len(window.start)
    if prompt.coarse is None:
        return np.zeros(shape, np.float32)
    pitch = window.pool * config.pitch / zoom  # image pixels per logit
    padded = np.pad(prompt.coarse.pixels, 1).astype(np.float32)
    start = tuple(w * UPSCALING * pitch - (s - 1) for w, s in zip(window.start, prompt.coarse.start, strict=True))
    return resample(padded, shape, start, (pitch,) * len(shape)) * 2 - 1


def in_image(
    parts: list[tuple[list[int], Array, Array]],
    windows: list[Window],
    prompts: Prompts,
    zoom: float,
    config: WindowConfig,
) -> Masks:
    """Return decoded windows as masks in pixels of the image, in the order of the prompts."""
    masks, ids, scores, stability = [], [], [], []
    rows = [row for chunk, logits, iou in parts for row in zip(chunk, logits, iou, strict=True)]
    for i, logits, iou in sorted(rows, key=lambda row: row[0]):
        mask = threshold(logits, windows[i], zoom, config, prompts.shape)
        if mask.area:
            masks.append(mask)
            ids.append(prompts.items[i].id)
            scores.append(iou)
            stability.append(stability_of(logits))
    return Masks(
        tuple(masks),
        np.array(ids, np.int64),
        np.array(scores, np.float32),
        np.array(stability, np.float32),
        np.zeros(len(masks), np.bool_),
    )


def threshold(logits: Array, window: Window, zoom: float, config: WindowConfig, shape: tuple[int, ...]) -> Mask:
    """Return the pixels of the image where a window's logits are positive."""
    pitch = window.pool * config.pitch / zoom  # image pixels per logit
    corner = [w * UPSCALING * pitch for w in window.start]  # image pixels
    start = tuple(max(0, int(np.floor(c))) for c in corner)
    stop = tuple(min(n, int(np.ceil(c + config.logits * pitch))) for n, c in zip(shape, corner, strict=True))
    size = tuple(max(0, b - a) for a, b in zip(start, stop, strict=True))
    first = tuple((a - c) / pitch for a, c in zip(start, corner, strict=True))
    return Mask(start, resample(logits, size, first, (1 / pitch,) * len(size)) > 0).trimmed()


def stability_of(logits: Array) -> float:
    """Return the IoU of the masks at thresholds `STABILITY_OFFSET` above and below 0."""
    return float((logits > STABILITY_OFFSET).sum() / max(1, (logits > -STABILITY_OFFSET).sum()))


def n_points(prompt: Prompt, config: WindowConfig) -> int:
    """Return the number of points that a prompt is padded to."""
    return max(config.points, len(prompt.points))


def chunks_by_tokens(members: list[int], prompts: tuple[Prompt, ...], config: WindowConfig) -> Iterator[list[int]]:
    """Yield `members` in chunks of one number of points: padding is attended to, so it may not depend on others."""
    for n in sorted({n_points(prompts[i], config) for i in members}):
        yield from chunks([i for i in members if n_points(prompts[i], config) == n], config.chunk)


def chunks(items: list[int], size: int) -> Iterator[list[int]]:
    """Yield `items` in lists of at most `size`."""
    for i in range(0, len(items), size):
        yield items[i : i + size]
