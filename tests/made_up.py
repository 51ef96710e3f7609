"""Images, objects and models made by hand, small enough to check by eye."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from promptless.config import ModelConfig, PointsConfig, ProposalConfig, WindowConfig
from promptless.image import Image
from promptless.labels import as_masks
from promptless.masks import Mask, Masks
from promptless.model import Decoded, ImageEmbedding, Undecoding, undecoded
from promptless.prompts import Prompt, Prompts
from promptless.result import Segmentation

Disc = tuple[int, int, int]  # y, x, radius

NULL = ModelConfig(
    name="null",
    version="1",
    licence="CC0-1.0",
    pad=8,
    align=16,
    window=WindowConfig(stride=4, cells=8, chunk=4),
    proposals=ProposalConfig(),
)


NULL_SEMANTIC = replace(NULL, output="semantic", points=PointsConfig(positives=4, negatives=4))


class NullModel:
    """A model without weights: objects are what is brighter than the middle, and a decoded mask is the mask prompt.

    Each pixel's answer depends on that pixel alone, so tiles must not matter at all.
    """

    def __init__(self, config: ModelConfig = NULL, iou: float = 0.9) -> None:
        self.config, self.iou = config, iou

    def encode(self, image):
        logits = np.where(image.mean(axis=0) > 0.5, 10, -10).astype(np.float32)
        grid = tuple(n // self.config.window.stride for n in logits.shape)
        return ImageEmbedding(np.zeros((2, *grid), np.float32), np.stack([logits, logits]))

    def decode(self, windows, point_coords, point_labels, mask_logits, has_mask):
        logits = np.where(has_mask[:, None, None, None], 8 * mask_logits, -8).astype(np.float32)
        return Decoded(logits, np.full((len(windows), 1), self.iou, np.float32))


class DirectModel(NullModel, Undecoding):
    """`NullModel` that decodes nothing: an object's quality is how bright it is."""

    decode = Undecoding.decode

    def __init__(self) -> None:
        super().__init__(replace(NULL, name="direct", output="direct"))

    def encode(self, image):
        maps = super().encode(image).maps
        brightness = np.clip(image.mean(axis=0), 0.01, 0.99)
        return undecoded(np.concatenate([maps, np.log(brightness / (1 - brightness))[None]]).astype(np.float32))


class ClassModel(NullModel):
    """`NullModel` that also tells objects brighter than 0.9 from those that are not."""

    def __init__(self) -> None:
        super().__init__(replace(NULL, classes=("dim", "bright")))

    def encode(self, image):
        seen, brightness = super().encode(image), image.mean(axis=0)
        kinds = [brightness < 0.5, (brightness > 0.5) & (brightness <= 0.9), brightness > 0.9]
        return seen._replace(maps=np.concatenate([seen.maps, 10 * np.stack(kinds).astype(np.float32)]))


def bright_and_dim() -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Return a grey image (uint8) of nine discs, every third of them bright; its labels; the class of each."""
    places = [(16 + 32 * (i // 3), 18 + 40 * (i % 3), 5 + i % 4) for i in range(9)]
    labels = discs((96, 120), places)
    classes = {number: 2 if number % 3 == 0 else 1 for number in range(1, 10)}
    levels = np.array([20, *(230 if value == 2 else 150 for value in classes.values())], np.uint8)
    return levels[labels], labels, classes


def discs(shape: tuple[int, int], places: Iterable[Disc]) -> np.ndarray:
    """Return a label image with disc i of `places` labelled i + 1."""
    labels = np.zeros(shape, np.int32)
    for number, place in enumerate(places, start=1):
        region, pixels = disc(shape, place)
        labels[region][pixels] = number
    return labels


def disc(shape: tuple[int, int], place: Disc) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return the region of an image of `shape` that a disc may reach, and which of its pixels it covers."""
    *centre, radius = place
    region = tuple(
        slice(max(0, c - radius), max(0, min(n, c + radius + 1))) for c, n in zip(centre, shape, strict=True)
    )
    y, x = (np.arange(part.start, part.stop) - c for part, c in zip(region, centre, strict=True))
    return region, y[:, None] ** 2 + x**2 <= radius**2


def scattered(shape: tuple[int, int], radii: tuple[int, int], n: int, rng: np.random.Generator, gap: int = 5):
    """Return a label image of up to `n` discs, at least `gap` pixels apart, some of them cut by the border."""
    labels, number = np.zeros(shape, np.int32), 0
    for _ in range(20 * n):
        y, x, radius = (
            int(rng.integers(shape[0])),
            int(rng.integers(shape[1])),
            int(rng.integers(radii[0], radii[1] + 1)),
        )
        around, near = disc(shape, (y, x, radius + gap))
        if number < n and not labels[around][near].any():
            number += 1
            region, pixels = disc(shape, (y, x, radius))
            labels[region][pixels] = number
    return labels


def picture(labels: np.ndarray) -> np.ndarray:
    """Return the grey image (uint8) that shows the objects of a label image bright on dark."""
    return np.where(labels > 0, 220, 30).astype(np.uint8)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two label images hold the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    one_to_one = len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    return a.shape == b.shape and one_to_one and bool(((a == 0) == (b == 0)).all())


def point(number: int, *at: float) -> Prompt:
    """Return a prompt that is one click at `at`."""
    return Prompt(number, np.array([at], np.float32), np.array([1]))


def rectangle(*sides: tuple[int, int]) -> Mask:
    """Return the full mask with `sides` (start, stop) along each axis."""
    return Mask(tuple(a for a, _ in sides), np.ones(tuple(b - a for a, b in sides), bool))


def masks_of(masks: list[Mask], scores: Iterable[float] | None = None) -> Masks:
    """Return `masks` numbered 0, 1, ... with the scores given, or all 1."""
    n = len(masks)
    marks = np.ones(n, np.float32) if scores is None else np.array(list(scores), np.float32)
    return Masks(tuple(masks), np.arange(n), marks, np.ones(n, np.float32), np.zeros(n, bool))


def in_image(mask: Mask, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask as a bool image of `shape`."""
    image = np.zeros(shape, bool)
    inside = mask.clipped(shape)
    image[inside.region] = inside.pixels
    return image


def of_labels(labels: np.ndarray) -> Segmentation:
    """Return the segmentation that a label image is, without an image, prompts and scores."""
    image = Image(np.zeros((0, *labels.shape), np.uint8))
    return Segmentation(image, labels, as_masks(labels), Prompts(labels.shape))


class NullSemanticModel(NullModel):
    """A semantic model without weights: the mask is what is brighter than the middle, each pixel by itself.

    With a `reach`, points count so many pixels around: a positive adds a square to the mask, a negative takes one.
    """

    def __init__(self, config: ModelConfig = NULL_SEMANTIC, reach: int = 0, sure: float = 10) -> None:
        super().__init__(config)
        self.reach, self.sure, self.asked = reach, sure, []

    def encode(self, image):
        logits = np.where(image.mean(axis=0) > 0.5, self.sure, -self.sure).astype(np.float32)
        height, width = (n // 4 for n in logits.shape)
        cells = logits.reshape(height, 4, width, 4).transpose(1, 3, 0, 2).reshape(16, height, width)
        return ImageEmbedding(cells, logits[None])

    def whole(self, features, point_coords, point_labels):
        self.asked.append((point_coords, point_labels))
        _, height, width = features.shape
        logits = features.reshape(4, 4, height, width).transpose(2, 0, 3, 1).reshape(4 * height, 4 * width).copy()
        for (y, x), label in zip(np.round(point_coords).astype(int), point_labels, strict=True):
            if self.reach and label >= 0:
                around = [slice(max(0, at - self.reach), at + self.reach + 1) for at in (y, x)]
                logits[tuple(around)] = 10 if label else -10
        return logits
