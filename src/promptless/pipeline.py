"""The main story: an image in, its objects out."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptless import __version__, stitch
from promptless import labels as label_images
from promptless.config import ProposalConfig
from promptless.embeddings import Embeddings
from promptless.image import Image, Shape
from promptless.io.hashes import sha256
from promptless.masks import Masks
from promptless.model import ImageEmbedding, Model
from promptless.normalise import intensity_range, normalise
from promptless.prompts import Prompt, Prompts
from promptless.propose import propose
from promptless.registry import load, model_hash
from promptless.resample import resample
from promptless.result import Segmentation
from promptless.tiles import Tile, round_up, tiles
from promptless.windows import decode

TILE, HALO = 1024, 128
GLANCE, FEW = 256, 5
"""Pixels per side from which the size of objects is judged, and how many of them it takes."""
ZOOMS = (0.1, 8.0)
"""How far an image's pixel size may be from the model's before it is doubted."""

Progress = Callable[[int, int], None]
T = TypeVar("T")


def segment(
    source: str | Path | NDArray[np.generic] | Image,
    model: str | Path | Model = "nuclei",
    *,
    channel: int | None = None,
    mpp: float | None = None,
    min_score: float | None = None,
    tile: int = TILE,
    halo: int = HALO,
    embeddings: Embeddings | None = None,
    progress: Progress = lambda done, total: None,
) -> Segmentation:
    """Find and outline every object in an image.

    `source` is a file, an array (y, x) or (y, x, colour), or an `Image`. `model` is the name of one that
    ships, a model folder, or a model from `promptless.load`, which saves time over many images.
    `channel` (from 0) takes one channel; without it colours are seen as colours. `mpp` is the size of a
    pixel in micrometres, and overrides the file's. Where it is known, the image is brought to the model's
    pixel size; where it is not, an image of very small objects is looked at doubled. Objects scored below
    `min_score` are left out (by default the model's own threshold).
    `tile` and `halo` (pixels per side, of the model where the pixel size is known) bound the memory.
    `embeddings` keeps what the encoder saw, for edits. `progress(done, total)` is told of every tile.
    """
    arguments = {"channel": channel, "mpp": mpp, "min_score": min_score, "tile": tile, "halo": halo}
    model, steps = load(model) if isinstance(model, str | Path) else model, Steps()
    empty, view = begun(source, model, arguments, steps)
    cuts = view.tiles(tile, halo)
    found: list[Masks] = []
    asked: list[Prompt] = []
    for done, cut in enumerate(cuts):
        masks, questions = segment_tile(view, cut, model, empty.manifest["arguments"]["min_score"], embeddings, steps)
        found.append(replace(masks, ids=np.arange(len(asked), len(asked) + len(masks))))
        asked += questions
        progress(done + 1, len(cuts))
    with steps.timed("stitch"):
        labels, masks = label_images.paint(Masks.concatenate(found), view.image.shape)
    prompts = Prompts(
        view.image.shape, tuple(replace(asked[i], id=number) for number, i in enumerate(masks.ids, start=1))
    )
    masks = replace(masks, ids=np.arange(1, len(masks) + 1))
    record = empty.manifest | {"seconds": steps.rounded(), "prompts": prompts.digests()}
    return Segmentation(view.image, labels, masks, prompts, record)


def prompt(
    source: str | Path | NDArray[np.generic] | Image,
    model: str | Path | Model = "nuclei",
    *,
    channel: int | None = None,
    mpp: float | None = None,
    tile: int = TILE,
    halo: int = HALO,
    progress: Progress = lambda done, total: None,
) -> Prompts:
    """Find a prompt for every object in an image, and decode none; arguments as for `segment`."""
    arguments = {"channel": channel, "mpp": mpp, "min_score": None, "tile": tile, "halo": halo}
    model, steps = load(model) if isinstance(model, str | Path) else model, Steps()
    _, view = begun(source, model, arguments, steps)
    found: list[Prompt] = []
    cuts = view.tiles(tile, halo)
    for done, cut in enumerate(cuts):
        proposed, _ = proposals(view, cut, model, None, steps)
        moved = [p.moved(cut.offset) for p in proposed.items]
        found += [p for p in moved if p.coarse is not None and cut.owns(p.coarse.reference)]
        progress(done + 1, len(cuts))
    return Prompts(view.image.shape, tuple(replace(p, id=number) for number, p in enumerate(found, start=1)))


def begun(
    source: str | Path | NDArray[np.generic] | Image, model: Model, arguments: dict[str, Any], steps: Steps
) -> tuple[Segmentation, View]:
    """Return a segmentation of an image that has no object yet, and how the model looks at the image."""
    with steps.timed("read"):
        image = opened(source, arguments["channel"], arguments["mpp"])
    with steps.timed("glance"):
        view = View.of(image, model)
    threshold = model.config.min_score if arguments["min_score"] is None else arguments["min_score"]
    if not 0 <= threshold <= 1:
        raise ValueError(f"min_score is {threshold}; scores lie between 0 and 1")
    record = manifest(model, view, arguments | {"min_score": threshold}, steps) | {"prompts": {}}
    if isinstance(source, str | Path):
        record["input"] = {"name": Path(source).name, "sha256": sha256(Path(source))}
    return Segmentation(image, np.zeros(image.shape, np.int32), Masks(), Prompts(image.shape), record), view


def segment_tile(
    view: View, tile: Tile, model: Model, min_score: float, embeddings: Embeddings | None, steps: Steps
) -> tuple[Masks, list[Prompt]]:
    """Return the objects that a tile owns, in coordinates of the image, and the prompt of each."""
    prompts, embedding = proposals(view, tile, model, embeddings, steps)
    with steps.timed("decode"):
        masks = decode(model, embedding.features, prompts, view.zoom)
    with steps.timed("assemble"):
        masks = stitch.owned(masks.take(masks.scores >= min_score), tile, view.image.shape)
    by_id = {prompt.id: prompt for prompt in prompts.items}
    return masks, [by_id[i].moved(tile.offset) for i in masks.ids]


def proposals(
    view: View, tile: Tile, model: Model, embeddings: Embeddings | None, steps: Steps
) -> tuple[Prompts, ImageEmbedding]:
    """Return prompts for the objects that reach into a tile's core, in its coordinates, and the tile's embedding."""
    with steps.timed("encode"):
        embedding = encode(view, tile, model)
        if embeddings is not None:
            embeddings.save(view.key(model), tile, embedding.features)
    with steps.timed("propose"):
        prompts = in_pixels(propose(embedding.maps, model.config.proposals), tile.shape, view.zoom)
        return near_core(prompts, tile), embedding


@dataclass(frozen=True)
class View:
    """An image as a model looks at it: its intensity range, its zoom, and the grid that tiles begin on."""

    image: Image
    low: float
    high: float
    zoom: float = 1.0  # model pixels per image pixel
    align: int = 1  # image pixels
    seen: ImageEmbedding | None = None  # of the whole image, where a glance took it all in

    def in_image(self, pixels: int) -> tuple[int, ...]:
        """Return a length in model pixels as whole pixels of the image, once per axis."""
        return each(self.image, round(pixels / self.zoom) or min(pixels, 1))

    def tiles(self, tile: int, halo: int) -> list[Tile]:
        """Return the tiles of the image; `tile` and `halo` are model pixels."""
        return list(tiles(self.image.shape, self.in_image(tile), self.in_image(halo), self.align))

    def key(self, model: Model) -> str:
        """Return what stands for the image, the model and how it looks at it."""
        return f"{model_hash(model.config)} {self.pixels} {self.image.data.shape} {self.low} {self.high} {self.zoom}"

    @cached_property
    def pixels(self) -> str:
        """A hash of the image's pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.image.data).data).hexdigest()

    @classmethod
    def recorded(cls, segmentation: Segmentation, model: Model) -> View:
        """Return how `model` looked at an image when it was segmented, as the manifest says."""
        record = segmentation.manifest
        if record["model"]["hash"] != model_hash(model.config):
            raise ValueError(
                f"the result was made by {record['model']['name']} {record['model']['version']}, whose files are not "
                f"those of {model.config.name} {model.config.version}; edit with that model, or segment again"
            )
        low, high = record["image"]["intensity_range"]
        zoom = record["image"]["zoom"]
        return cls(segmentation.image, low, high, zoom, model.config.align if zoom == 1 else 1)

    @classmethod
    def of(cls, image: Image, model: Model) -> View:
        """Return how `model` looks at `image`, refusing what it was not made for."""
        kind = model.config.kind
        if len(image.shape) != len(kind.axes):
            raise ValueError(
                f"the model {model.config.name!r} is for {len(kind.axes)} axes ({kind.axes}), "
                f"but the image has {len(image.shape)}: {image.shape}"
            )
        if len(image.data) not in (1, 3):
            raise ValueError(
                f"the image has {len(image.data)} channels; choose one with channel (from 0 to {len(image.data) - 1})"
            )
        view = cls(image, *intensity_range(image.data), 1.0, model.config.align)
        if image.spacing is None:
            return glanced_at(view, model)
        zoom = float(np.mean(image.spacing)) / kind.pixel_size
        if not ZOOMS[0] <= zoom <= ZOOMS[1]:
            raise ValueError(
                f"a pixel of {zoom * kind.pixel_size:g} {image.unit} is {zoom:g} times the {kind.pixel_size:g} um that "
                f"{model.config.name!r} expects, beyond {ZOOMS[0]:g} to {ZOOMS[1]:g}; give the true size with mpp"
            )
        return view if zoom == 1 else replace(view, zoom=zoom, align=1)


def glanced_at(view: View, model: Model) -> View:
    """Return the view, doubled where the objects in the middle of the image are too small to outline them well."""
    limit = model.config.kind.small_px
    if not limit:
        return view
    middle = tuple(slice(max(0, (n - GLANCE) // 2), min(n, (n + GLANCE) // 2)) for n in view.image.shape)
    embedding = encode(view, Tile(middle, middle), model)
    if seem_small(embedding, model.config.proposals, limit):
        return replace(view, zoom=2.0, align=1)
    return replace(view, seen=embedding) if middle == whole(view.image) else view


def seem_small(embedding: ImageEmbedding, config: ProposalConfig, limit: float) -> bool:
    """Return whether the median diameter of what is proposed lies below `limit` pixels."""
    areas = [prompt.coarse.area for prompt in propose(embedding.maps, config).items if prompt.coarse is not None]
    return len(areas) >= FEW and 2 * np.sqrt(np.median(areas) / np.pi) < limit


def whole(image: Image) -> tuple[slice, ...]:
    """Return the region that is the whole image."""
    return tuple(slice(0, n) for n in image.shape)


def encode(view: View, tile: Tile, model: Model) -> ImageEmbedding:
    """Return the embedding of a tile at the model's pixel size; what padding added to the maps is cut off."""
    if view.seen is not None and tile.outer == whole(view.image):
        return view.seen
    pixels = normalise(view.image.data[:, *tile.outer], view.low, view.high)
    size = tuple(max(1, round(n * view.zoom)) for n in tile.shape)
    if view.zoom != 1:
        pixels = resample(pixels, size, (0.0,) * len(size), (1 / view.zoom,) * len(size))
    padding = [(0, round_up(n, model.config.pad) - n) for n in size]
    embedding = model.encode(np.pad(pixels, [(0, 0), *padding], mode="symmetric"))
    return embedding._replace(maps=embedding.maps[:, *(slice(n) for n in size)])


def in_pixels(prompts: Prompts, shape: Shape, zoom: float) -> Prompts:
    """Return prompts found in model pixels in pixels of the image, `shape` being the tile's."""
    if zoom == 1:
        return prompts
    return Prompts(shape, tuple(prompt.zoomed(1 / zoom, shape) for prompt in prompts.items))


def near_core(prompts: Prompts, tile: Tile) -> Prompts:
    """Return the prompts whose box reaches into the tile's core; other tiles answer the others."""
    starts = [core.start - outer.start for core, outer in zip(tile.core, tile.outer, strict=True)]
    stops = [core.stop - outer.start for core, outer in zip(tile.core, tile.outer, strict=True)]
    inside = [p for p in prompts.items if (p.extent[:, 1] > starts).all() and (p.extent[:, 0] < stops).all()]
    return Prompts(prompts.shape, tuple(inside))


def opened(source: str | Path | NDArray[np.generic] | Image, channel: int | None, mpp: float | None) -> Image:
    """Return the image that is meant, with the channel and the pixel size that the caller chose."""
    if isinstance(source, str | Path):
        from promptless.io.readers import read

        source = read(Path(source))
    image = source if isinstance(source, Image) else Image.from_array(source)
    if channel is not None:
        image = image.channel(channel)
    return image if mpp is None else replace(image, spacing=each(image, mpp), unit="um")


def each(image: Image, value: T) -> tuple[T, ...]:
    """Return `value` once per spatial axis."""
    return (value,) * len(image.shape)


@dataclass
class Steps:
    """Seconds spent in each step."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time that the block takes to `step`."""
        began = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - began

    def rounded(self) -> dict[str, float]:
        """Return the seconds as they are written down."""
        return {step: round(value, 4) for step, value in self.seconds.items()}


def manifest(model: Model, view: View, arguments: dict[str, Any], steps: Steps) -> dict[str, Any]:
    """Return the record of a run: what it was made with, and how long each step took."""
    packages = ("numpy", "scipy", "scikit-image", "onnxruntime")
    versions = {"promptless": __version__, "python": platform.python_version()}
    return {
        "versions": versions | {name: metadata.version(name) for name in packages},
        "model": {"name": model.config.name, "version": model.config.version, "hash": model_hash(model.config)},
        "arguments": arguments,
        "image": {
            "shape": list(view.image.data.shape),
            "dtype": str(view.image.data.dtype),
            "spacing": None if view.image.spacing is None else list(view.image.spacing),
            "unit": view.image.unit,
            "intensity_range": [view.low, view.high],
            "zoom": view.zoom,
        },
        "tiles": len(view.tiles(arguments["tile"], arguments["halo"])),
        "seconds": steps.rounded(),
    }
