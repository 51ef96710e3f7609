"""Which class an object is of: what the prompt generator's class maps say inside its mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from promptless.config import ModelConfig
from promptless.image import Shape
from promptless.masks import Mask, Masks

Array = NDArray[np.float32]


def class_maps(maps: Array, config: ModelConfig) -> Array:
    """Return the logits (1 + classes, *spatial) of background and classes among a generator's `maps`.

    They are the last ones; nothing (0, *spatial) where the model tells no classes.
    """
    n = len(config.classes) + 1 if config.classes else 0
    return maps[len(maps) - n :]


def classified(masks: Masks, logits: Array, zoom: float) -> Masks:
    """Return the objects with the class that is most probable inside each, background left out.

    `logits` are `class_maps` in model pixels, `zoom` of them per pixel of `masks`. The probability is the mean
    over the object, divided among the classes.
    """
    if not len(logits):
        return masks
    shares = [share(mask, logits, zoom) for mask in masks]
    return replace(
        masks,
        classes=np.array([1 + s.argmax() for s in shares], np.int64),
        class_probabilities=np.array([s.max() for s in shares], np.float32),
    )


def share(mask: Mask, logits: Array, zoom: float) -> Array:
    """Return how probable each class is inside an object (classes,); they add up to 1."""
    seen = mask if zoom == 1 else in_maps(mask, logits.shape[1:], zoom)
    mean = softmax(logits[:, *seen.region][:, seen.pixels]).mean(axis=1)[1:]
    return np.asarray(mean / max(mean.sum(), np.finfo(np.float32).tiny), np.float32)


def in_maps(mask: Mask, shape: Shape, zoom: float) -> Mask:
    """Return an object in maps of `shape`, of at least one pixel."""
    seen = mask.zoomed(zoom, shape).clipped(shape)
    if seen.area:
        return seen
    middle = tuple(min(int((m + 0.5) * zoom), n - 1) for m, n in zip(mask.reference, shape, strict=True))
    return Mask(middle, np.ones((1,) * len(shape), np.bool_))


def softmax(logits: Array) -> Array:
    """Return probabilities (class, pixel) that add up to 1 over the classes."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0), np.float32)
