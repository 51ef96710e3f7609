"""SAC's prompt discrimination (arXiv 2401.13220): from the generator's foreground to points labelled 1 and 0.

The paper ablates two rules, "centroid-based" and "direct probability-based", and states neither in detail: what
follows is our reading of both. Points are spread: each is the farthest of a few drawn from those before it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptless.config import PointsConfig
from promptless.labels import objects
from promptless.masks import Mask
from promptless.prompts import BACKGROUND, OBJECT, Points

Array = NDArray[np.float32]
Positions = NDArray[np.float32]
"""Pixels as (n, ndim), in array order."""
TRIES = 8
"""So many pixels are drawn for every point; the one farthest from the points before it is taken."""


def discriminate(probability: Array, config: PointsConfig, rng: np.random.Generator) -> Points:
    """Return the points of one prompt set: positives first, then negatives, never more than `config` says.

    `probability` (*spatial) is that of foreground. What is drawn is drawn from `rng`, so that the same map and the
    same seed give the same points.
    """
    positive, negative = RULES[config.rule](probability, config, rng)
    labels = np.array([OBJECT] * len(positive) + [BACKGROUND] * len(negative), np.int64)
    return Points(np.concatenate([positive, negative]), labels)


def by_centroid(probability: Array, config: PointsConfig, rng: np.random.Generator) -> tuple[Positions, Positions]:
    """Return a positive at the centroid of each component, the largest first, and negatives from all background.

    Where a centroid lies outside its component, the component's pixel nearest to it stands for it.
    """
    foreground = probability > config.threshold
    components = np.asarray(ndimage.label(foreground)[0], np.int32)
    largest = sorted(objects(components).values(), key=lambda mask: (-mask.area, mask.start))[: config.positives]
    positive = np.array([centroid(mask) for mask in largest], np.float32).reshape(-1, probability.ndim)
    return positive, drawn((~foreground).astype(np.float32), config.negatives, rng)


def by_probability(probability: Array, config: PointsConfig, rng: np.random.Generator) -> tuple[Positions, Positions]:
    """Return positives drawn from the foreground, the likelier the higher p, and negatives likewise by 1 - p."""
    foreground = probability > config.threshold
    positive = drawn(np.where(foreground, probability, 0), config.positives, rng)
    return positive, drawn(np.where(foreground, 0, 1 - probability), config.negatives, rng)


def without(probability: Array, config: PointsConfig, rng: np.random.Generator) -> tuple[Positions, Positions]:
    """Return no points: what is left of the prompt is padding (the paper's first ablation, "effect of prompts")."""
    nothing = np.zeros((0, probability.ndim), np.float32)
    return nothing, nothing


RULES: dict[str, Callable[[Array, PointsConfig, np.random.Generator], tuple[Positions, Positions]]] = {
    "centroid": by_centroid,
    "probability": by_probability,
    "none": without,
}
"""How positives and negatives are chosen, by the name that `PointsConfig.rule` has for it."""


def centroid(mask: Mask) -> tuple[float, ...]:
    """Return the pixel of a component (in the image) that is nearest to its centroid, the first of several."""
    pixels = np.argwhere(mask.pixels)
    nearest = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return tuple(float(a) + s for a, s in zip(nearest, mask.start, strict=True))


def drawn(weight: Array, n: int, rng: np.random.Generator) -> Positions:
    """Return up to `n` pixels, well spread, each drawn as often as `weight` (*spatial) says and never where it is 0."""
    possible = np.flatnonzero(weight > 0)
    if not n or not len(possible):
        return np.zeros((0, weight.ndim), np.float32)
    # Waiting times at rates `weight`: in their order, pixels are drawn by weight and without replacement.
    waiting = rng.exponential(size=len(possible)) / weight.ravel()[possible]
    count = min(n * TRIES, len(possible))
    first = np.argpartition(waiting, count - 1)[:count]
    order = first[np.argsort(waiting[first], kind="stable")]
    pixels = np.stack(np.unravel_index(possible[order], weight.shape), axis=1).astype(np.float32)
    return spread(np.array_split(pixels, min(n, len(pixels))))


def spread(choices: list[Positions]) -> Positions:
    """Return one pixel of each group: the one farthest from those taken before (Mitchell's best candidate)."""
    taken = choices[0][:1]
    for pixels in choices[1:]:
        gap = np.linalg.norm(pixels[:, None] - taken[None], axis=2).min(axis=1)
        taken = np.concatenate([taken, pixels[gap.argmax()][None]])
    return taken
