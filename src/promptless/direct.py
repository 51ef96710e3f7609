"""Objects in one pass: of a model that decodes nothing, the masks that its prompts begin with are the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.classify import in_maps
from promptless.masks import Mask, Masks
from promptless.prompts import Prompts
from promptless.propose import sigmoid
from promptless.windows import STABILITY_OFFSET

Array = NDArray[np.float32]


def taken(prompts: Prompts, maps: Array, zoom: float, threshold: float) -> Masks:
    """Return the coarse mask of each prompt as its object, in pixels of the prompts.

    `maps` (3, *spatial) are logits in model pixels, `zoom` of them per pixel: foreground, interior distance, quality.
    An object's score is the mean quality inside it, its stability the share of it that would stay if the foreground's
    `threshold` were higher by `STABILITY_OFFSET`.
    """
    items = [prompt for prompt in prompts.items if prompt.coarse is not None]
    masks = tuple(prompt.coarse for prompt in items if prompt.coarse is not None)
    seen = [mask if zoom == 1 else in_maps(mask, maps.shape[1:], zoom) for mask in masks]
    quality, sure = sigmoid(maps[2]), maps[0] > logit(threshold) + STABILITY_OFFSET
    return Masks(
        masks,
        np.array([prompt.id for prompt in items], np.int64),
        np.array([inside(quality, mask).mean() for mask in seen], np.float32),
        np.array([inside(sure, mask).mean() for mask in seen], np.float32),
        np.zeros(len(masks), np.bool_),
    )


def inside(values: NDArray[Any], mask: Mask) -> NDArray[Any]:
    """Return the values (pixel,) of a map inside an object."""
    return values[mask.region][mask.pixels]


def logit(probability: float) -> float:
    """Return the logit of a probability."""
    return float(np.log(probability / (1 - probability)))
