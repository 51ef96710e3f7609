"""The main story: an image in, its objects out."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptless import __version__, stitch
from promptless import labels as label_images
from promptless.errors import UnreadableImageError, VolumeError
from promptless.image import Image, Shape
from promptless.masks import Masks
from promptless.model import ImageEmbedding, Model
from promptless.normalise import intensity_range, normalise
from promptless.prompts import Prompt, Prompts
from promptless.propose import propose
from promptless.registry import fitting, load, model_hash, sha256
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
    channel: int | str | None = None,
    page: int | None = None,
    mpp: float | None = None,
    min_score: float | None = None,
    tile: int = TILE,
    halo: int = HALO,
    progress: Progress = lambda done, total: None,
) -> Segmentation:
    """Find and outline every object in an image.

    `source` is a file, an array (y, x) or (y, x, colour), or an `Image`. `model` is the name of one that
    ships, a model folder, or a model from `promptless.load`, which saves time over many images.
    `channel` (from 0, or a name) takes one channel, and "rgb" takes three of a file as colours; `page`
    (from 0) takes one plane of a file of several. `mpp` is the size of a pixel in micrometres, and
    overrides the file's. Where it is known, the image is brought to the model's pixel size; where it is
    not, an image of very small objects is looked at doubled. Objects scored below `min_score` are left
    out (by default the model's own threshold).
    `tile` and `halo` (pixels per side, of the model where the pixel size is known) bound the memory.
    `progress(done, total)` is told of every tile.
    """
    steps = Steps()
    with steps.timed("read"):
        image = opened(source, page, channel, mpp)
        model = load(model) if isinstance(model, str | Path) else model
    with steps.timed("glance"):
        view = View.of(image, model)
    threshold = model.config.min_score if min_score is None else min_score
    if not 0 <= threshold <= 1:
        raise ValueError(f"min_score is {threshold}; scores lie between 0 and 1")
    cuts = list(tiles(image.shape, view.in_image(tile), view.in_image(halo), view.align))
    found: list[Masks] = []
    asked: list[Prompt] = []
    for done, cut in enumerate(cuts):
        masks, questions = segment_tile(view, cut, model, threshold, steps)
        found.append(replace(masks, ids=np.arange(len(asked), len(asked) + len(masks))))
        asked += questions
        progress(done + 1, len(cuts))
    with steps.timed("stitch"):
        labels, masks = label_images.paint(Masks.concatenate(found), image.shape)
    prompts = tuple(replace(asked[i], id=number) for number, i in enumerate(masks.ids, start=1))
    masks = replace(masks, ids=np.arange(1, len(masks) + 1))
    arguments = {"channel": channel, "page": page, "mpp": mpp, "min_score": threshold, "tile": tile, "halo": halo}
    record = manifest(model, view, arguments, len(cuts), steps)
    if isinstance(source, str | Path):
        record["input"] = {"name": Path(source).name, "sha256": sha256(Path(source))}
    return Segmentation(image, labels, masks, Prompts(image.shape, prompts), record)


def segment_tile(view: View, tile: Tile, model: Model, min_score: float, steps: Steps) -> tuple[Masks, list[Prompt]]:
    """Return the objects that a tile owns, in coordinates of the image, and the prompt of each."""
    with steps.timed("encode"):
        embedding = encode(view, tile, model)
    with steps.timed("propose"):
        prompts = in_pixels(propose(embedding.maps, model.config.proposals), tile.shape, view.zoom)
        prompts = near_core(prompts, tile)
    with steps.timed("decode"):
        masks = decode(model, embedding.features, prompts, view.zoom)
    with steps.timed("assemble"):
        masks = stitch.owned(masks.take(masks.scores >= min_score), tile, view.image.shape)
    by_id = {prompt.id: prompt for prompt in prompts.items}
    return masks, [by_id[i].moved(tile.offset) for i in masks.ids]


@dataclass(frozen=True)
class View:
    """An image as a model looks at it: its intensity range, its zoom, and the grid that tiles begin on."""

    image: Image
    low: float
    high: float
    zoom: float = 1.0  # model pixels per image pixel
    align: int = 1  # image pixels

    def in_image(self, pixels: int) -> tuple[int, ...]:
        """Return a length in model pixels as whole pixels of the image, once per axis."""
        return each(self.image, round(pixels / self.zoom) or min(pixels, 1))

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
            return replace(view, zoom=2.0, align=1) if seems_small(view, model) else view
        zoom = float(np.mean(image.spacing)) / kind.pixel_size
        if not ZOOMS[0] <= zoom <= ZOOMS[1]:
            raise ValueError(
                f"a pixel of {zoom * kind.pixel_size:g} {image.unit} is {zoom:g} times the {kind.pixel_size:g} um that "
                f"{model.config.name!r} expects, beyond {ZOOMS[0]:g} to {ZOOMS[1]:g}; give the true size with mpp"
            )
        return view if zoom == 1 else replace(view, zoom=zoom, align=1)


def seems_small(view: View, model: Model) -> bool:
    """Return whether the objects in the middle of an image are too small for the model to outline them well."""
    limit = model.config.kind.small_px
    if not limit:
        return False
    middle = tuple(slice(max(0, (n - GLANCE) // 2), min(n, (n + GLANCE) // 2)) for n in view.image.shape)
    prompts = propose(encode(view, Tile(middle, middle), model).maps, model.config.proposals)
    areas = [prompt.coarse.area for prompt in prompts.items if prompt.coarse is not None]
    return len(areas) >= FEW and 2 * np.sqrt(np.median(areas) / np.pi) < limit


def encode(view: View, tile: Tile, model: Model) -> ImageEmbedding:
    """Return the embedding of a tile at the model's pixel size; what padding added to the maps is cut off."""
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


def opened(
    source: str | Path | NDArray[np.generic] | Image, page: int | None, channel: int | str | None, mpp: float | None
) -> Image:
    """Return the image that is meant, with the page, the channel and the pixel size that the caller chose."""
    if isinstance(source, str | Path):
        image = from_file(Path(source), page, channel)
    elif page is not None:
        raise ValueError(f"page {page} was asked for, but only files have pages; pass the plane that is meant")
    else:
        image = source if isinstance(source, Image) else Image.from_array(source)
        image = image if channel is None else image.channel(channel)
    return image if mpp is None else replace(image, spacing=each(image, mpp), unit="um")


def from_file(path: Path, page: int | None, channel: int | str | None) -> Image:
    """Read an image file; where it is a volume, say which models are for volumes."""
    from promptless.io.readers import read

    try:
        return read(path, page, channel)
    except VolumeError as error:
        models = ", ".join(fitting(3)) or "none that ships"
        raise UnreadableImageError(f"{error}; models for volumes: {models}") from error


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


def manifest(model: Model, view: View, arguments: dict[str, Any], n_tiles: int, steps: Steps) -> dict[str, Any]:
    """Return the record of a run: what it was made with, and how long each step took."""
    origin = view.image.origin
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
            **asdict(origin),
            "channel_names": list(origin.channel_names),
            "intensity_range": [view.low, view.high],
            "zoom": view.zoom,
        },
        "tiles": n_tiles,
        "seconds": {step: round(value, 4) for step, value in steps.seconds.items()},
    }
