"""SAC's story (arXiv 2401.13220): per tile one set of points and one mask; objects are the parts of the whole mask.

::

    tiles         no larger than the model was trained on
    encode        outer crop -> embedding, and the generator's foreground
    discriminate  foreground -> points labelled 1 and 0; an expert's join them
    decode        embedding + points -> one mask of the tile
    paste         each core's probabilities into one map of the image
    assemble      connected components of it, each scored by its mean probability
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from promptless.classify import class_maps, classified
from promptless.config import ModelConfig
from promptless.discriminate import discriminate
from promptless.image import Shape
from promptless.labels import as_masks
from promptless.masks import Masks
from promptless.model import Array, Model, SemanticModel
from promptless.prompts import USER, Points, Prompt, Prompts
from promptless.propose import sigmoid
from promptless.record import Steps
from promptless.resample import resample
from promptless.result import Segmentation
from promptless.tiles import Region, Tile, tiles
from promptless.view import View, encode

HALO_SHARE = 8
"""Where a model takes images of one size, at most one part in this many of a tile is halo on each side."""
NO_EDITING = (
    "gives one mask from one set of points, so there is no object that a prompt of a file could ask for; "
    "give points of your own instead, which join the automatic ones: --point Y,X and --negative Y,X, "
    "or segment(..., points=Points.of(positive, negative))"
)
"""Why the prompts of a semantic result cannot be edited, and what can be done."""


def segmented(
    empty: Segmentation, view: View, model: Model, points: Points, steps: Steps, progress: Callable[[int, int], None]
) -> Segmentation:
    """Return an image's foreground as a segmentation, from the `empty` one that `pipeline.begun` made.

    `points` (pixels of the image) are an expert's. Each prompt of the result is the whole set of points of a tile, its
    box being what the model saw. Prompts belong to no single object, so their ids go on where the labels end.
    """
    able, arguments = asked_whole(model), empty.manifest["arguments"]
    check_points(points, view.image.shape)
    cuts = cut(view, model.config, arguments["tile"], arguments["halo"])
    probability = np.zeros(view.image.shape, np.float32)
    kinds = np.zeros((model.config.class_maps, *view.image.shape), np.float32)
    prompts: list[Prompt] = []
    for done, tile in enumerate(cuts):
        probability[tile.core], kinds[:, *tile.core], asked = answer_tile(view, tile, able, points, steps)
        prompts.append(prompt(done + 1, asked, points, tile))
        progress(done + 1, len(cuts))
    with steps.timed("assemble"):
        labels, masks = components(probability, arguments["min_score"], model.config.proposals.foreground)
        masks = classified(masks, kinds, 1.0)
    every = Prompts(view.image.shape, tuple(replace(p, id=len(masks) + p.id) for p in prompts))
    record = empty.manifest | {
        "tiles": len(cuts),
        "seconds": steps.rounded(),
        "prompts": every.digests(),
        "points": {"coords": points.coords.tolist(), "labels": points.labels.tolist()},
    }
    return Segmentation(view.image, labels, masks, every, record)


def answer_tile(
    view: View, tile: Tile, model: SemanticModel, points: Points, steps: Steps
) -> tuple[Array, Array, Points]:
    """Return what a tile's core shows, and the points that were asked, in the tile's coordinates.

    That is the probability of foreground (*core), and the logits of background and classes (class, *core).
    """
    with steps.timed("encode"):
        embedding = encode(view, tile, model)
    with steps.timed("discriminate"):
        asked = automatic(embedding.maps, model.config) + reaching(points, tile).zoomed(view.zoom)
    with steps.timed("decode"):
        logits = model.whole(embedding.features, *asked.padded(model.config.points.tokens))
        foreground = sigmoid(core_of(logits, tile, model.config.window.pitch / view.zoom))
        kinds = core_of(class_maps(embedding.maps, model.config), tile, 1 / view.zoom)
        return foreground, kinds, asked.zoomed(1 / view.zoom)


def foreground(view: View, model: Model, tile: int, halo: int) -> Array:
    """Return the probability that each pixel of an image belongs to the mask."""
    able, none, steps = asked_whole(model), Points.of(ndim=len(view.image.shape)), Steps()
    probability = np.zeros(view.image.shape, np.float32)
    for part in cut(view, model.config, tile, halo):
        probability[part.core], _, _ = answer_tile(view, part, able, none, steps)
    return probability


def found(view: View, model: Model, tile: int, halo: int, progress: Callable[[int, int], None]) -> Prompts:
    """Return the automatic points of every tile, decoding none."""
    cuts = cut(view, model.config, tile, halo)
    prompts = []
    for done, part in enumerate(cuts):
        asked = automatic(encode(view, part, model).maps, model.config).zoomed(1 / view.zoom)
        prompts.append(prompt(done + 1, asked, Points.of(ndim=len(view.image.shape)), part))
        progress(done + 1, len(cuts))
    return Prompts(view.image.shape, tuple(prompts))


def given(previous: Segmentation) -> Points:
    """Return the points of an expert's that a semantic result was made with, as its manifest says."""
    record, ndim = previous.manifest["points"], previous.labels.ndim
    return Points(np.array(record["coords"], np.float32).reshape(-1, ndim), np.array(record["labels"], np.int64))


def asked_whole(model: Model) -> SemanticModel:
    """Return a model that can be asked for one mask of all that it sees; raise where it cannot."""
    if not isinstance(model, SemanticModel):
        raise ValueError(
            f"{model.config.name} gives one mask from one set of points, for which an ONNX model has no file; "
            "run it on torch: load(..., runtime='torch')"
        )
    return model


def cut(view: View, config: ModelConfig, tile: int, halo: int) -> list[Tile]:
    """Return tiles of about one size, none larger than the model takes; `tile` and `halo` are model pixels.

    Points and positions count from the borders of what the model sees, so a tile should be as large as the patches
    that it was trained on: `config.input_size` says so, and what is seen at a border reaches further inwards.
    """
    if config.input_size is None:
        size, around = view.in_image(tile), view.in_image(halo)
    else:
        most = int(config.input_size / view.zoom)  # in pixels of the image
        around = tuple(min(n, most // HALO_SHARE) for n in view.in_image(halo))
        size = tuple(max(1, min(n, most - 2 * h)) for n, h in zip(view.in_image(tile), around, strict=True))
    shape = view.image.shape
    even = tuple(n if n <= s + 2 * h else -(-n // -(-n // s)) for n, s, h in zip(shape, size, around, strict=True))
    cuts = list(tiles(shape, even, around))
    if config.input_size is None:
        return cuts
    return [replace(tile, outer=inwards(tile, shape, size, around)) for tile in cuts]


def inwards(tile: Tile, shape: Shape, size: Shape, halo: Shape) -> Region:
    """Return what is seen of a tile: its core in the middle, moved off the borders, and as large as may be."""
    sides = [min(n, s + 2 * h) for n, s, h in zip(shape, size, halo, strict=True)]
    middles = [core.start - (side - core.stop + core.start) // 2 for core, side in zip(tile.core, sides, strict=True)]
    starts = [min(max(0, at), n - side) for at, n, side in zip(middles, shape, sides, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))


def automatic(maps: Array, config: ModelConfig) -> Points:
    """Return the points that the generator's foreground asks with, in model pixels of the tile."""
    return discriminate(sigmoid(maps[0]), config.points, np.random.default_rng(config.points.seed))


def reaching(points: Points, tile: Tile) -> Points:
    """Return the points that lie in what the model sees of a tile, in its coordinates."""
    local = points.moved(tuple(-o for o in tile.offset))
    sides = np.array(tile.shape, np.float32)
    return local.take(np.all((local.coords >= -0.5) & (local.coords <= sides - 0.5), axis=1))


def core_of(logits: Array, tile: Tile, pitch: float) -> Array:
    """Return the core's pixels (..., *core) of a tile's logits, each `pitch` pixels of the image wide."""
    shape = tuple(s.stop - s.start for s in tile.core)
    start = tuple((core.start - first) / pitch for core, first in zip(tile.core, tile.offset, strict=True))
    return resample(logits, shape, start, (1 / pitch,) * len(shape))


def prompt(number: int, asked: Points, points: Points, tile: Tile) -> Prompt:
    """Return all points of a tile as a prompt, in coordinates of the image; an expert's make it the user's."""
    mine = len(reaching(points, tile)) > 0
    box = np.array([(s.start, s.stop) for s in tile.outer], np.float32)
    here = asked.moved(tile.offset)
    automatic_prompt = Prompt(number, here.coords, here.labels, box)
    return replace(automatic_prompt, source=USER, state="edited") if mine else automatic_prompt


def components(probability: Array, min_score: float, foreground: float) -> tuple[NDArray[np.int32], Masks]:
    """Return the connected parts of what is likelier than `foreground` as a label image and as objects.

    A part's score is its mean probability; those below `min_score` are left out. Stability is not known (NaN).
    """
    parts, n = ndimage.label(probability > foreground)
    scores = np.asarray(ndimage.mean(probability, parts, np.arange(1, n + 1)), np.float32).reshape(n)
    kept = scores >= min_score
    numbers = np.where(kept, np.cumsum(kept), 0)
    labels = np.concatenate([[0], numbers]).astype(np.int32)[parts]
    return labels, replace(as_masks(labels), scores=scores[kept])


def check_points(points: Points, shape: Shape) -> None:
    """Raise where a point of an expert's lies outside the image."""
    if points.coords.shape[1] != len(shape):
        raise ValueError(f"the points have {points.coords.shape[1]} coordinates, but the image has {len(shape)} axes")
    inside = ((points.coords >= -0.5) & (points.coords <= np.array(shape) - 0.5)).all(axis=1)
    if not inside.all():
        at = tuple(points.coords[~inside][0].tolist())
        size = " x ".join(map(str, shape))
        raise ValueError(f"the point {at} is not in the image of {size} pixels; give it as y,x from 0")
