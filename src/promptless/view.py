"""How a model looks at an image: intensity range, zoom, tiles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from promptless import direct
from promptless.config import SEMANTIC, ModelConfig
from promptless.errors import UnreadableImageError
from promptless.image import Image
from promptless.model import ImageEmbedding, Model
from promptless.normalise import intensity_range, normalise
from promptless.prompts import Prompts
from promptless.propose import propose
from promptless.registry import model_hash
from promptless.resample import resample
from promptless.result import Segmentation
from promptless.tiles import Region, Tile, middle, round_up, tiles

GLANCE, FEW = 256, 5
"""Pixels per side, of the model and of the image at least, from which sizes and scores of objects are judged, and of
how many objects sizes are."""
TILE, HALO = 1024, 128
"""Model pixels per side that are segmented at once, and around them on each side, where the model takes any size."""
ZOOMS = (0.1, 8.0)
"""How far an image's pixel size may be from the model's before it is doubted."""

UM = {"nm": 1e-3, "um": 1.0, "mm": 1e3}
"""Micrometres per unit."""

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """The embedding of a part of an image, and what is proposed there."""

    region: Region
    embedding: ImageEmbedding
    proposed: Prompts


@dataclass(frozen=True)
class View:
    """An image as a model looks at it: its intensity range, its zoom, and the grid that tiles begin on."""

    image: Image
    low: float
    high: float
    zoom: float = 1.0  # model pixels per image pixel
    align: int = 1  # image pixels
    seen: Seen | None = None  # what a glance took in

    def in_image(self, pixels: int) -> tuple[int, ...]:
        """Return a length in model pixels as whole pixels of the image, rounded down, once per axis."""
        return each(self.image, int(pixels / self.zoom) or min(pixels, 1))

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
                f"those of {model.config.name} {model.config.version}; edit with that model "
                "(--model PATH), or segment again (--overwrite)"
            )
        low, high = record["image"]["intensity_range"]
        zoom = record["image"]["zoom"]
        return cls(segmentation.image, low, high, zoom, model.config.align if zoom == 1 else 1)

    @classmethod
    def of(cls, image: Image, model: Model, values: NDArray[np.generic] | None = None) -> View:
        """Return how `model` looks at `image`, refusing what it was not made for.

        `values` are those that its intensity range is judged by; without them all of its pixels are.
        """
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
        low, high = intensity_range(image.data if values is None else values)
        view = cls(image, low, high, 1.0, model.config.align)
        if image.spacing is None:
            return glanced_at(view, model)
        if image.unit not in UM:
            raise ValueError(f"the pixel size is in {image.unit!r}; give it in {', '.join(UM)}, or with mpp")
        zoom = float(np.mean(image.spacing)) * UM[image.unit] / kind.pixel_size
        if not ZOOMS[0] <= zoom <= ZOOMS[1]:
            raise ValueError(
                f"a pixel of {zoom * kind.pixel_size:g} um is {zoom:g} times the {kind.pixel_size:g} um that "
                f"{model.config.name!r} expects, beyond {ZOOMS[0]:g} to {ZOOMS[1]:g} times; give the true size with mpp"
            )
        return view if zoom == 1 else replace(view, zoom=zoom, align=1)


def tiling(config: ModelConfig, tile: int | None, halo: int | None) -> tuple[int, int]:
    """Return tile and halo in model pixels: those asked for, else the model's own; raise where they do not fit it.

    Without an `input_size` every size fits. Otherwise both count as rounded up to `align`, as tiles are, but for
    semantic output, whose tiles begin anywhere.
    """
    room, step = config.input_size, 1 if config.output == SEMANTIC else config.align
    if room is None:
        return TILE if tile is None else tile, HALO if halo is None else halo
    most = max(0, (room - step) // 2 // step * step)  # leaves a tile of one step
    around = min(round_up(room // 8, step), most) if halo is None else halo
    inside = (room - 2 * round_up(around, step)) // step * step if tile is None else tile
    seen = round_up(inside, step) + 2 * round_up(around, step)
    if inside < 1 or seen > room:
        own = "" if tile is None and halo is None else "; leave --tile and --halo out, or make them smaller"
        raise ValueError(
            f"tiles of {inside} pixels with {around} around them, in steps of {step}, make {seen} per side, "
            f"but {config.name} takes at most {room}{own}"
        )
    return inside, around


def glanced_at(view: View, model: Model) -> View:
    """Return the view, doubled where the objects in the middle of the image are too small to outline them well."""
    limit = model.config.kind.small_px
    if not limit or model.config.output == SEMANTIC:  # which tells no objects apart, nor how large they are
        return view
    seen = glance(view, model)
    return replace(view, zoom=2.0, align=1) if seem_small(seen.proposed, limit) else replace(view, seen=seen)


def glance(view: View, model: Model) -> Seen:
    """Return what is in the middle of an image."""
    region = middle(view.image.shape, tuple(max(GLANCE, side) for side in view.in_image(GLANCE)))
    try:
        embedding = encode(view, Tile(region, region), model)
    except UnreadableImageError as error:
        raise UnreadableImageError(
            f"is damaged in the middle, by which sizes and scores of objects are judged ({error}); give --mpp and "
            "--min-score"
        ) from error
    return Seen(region, embedding, propose(embedding.maps, model.config.proposals))


def seem_small(proposed: Prompts, limit: float) -> bool:
    """Return whether the median diameter of what is proposed lies below `limit` pixels."""
    areas = [prompt.coarse.area for prompt in proposed.items if prompt.coarse is not None]
    return len(areas) >= FEW and 2 * np.sqrt(np.median(areas) / np.pi) < limit


def least_score(view: View, model: Model, asked: float | None = None) -> tuple[View, float]:
    """Return the score below which objects are left out: the one `asked` for, else as the model has it.

    How sure a model is depends on the kind of image: what is a doubtful object in one is a good one in another. So
    some ask for a share of the median score in the middle of the image; the view then keeps what was seen there.
    """
    config = model.config
    if asked is not None:
        if not 0 <= asked <= 1:
            raise ValueError(f"min_score is {asked}; scores lie between 0 and 1")
        return view, asked
    if config.min_share is None:
        return view, config.min_score
    seen = view.seen or glance(view, model)
    scores = direct.taken(seen.proposed, seen.embedding.maps, 1.0, config.proposals.foreground).scores
    typical = float(np.median(scores)) if len(scores) else 0.0
    return replace(view, seen=seen), max(config.min_score, config.min_share * typical)


def whole(image: Image) -> tuple[slice, ...]:
    """Return the region that is the whole image."""
    return tuple(slice(0, n) for n in image.shape)


def encode(view: View, tile: Tile, model: Model) -> ImageEmbedding:
    """Return the embedding of a tile at the model's pixel size; what padding added to the maps is cut off."""
    known = seen_before(view, tile)
    return embedded(pixels(view, tile), model) if known is None else known


def seen_before(view: View, tile: Tile) -> ImageEmbedding | None:
    """Return the embedding of a tile, if a glance took in just that."""
    return view.seen.embedding if view.seen is not None and view.seen.region == tile.outer else None


def pixels(view: View, tile: Tile) -> NDArray[np.float32]:
    """Return the pixels (channel, *spatial) of a tile as the model looks at them, at its pixel size."""
    seen = normalise(view.image.data[:, *tile.outer], view.low, view.high)
    if view.zoom == 1:
        return seen
    size = tuple(max(1, round(n * view.zoom)) for n in tile.shape)
    return resample(seen, size, (0.0,) * len(size), (1 / view.zoom,) * len(size))


def embedded(pixels: NDArray[np.float32], model: Model) -> ImageEmbedding:
    """Return the embedding of pixels of the model's size; what padding added to the maps is cut off."""
    size = pixels.shape[1:]
    padding = [(0, round_up(n, model.config.pad) - n) for n in size]
    embedding = model.encode(np.pad(pixels, [(0, 0), *padding], mode="symmetric"))
    return embedding._replace(maps=embedding.maps[:, *(slice(n) for n in size)])


def each(image: Image, value: T) -> tuple[T, ...]:
    """Return `value` once per spatial axis."""
    return (value,) * len(image.shape)
