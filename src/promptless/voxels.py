"""The story of a scan: a class for every voxel, crop by crop (AutoProSAM, arXiv 2308.14936).

::

    look      the scan at the model's spacing, with the intensities that it knows
    slide     crops of it -> logits, averaged where crops overlap, as published
    return    softmax; probabilities, not labels, resampled to the scan's own grid
    decide    the likeliest class of every voxel

The window slides towards the head. Planes that no further crop reaches go through the last two steps at once, so that
logits are held for the depth of one crop only, and probabilities for a few planes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import combinations, product
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptless.config import VOLUME_AXES, Intensity, ModelConfig, VolumeConfig
from promptless.crops import Stops, padding, stops
from promptless.image import Image, Shape
from promptless.intensity import finite, standardised, window_of
from promptless.io.readers import memory
from promptless.model import (
    Array,
    MeasuredVoxelModel,
    Model,
    PointedVoxelModel,
    PromptedVoxelModel,
    Room,
    VoxelAnswer,
    VoxelModel,
)
from promptless.prompts import Points
from promptless.record import Steps, of_scan
from promptless.resample import along, resample, spaced, weights
from promptless.result import VolumeSegmentation
from promptless.view import UM

Progress = Callable[[int, int], None]
SLAB = 2**24
"""About how many probabilities are held at once."""
PROBABILITIES, PROMPT = "probabilities", "prompt"
KEPT = (PROBABILITIES, PROMPT)
"""What a result can have beside labels."""
CERTAIN = np.iinfo(np.uint8).max
"""Probabilities are kept as whole numbers, of which this is 1."""
ENDS = ("superior|inferior|upper|lower", "anterior|posterior|ventral|dorsal", "left|right|l|r")
"""How classes are called that are at one end of an axis (z, y, x)."""
DEPTH = 0
"""The axis along the patient."""
COARSEST = 16
"""Voxels per side below which no smaller crop is offered; sides that are offered are multiples of it."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How a model looks at a scan; lengths are voxels along (z, y, x)."""

    own: Shape  # of the scan's own grid
    seen: Shape  # at the model's spacing
    crop: Shape
    stops: tuple[Stops, ...]  # along each axis of what is seen, padded
    mirrors: tuple[tuple[int, ...], ...]  # axes to turn round, once per view of a crop
    channels: int  # classes, the background among them
    points: Points | None = None  # a user's, in voxels of what is seen, padded; their labels are classes

    @cached_property
    def padding(self) -> list[tuple[int, int]]:
        """The voxels added before and behind each axis."""
        return padding(self.seen, self.crop)

    @cached_property
    def padded(self) -> Shape:
        """What is seen, padded to one crop at least."""
        return tuple(n + sum(added) for n, added in zip(self.seen, self.padding, strict=True))

    @property
    def n_crops(self) -> int:
        """How many crops there are."""
        return prod(len(along_axis.starts) for along_axis in self.stops)

    @property
    def planes(self) -> int:
        """How many planes are answered for at once."""
        return max(1, SLAB // (self.channels * max(prod(self.own[1:]), prod(self.seen[1:]))))

    def told(self, *region: slice) -> Points | None:
        """Return the user's points in a crop, in voxels of it; None where there are none."""
        points = None if self.points is None else self.points.within(region)
        return points if points else None


class Sight(Protocol):
    """A scan (z, y, x) as a model looks at it, padded to one crop at least."""

    def crop(self, *region: slice) -> Array:
        """Return a part of it with the intensities that the model knows."""


class Sliced(Protocol):
    """A scan (z, y, x) that is sliced along z, be it in memory or in a file."""

    def __getitem__(self, planes: slice, /) -> NDArray[np.generic]:
        """Return planes of it."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A scan (z, y, x) as a model looks at it; what is not resampled is the scan's own memory.

    Without a `window` the values have the intensities that the model knows already.
    """

    values: NDArray[np.generic]
    window: Intensity | None = None

    def crop(self, *region: slice) -> Array:
        """Return a part of it with the intensities that the model knows."""
        part = self.values[region]
        return part.astype(np.float32) if self.window is None else standardised(part, self.window)


def segmented(
    image: Image,
    model: Model | VoxelModel,
    arguments: dict[str, Any],
    steps: Steps,
    progress: Progress,
    points: Points | None = None,
) -> VolumeSegmentation:
    """Return the class of every voxel of a scan, on its own grid.

    `arguments` are `tile`, `flips` and `keep` of `promptless.segment`; `points` a user's, in voxels (z, y, x) of the
    scan, labelled with classes.
    """
    able = for_volumes(model) if points is None else for_points(model)
    planned = pointed(plan(image, able.config, arguments["tile"], arguments["flips"]), points)
    keep = checked(arguments["keep"], able)
    check_room(planned, image, able, keep)
    with steps.timed("look"):
        seen = look(image, able.config, planned)
    result = classified(seen, planned, able, keep, steps, progress)
    record = of_scan(image, able.config, arguments, planned.n_crops, steps)
    return VolumeSegmentation(image, *result, record, points=points)


def classified(
    seen: Sight, planned: Plan, model: VoxelModel, keep: Collection[str], steps: Steps, progress: Progress
) -> tuple[NDArray[np.integer[Any]], NDArray[np.uint8] | None, NDArray[np.float16] | None]:
    """Return the labels of a scan on its own grid, and its probabilities and prompt where these are kept."""
    slabs = slide(seen, planned, model, PROMPT in keep, steps, progress)
    return decided(onto_planes(certain(slabs, planned), planned.seen[0], planned.own[0]), planned, keep, steps)


def averaged(seen: Seen, planned: Plan, model: VoxelModel) -> Array:
    """Return the logits (class, z, y, x) of all that is seen of a scan, averaged where crops overlap."""
    slabs = slide(seen, planned, model, False, Steps(), lambda done, total: None)
    return np.concatenate([slab.copy() for slab in slabs], axis=1)


def for_volumes(model: Model | VoxelModel) -> VoxelModel:
    """Return a model that can look at crops of scans; raise where it cannot."""
    if not isinstance(model, VoxelModel):
        raise ValueError(f"{model.config.name} says it is for volumes, but has no logits of crops; export it again")
    return model


def for_points(model: Model | VoxelModel) -> PointedVoxelModel:
    """Return a model that a user can tell what is where; raise where nothing in it listens."""
    if isinstance(model, PointedVoxelModel):
        return model
    if model.config.network.get("points"):
        raise ValueError(
            f"{model.config.name} was trained with clicks, and its ONNX file takes none; give the folder that it was "
            "exported from, which runs on torch, or leave the points out"
        )
    raise ValueError(
        f"{model.config.name} takes no points: it was trained without clicks; leave them out, or train an AutoProSAM "
        f"with points = {1 + len(model.config.classes)} in [model.network], as recipes/autoprosam_clicks.toml has it"
    )


def checked(keep: Collection[str], model: VoxelModel) -> Collection[str]:
    """Return what is to be kept beside labels; raise where that is not known, or the model cannot tell it."""
    unknown = sorted(set(keep) - set(KEPT))
    if unknown:
        raise ValueError(f"there is no {', '.join(unknown)} to keep; there are {', '.join(KEPT)}")
    if PROMPT in keep and not isinstance(model, PromptedVoxelModel):
        raise ValueError(f"{model.config.name} has no dense prompt that could be shown; do not ask for it")
    return keep


def plan(image: Image, config: ModelConfig, tile: int | None = None, flips: bool | None = None) -> Plan:
    """Return how a model looks at a scan; raise where it was not made for such a scan.

    `tile` bounds the sides of crops, `flips` says whether mirrored views are averaged; None leaves both to the model.
    """
    check_scan(image, config)
    if tile is not None and tile < 1:
        raise ValueError(f"tile is {tile}; crops have at least one voxel per side")
    crop = tuple(side if tile is None else min(side, tile) for side in of_volume(config).crop)
    return laid(image.shape, seen_shape(image, config), crop, config, flips)


def laid(own: Shape, seen: Shape, crop: Shape, config: ModelConfig, flips: bool | None = None) -> Plan:
    """Return how crops lie over a scan that has `own` voxels and is seen as so many."""
    volume = of_volume(config)
    lengths = [max(n, side) for n, side in zip(seen, crop, strict=True)]
    along_axes = tuple(stops(n, side, volume.overlap, volume.blend) for n, side in zip(lengths, crop, strict=True))
    views = mirrors(config) if (volume.flips if flips is None else flips) else ((),)
    return Plan(own, seen, crop, along_axes, views, 1 + len(config.classes))


def pointed(planned: Plan, points: Points | None) -> Plan:
    """Return a plan with a user's points, given in voxels of the scan, where they are in what is seen."""
    if points is None:
        return planned
    zoom = [n / own for n, own in zip(planned.seen, planned.own, strict=True)]
    before = tuple(before for before, _ in planned.padding)
    return replace(planned, points=points.zoomed(zoom).moved(before))


def of_volume(config: ModelConfig) -> VolumeConfig:
    """Return how a model on volumes looks at scans."""
    assert config.volume is not None, "ModelConfig checks that it goes with its output"
    return config.volume


def check_scan(image: Image, config: ModelConfig) -> None:
    """Refuse what is no scan, or larger than what the model was made for."""
    extent, shape = of_volume(config).extent, " x ".join(map(str, image.shape))
    if len(image.shape) != 3:
        raise ValueError(
            f"the image has {shape} pixels, and {config.name} is for scans, of three axes; for a plane take a model "
            "for planes, such as nuclei"
        )
    if len(image.data) != 1:
        raise ValueError(f"the scan has {len(image.data)} channels, and {config.name} looks at one; choose it first")
    if extent is None:
        return
    lengths = [n * size for n, size in zip(image.shape, millimetres(image, config), strict=True)]
    if any(length > most for length, most in zip(lengths, extent, strict=True)):
        raise ValueError(
            f"the scan spans {in_mm(lengths)} (z, y, x), and {config.name} was made for boxes of at most "
            f"{in_mm(extent)}, cut around what it segments; in a larger field of view it labels what merely looks "
            "alike: cut the scan, or take a model for whole scans"
        )


def in_mm(lengths: Iterable[float]) -> str:
    """Return lengths for a message."""
    return " x ".join(f"{length:.0f}" for length in lengths) + " mm"


def millimetres(image: Image, config: ModelConfig) -> tuple[float, ...]:
    """Return the size of a voxel in mm; raise where it is not known."""
    if image.spacing is None or image.unit not in UM:
        raise ValueError(
            f"the size of a voxel is not known, and {config.name} needs it; give it as "
            'promptless.Image(array[None], spacing=(z, y, x), unit="mm")'
        )
    return tuple(float(size) * UM[image.unit] / UM["mm"] for size in image.spacing)


def seen_shape(image: Image, config: ModelConfig) -> Shape:
    """Return how many voxels a scan has at the model's spacing."""
    spacing = of_volume(config).spacing
    if spacing is None:
        return image.shape
    return spaced(image.shape, millimetres(image, config), spacing)


def mirrors(config: ModelConfig) -> tuple[tuple[int, ...], ...]:
    """Return the axes that are turned round in each mirrored view, the plain view first.

    Nothing is mirrored along an axis that training did not turn round, nor where a class is at one of its ends: it
    would become the other.
    """
    known = of_volume(config).mirrored
    axes = [
        number
        for number, (axis, ends) in enumerate(zip(VOLUME_AXES, ENDS, strict=True))
        if axis in (VOLUME_AXES if known is None else known) and not any(called(ends, name) for name in config.classes)
    ]
    return tuple(view for n in range(len(axes) + 1) for view in combinations(axes, n))


def called(words: str, name: str) -> bool:
    """Return whether a class's name has one of some words in it."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)  # LeftKidney
    return re.search(rf"(?<![a-z0-9])({words})(?![a-z0-9])", apart, re.IGNORECASE) is not None


def look(image: Image, config: ModelConfig, planned: Plan) -> Seen:
    """Return a scan at the model's spacing, padded with its border to one crop at least."""
    window = window_of(image.data, of_volume(config).intensity)
    own = image.data[0]
    if own.min() == own.max():
        raise ValueError(f"every voxel of the scan is {own.flat[0]:g}, so there is nothing to see in it")
    values = own if planned.seen == planned.own else resampled(own, planned.seen, planned.planes, window)
    return Seen(framed(values, planned), window)


def framed(values: NDArray[np.generic], planned: Plan) -> NDArray[np.generic]:
    """Return what is seen of a scan, its border repeated up to one crop at least."""
    return np.pad(values, planned.padding, mode="edge") if planned.padded != planned.seen else values


def resampled(values: NDArray[np.generic], shape: Shape, planes: int, window: Intensity) -> Array:
    """Return voxels (z, y, x) on a grid of `shape` over the same box; `planes` of them are held twice at once."""
    steps = tuple(n / m for n, m in zip(values.shape, shape, strict=True))
    within = np.empty((len(values), *shape[1:]), np.float32)
    for part in slabs_of(len(values), planes):
        within[part] = resample(finite(values[part], window), shape[1:], (0.0, 0.0), steps[1:])
    return np.ascontiguousarray(resample(within, shape, (0.0,) * 3, (steps[0], 1.0, 1.0)))


@dataclass(frozen=True, eq=False)
class Passing:
    """A scan that stays in its file, as a model looks at it: planes are held for the depth of one crop only."""

    values: Sliced  # (z, y, x)
    planned: Plan
    window: Intensity

    @cached_property
    def planes(self) -> Callable[[int, int], NDArray[np.generic]]:
        """What gives planes of what is seen, its border repeated up to one crop at least."""
        return lru_cache(1)(partial(read_in, self.values, self.planned, self.window))

    def crop(self, *region: slice) -> Array:
        """Return a part of it with the intensities that the model knows."""
        planes, *across = region
        return standardised(self.planes(planes.start, planes.stop)[:, *across], self.window)


def read_in(values: Sliced, planned: Plan, window: Intensity, start: int, stop: int) -> NDArray[np.generic]:
    """Return the padded planes from `start` to `stop` of a scan as `look` has them."""
    (before, _), *across = planned.padding
    wanted = np.arange(start - before, stop - before).clip(0, planned.seen[DEPTH] - 1)
    part = slice(int(wanted[0]), int(wanted[-1]) + 1)
    seen = values[part] if planned.seen == planned.own else resampled_part(values, planned, part, window)
    return np.pad(seen[wanted - part.start], [(0, 0), *across], mode="edge")


def resampled_part(values: Sliced, planned: Plan, part: slice, window: Intensity) -> Array:
    """Return planes of a scan as `resampled` has them, made of no more planes of it than it takes."""
    (n_in, *inside), (n, *plane) = planned.own, planned.seen
    matrix = weights(n, n_in, 0.0, n_in / n)[part]
    used = np.flatnonzero(matrix.any(axis=0))
    first, last = int(used[0]), int(used[-1]) + 1
    steps = tuple(a / b for a, b in zip(inside, plane, strict=True))
    within = np.empty((last - first, *plane), np.float32)
    for slab in slabs_of(last - first, planned.planes):
        own = finite(values[first + slab.start : first + slab.stop], window)
        within[slab] = resample(own, tuple(plane), (0.0, 0.0), steps)
    return along(within, 0, matrix[:, first:last])


def slabs_of(n: int, planes: int) -> Iterator[slice]:
    """Yield the parts of an axis of `n` planes."""
    for start in range(0, n, planes):
        yield slice(start, min(start + planes, n))


def slide(
    seen: Sight, planned: Plan, model: VoxelModel, prompted: bool, steps: Steps, progress: Progress, first: int = 0
) -> Iterator[Array]:
    """Yield averaged logits (channel, planes, y, x) of a scan in slabs, in order; a slab is not kept after the next.

    Where `prompted`, the length of the dense prompt is one more channel. What lies before the stop number `first` of
    crops along the patient is left out.
    """
    (depth, *inside), pads = planned.stops, planned.padding
    held = np.zeros((planned.channels + prompted, depth.length, *planned.padded[1:]), np.float32)
    own = [slice(before, before + n) for (before, _), n in zip(pads, planned.seen, strict=True)]
    ends = [*depth.starts[1:], planned.padded[DEPTH]]
    reaching = next(i for i, start in enumerate(depth.starts) if start + depth.length > depth.starts[first])
    done = reaching * planned.n_crops // len(depth.starts)
    for number, ((planes, across), end) in list(enumerate(zip(depth.spans, ends, strict=True)))[reaching:]:
        for (rows, down), (columns, along_row) in product(*(axis.spans for axis in inside)):
            with steps.timed("network"):
                told = planned.told(planes, rows, columns)
                said = view(model, seen.crop(planes, rows, columns), planned, prompted, told)
            with steps.timed("blend"):
                held[:, :, rows, columns] += said * across[:, None, None] * np.outer(down, along_row)
            done += 1
            progress(done, planned.n_crops)
        for part in slabs_of(end - planes.start, planned.planes) if number >= first else ():
            inner = slice(max(part.start, own[0].start - planes.start), min(part.stop, own[0].stop - planes.start))
            if inner.start < inner.stop:
                yield held[:, inner, own[1], own[2]]
        rest = planes.stop - end
        held[:, :rest] = held[:, depth.length - rest :]
        held[:, rest:] = 0


def view(model: VoxelModel, crop: Array, planned: Plan, prompted: bool, points: Points | None = None) -> Array:
    """Return what a model says of a crop (z, y, x) and of a user's points in it, averaged over its mirrored views."""
    total = np.zeros((planned.channels + prompted, *crop.shape), np.float32)
    for axes in planned.mirrors:
        asked = np.ascontiguousarray(np.flip(crop, axes))[None, None]
        turned = None if points is None else points.mirrored(axes, crop.shape)
        said = answered(model, asked, turned) if prompted else spoken(model, asked, turned)
        if said.shape != total.shape:
            raise ValueError(f"{model.config.name} answers with {said.shape} for {total.shape}; export it again")
        total += np.flip(said, tuple(axis + 1 for axis in axes))
    total /= len(planned.mirrors)
    return total


def spoken(model: VoxelModel, crops: Array, points: Points | None) -> Array:
    """Return the logits of one crop."""
    return np.asarray(model.logits(crops)[0] if points is None else corrected(model, crops, points).logits[0])


def answered(model: VoxelModel, crops: Array, points: Points | None) -> Array:
    """Return logits and, as the last channel, the length of the dense prompt, of one crop."""
    assert isinstance(model, PromptedVoxelModel), "this was checked before"
    (logits,), (prompt,) = model.answer(crops) if points is None else corrected(model, crops, points)
    steps = tuple(cells / n for cells, n in zip(prompt.shape, logits.shape[1:], strict=True))
    return np.concatenate([logits, resample(prompt, logits.shape[1:], (0.0,) * 3, steps)[None]])


def corrected(model: VoxelModel, crops: Array, points: Points) -> VoxelAnswer:
    """Return what a model answers to one crop in which a user has said what is where."""
    assert isinstance(model, PointedVoxelModel), "this was checked before"
    return model.corrected(crops, points)


def certain(slabs: Iterable[Array], planned: Plan) -> Iterator[Array]:
    """Yield slabs of logits as probabilities; what comes after the classes is passed on."""
    for slab in slabs:
        found, classes = slab.copy(), slab[: planned.channels]
        chances = np.exp(classes - classes.max(axis=0), out=found[: planned.channels])
        chances /= chances.sum(axis=0)
        yield found


def onto_planes(slabs: Iterable[Array], n_in: int, n: int, start: int = 0, done: int = 0) -> Iterator[Array]:
    """Resample slabs (channel, planes, y, x), in order and of `n_in` planes together, to `n` planes.

    A slab is yielded as soon as all is there that its planes are made of. Slabs begin with plane `start` of those, and
    what is yielded with plane `done`.
    """
    matrix = weights(n, n_in, 0.0, n_in / n)
    first = (matrix > 0).argmax(axis=1)
    behind = n_in - (matrix[:, ::-1] > 0).argmax(axis=1)
    held = None
    for slab in slabs:
        held = slab if held is None else np.concatenate([held, slab], axis=1)
        ready = int(np.searchsorted(behind, start + held.shape[1], side="right"))
        if ready == done:
            continue
        yield along(held, 1, matrix[done:ready, start : start + held.shape[1]])
        done = ready
        needed = int(first[done]) if done < n else n_in
        held, start = held[:, needed - start :], needed


def labelled(
    seen: Sight, planned: Plan, model: VoxelModel, steps: Steps, progress: Progress, first: int = 0
) -> Iterator[NDArray[np.integer[Any]]]:
    """Yield the labels of a scan on its own grid in slabs, in order, from plane `first` on; none of them are kept."""
    stop, start = from_plane(planned, first)
    slabs = certain(slide(seen, planned, model, False, steps, progress, stop), planned)
    for slab in onto_planes(slabs, planned.seen[DEPTH], planned.own[DEPTH], start, first):
        with steps.timed("decide"):
            yield likeliest(slab, planned.own[1:]).astype(label_type(planned))


def from_plane(planned: Plan, plane: int) -> tuple[int, int]:
    """Return the stop of crops from which on logits are needed for a plane of the scan and those behind it.

    The second number is the first plane of what is seen that these logits are of.
    """
    n, n_in = planned.own[DEPTH], planned.seen[DEPTH]
    before, starts = planned.padding[DEPTH][0], planned.stops[DEPTH].starts
    needed = before + int((weights(n, n_in, 0.0, n_in / n)[plane] > 0).argmax())
    stop = max(i for i, start in enumerate(starts) if start <= needed)
    return stop, max(0, starts[stop] - before)


def label_type(planned: Plan) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the type of a label."""
    return np.dtype(np.uint8 if planned.channels <= 256 else np.uint16)


def decided(
    slabs: Iterable[Array], planned: Plan, keep: Collection[str], steps: Steps
) -> tuple[NDArray[np.integer[Any]], NDArray[np.uint8] | None, NDArray[np.float16] | None]:
    """Return the labels of a scan, and its probabilities and prompt where these are kept."""
    labels = np.empty(planned.own, label_type(planned))
    chances = np.empty((planned.channels, *planned.own), np.uint8) if PROBABILITIES in keep else None
    prompt = np.empty(planned.own, np.float16) if PROMPT in keep else None
    start = 0
    for slab in slabs:
        planes = slice(start, start + slab.shape[1])
        with steps.timed("decide"):
            labels[planes] = likeliest(slab[: planned.channels], planned.own[1:])
        if chances is not None:
            for chance, of_class in zip(chances, slab, strict=False):
                chance[planes] = np.rint(within(of_class, planned.own[1:]) * CERTAIN)
        if prompt is not None:
            prompt[planes] = within(slab[-1], planned.own[1:])
        start = planes.stop
    return labels, chances, prompt


def likeliest(chances: Array, plane: Shape) -> NDArray[np.integer[Any]]:
    """Return the class of each voxel (planes, *plane), the first where several are as likely.

    A class that is nowhere as likely as it must be to win is passed over.
    """
    best = within(chances[0], plane).copy()
    labels = np.zeros_like(best, np.uint16)
    least = 0.99 / len(chances)
    for number, of_class in enumerate(chances[1:], start=1):
        if of_class.max() < least:
            continue
        chance = within(of_class, plane)
        np.copyto(labels, number, where=chance > best)
        np.maximum(best, chance, out=best)
    return labels


def within(planes: Array, shape: Shape) -> Array:
    """Return planes (n, y, x) resampled to `shape`, each by itself."""
    steps = tuple(n / m for n, m in zip(planes.shape[1:], shape, strict=True))
    return resample(planes, shape, (0.0, 0.0), steps)


def needed(planned: Plan, image: Image, keep: Collection[str] = ()) -> int:
    """Return about how many bytes of memory a scan takes, itself among them, without what the network takes."""
    held = 4 * planned.channels * planned.crop[DEPTH] * prod(planned.padded[1:])
    around = 4 * 3 * planned.channels * prod(planned.crop) + 4 * 4 * max(SLAB, planned.channels * prod(planned.own[1:]))
    kept = (planned.channels if PROBABILITIES in keep else 0) + (2 if PROMPT in keep else 0)
    copied = 4 * 2 * prod(planned.padded) if planned.padded != planned.own else 0
    grids = (1 + kept) * prod(planned.own) + copied
    return memory.FIXED + image.data.nbytes + held + around + grids


def check_room(planned: Plan, image: Image, model: VoxelModel, keep: Collection[str] = ()) -> None:
    """Refuse crops that memory does not hold, and offer the largest that it does."""
    lack = lacking(planned, image, model, keep)
    if not lack:
        return
    side = largest_fitting(planned, image, model, keep)
    remedy = (
        f"the largest crops that fit have {side} voxels per side: --tile {side}"
        if side
        else f"no smaller ones would fit: cut the scan, or set {memory.VARIABLE} to the memory that there is, in GB"
    )
    size, seen = (" x ".join(map(str, shape)) for shape in (planned.crop, planned.seen))
    raise ValueError(f"crops of {size} voxels, of a scan that is seen as {seen}, take {lack}; {remedy}")


def largest_fitting(planned: Plan, image: Image, model: VoxelModel, keep: Collection[str]) -> int | None:
    """Return the sides of the largest crops that memory holds, None where it holds none that the model takes."""
    if model.config.onnx is not None and model.config.onnx.crop is not None:
        return None
    flips, sides = len(planned.mirrors) > 1, reversed(range(COARSEST, max(planned.crop), COARSEST))
    fits = (side for side in sides if not lacking(plan(image, model.config, side, flips), image, model, keep))
    return next(fits, None)


def lacking(planned: Plan, image: Image, model: VoxelModel, keep: Collection[str] = ()) -> str:
    """Return which memory does not suffice, in words, none where all does."""
    asked = room(model, planned.crop)
    here = asked.needed if asked.free is None else 0
    memories = [(needed(planned, image, keep) + here, memory.free()), asked]
    short = [(need, free) for need, free in memories if free is not None and need > free]
    return "".join(f"about {n / memory.GIB:.1f} GB, and {free / memory.GIB:.1f} GB are free" for n, free in short[:1])


def room(model: VoxelModel, crop: Shape) -> Room:
    """Return what memory a crop takes within the network; 0 where the model cannot tell."""
    return model.room(crop) if isinstance(model, MeasuredVoxelModel) else Room(0)
