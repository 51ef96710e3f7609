"""The main story: an image in, its objects out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from promptless import direct, semantic, stitch, voxels
from promptless import labels as label_images
from promptless.classify import class_maps, classified
from promptless.clicks import Click, entries, placed
from promptless.config import DIRECT, SEMANTIC, VOXELS, ModelConfig
from promptless.embeddings import Embeddings
from promptless.errors import UnreadableImageError
from promptless.image import Image, Shape
from promptless.io import scans
from promptless.io.hashes import sha256
from promptless.io.readers.families import suffix_of
from promptless.loading import load
from promptless.masks import Masks
from promptless.model import ImageEmbedding, Model, VoxelModel
from promptless.prompts import Points, Prompt, Prompts
from promptless.propose import coarse_labels, propose
from promptless.record import Steps, manifest
from promptless.registry import fitting, for_volumes
from promptless.result import Segmentation, Series, VolumeSegmentation
from promptless.tiles import Tile
from promptless.view import View, each, embedded, encode, least_score, pixels, seen_before, tiling, whole
from promptless.windows import decode

DEFAULTS = {"page": None, "channel": None, "mpp": None, "min_score": None, "tile": None, "halo": None}
"""How an image is segmented where nothing else is asked for."""

Progress = Callable[[int, int], None]
Source = str | Path | NDArray[np.generic] | Image


@overload
def segment(
    source: Source,
    model: VoxelModel,
    *,
    frame: int | None = None,
    series: str | None = None,
    tile: int | None = None,
    flips: bool | None = None,
    keep: Sequence[str] = (),
    points: Sequence[Click] | None = None,
    progress: Progress = ...,
) -> VolumeSegmentation: ...


@overload
def segment(
    source: Source,
    model: str | Path | Model = "nuclei",
    *,
    channel: int | str | None = None,
    page: int | None = None,
    mpp: float | None = None,
    min_score: float | None = None,
    tile: int | None = None,
    halo: int | None = None,
    points: Points | None = None,
    embeddings: Embeddings | None = None,
    progress: Progress = ...,
) -> Segmentation: ...


def segment(  # noqa: PLR0913  the one door, and every argument of it optional
    source: Source,
    model: str | Path | Model | VoxelModel = "nuclei",
    *,
    channel: int | str | None = None,
    page: int | None = None,
    mpp: float | None = None,
    min_score: float | None = None,
    tile: int | None = None,
    halo: int | None = None,
    points: Points | Sequence[Click] | None = None,
    embeddings: Embeddings | None = None,
    frame: int | None = None,
    series: str | None = None,
    flips: bool | None = None,
    keep: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
) -> Segmentation | VolumeSegmentation:
    """Find and outline every object in an image, or every structure in a scan.

    `source` is a file, an array (y, x) or (y, x, colour), or an `Image`. `model` is the name of one that
    ships, a model folder, or a model from `promptless.load`, which saves time over many images.
    `channel` (from 0, or a name) takes one channel, and "rgb" takes three of a file as colours; `page`
    (from 0) takes one plane of a file of several. `mpp` is the size of a pixel in micrometres, and
    overrides the file's. Where it is known, the image is brought to the model's pixel size; where it is
    not, an image of very small objects is looked at doubled. Objects scored below `min_score` are left
    out (by default the model's own threshold).
    `tile` and `halo` (pixels per side, of the model where the pixel size is known) bound the memory; without
    them they are 1024 and 128, or what a model takes at most.
    `points` (pixels of the image) are an expert's, and join those that a semantic model asks itself; elsewhere
    they are given to `edit`.
    `embeddings` keeps what the encoder saw, for edits. `progress(done, total)` is told of every tile.

    With a model for volumes the result is a `VolumeSegmentation`, and `source` a NIfTI file, a DICOM folder, file or
    .zip, an array (z, y, x), or an `Image`. `frame` (from 0) chooses in a NIfTI file of four axes, `series` (name or
    UID) among DICOM series; `tile` bounds the sides of crops, `flips` says whether mirrored views are averaged (by
    default as the model's configuration has it), `keep` names "probabilities" and "prompt" where the result shall have
    them. `points` are then clicks (`promptless.Click`) that say which class is where; crops without any are answered
    as ever. Of the other options only `progress` goes with it.
    """
    model = load(model) if isinstance(model, str | Path) else model
    planar = {"channel": channel, "page": page, "mpp": mpp, "min_score": min_score, "halo": halo}
    if model.config.output == VOXELS:
        unfit({**planar, "embeddings": embeddings}, "planes", model.config)
        chosen = {"frame": frame, "series": series, "tile": tile, "flips": flips}
        return scanned(source, model, chosen, keep, clicked(points), progress)
    unfit({"frame": frame, "series": series, "flips": flips, "keep": keep or None}, "scans", model.config)
    assert not isinstance(model, VoxelModel), "its output would say so"
    return found_in(source, model, {**planar, "tile": tile}, on_plane(points), embeddings, progress)


def clicked(points: Points | Sequence[Click] | None) -> Sequence[Click]:
    """Return a user's clicks in a scan; points of a plane are refused."""
    if isinstance(points, Points):
        raise ValueError("points of a scan say which class is there; give them as [promptless.Click((z, y, x), name)]")
    return points or ()


def on_plane(points: Points | Sequence[Click] | None) -> Points | None:
    """Return a user's points in a plane; clicks in a scan are refused."""
    if points is None or isinstance(points, Points):
        return points
    raise ValueError("points of a plane are on what is meant, or beside it; give them as promptless.Points.of(on, off)")


def scanned(
    source: Source,
    model: Model | VoxelModel,
    arguments: dict[str, Any],
    keep: Sequence[str],
    clicks: Sequence[Click],
    progress: Progress,
) -> VolumeSegmentation:
    """Return the structures of a scan; where it comes from DICOM, with the series that it was read from."""
    if clicks:
        voxels.for_points(model)
    steps = Steps()
    with steps.timed("read"):
        image = opened_scan(source, model.config, arguments["frame"], arguments["series"])
    frames = scans.frames(image)
    points = placed(clicks, model.config.classes, frames, image.shape) if clicks else None
    result = voxels.segmented(image, model, {**arguments, "keep": list(keep)}, steps, progress, points)
    if points is not None:
        told = entries(points, model.config.classes, frames)
        result = replace(result, manifest=result.manifest | {"points": told})
    if not isinstance(source, str | Path):
        return result
    path = Path(source)
    record = result.manifest | {"input": {"name": path.name, "sha256": sha256(path)}}
    series = Series(path, arguments["series"]) if scans.is_dicom(path) else None
    return replace(result, manifest=record, series=series)


def found_in(
    source: Source,
    model: Model,
    arguments: dict[str, Any],
    points: Points | None,
    embeddings: Embeddings | None,
    progress: Progress,
) -> Segmentation:
    """Return the objects of an image."""
    steps = Steps()
    empty, view = begun(source, model, arguments, steps)
    if model.config.output == SEMANTIC:
        refuse(embeddings, f"{model.config.name} takes no edits, which kept embeddings are for; do not keep them")
        own = points or Points.of(ndim=len(view.image.shape))
        return semantic.segmented(empty, view, model, own, steps, progress)
    refuse(points, f"{model.config.name} decodes every object on its own; give points with --point, or to `edit`")
    if model.config.output == DIRECT:
        refuse(embeddings, f"{model.config.name} has no embeddings to keep: edits are decoded by its teacher")
    cuts = view.tiles(*sides(empty))
    found: list[Masks] = []
    asked: list[Prompt] = []
    for done, cut in enumerate(cuts):
        masks, questions = segment_tile(view, cut, model, empty.manifest["arguments"]["min_score"], embeddings, steps)
        found.append(replace(masks, ids=np.arange(len(asked), len(asked) + len(masks))))
        asked += questions
        progress(done + 1, len(cuts))
    if embeddings is not None:
        embeddings.keep_only(view.key(model), cuts)
    with steps.timed("stitch"):
        labels, masks = label_images.paint(Masks.concatenate(found), view.image.shape)
    prompts = Prompts(
        view.image.shape, tuple(replace(asked[i], id=number) for number, i in enumerate(masks.ids, start=1))
    )
    masks = replace(masks, ids=np.arange(1, len(masks) + 1))
    record = empty.manifest | {"seconds": steps.rounded(), "prompts": prompts.digests()}
    return Segmentation(view.image, labels, masks, prompts, record)


def prompt(
    source: Source,
    model: str | Path | Model = "nuclei",
    *,
    channel: int | str | None = None,
    page: int | None = None,
    mpp: float | None = None,
    tile: int | None = None,
    halo: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Prompts:
    """Find a prompt for every object in an image, and decode none; arguments as for `segment`."""
    arguments = DEFAULTS | {"channel": channel, "page": page, "mpp": mpp, "tile": tile, "halo": halo}
    model, steps = load(model) if isinstance(model, str | Path) else model, Steps()
    if model.config.output == VOXELS:
        raise ValueError(
            f"{model.config.name} prompts itself with a dense map, so there are no prompts to find or edit"
        )
    empty, view = begun(source, model, arguments, steps)
    if model.config.output == SEMANTIC:
        return semantic.found(view, model, *sides(empty), progress)
    found: list[Prompt] = []
    cuts = view.tiles(*sides(empty))
    for done, cut in enumerate(cuts):
        proposed, _ = proposals(view, cut, model, None, steps)
        moved = [p.moved(cut.offset) for p in proposed.items]
        found += [p for p in moved if p.coarse is not None and cut.owns(p.coarse.reference)]
        progress(done + 1, len(cuts))
    return Prompts(view.image.shape, tuple(replace(p, id=number) for number, p in enumerate(found, start=1)))


def unfit(options: dict[str, Any], kind: str, config: ModelConfig) -> None:
    """Raise where an option is given that is for models of another kind."""
    for name, given in options.items():
        refuse(given, f"{name} is for models of {kind}, which {config.name} is not; leave it out")


def refuse(given: object | None, message: str) -> None:
    """Raise where an argument is given that does not go with the model."""
    if given is not None:
        raise ValueError(message)


def begun(source: Source, model: Model, arguments: dict[str, Any], steps: Steps) -> tuple[Segmentation, View]:
    """Return a segmentation of an image that has no object yet, and how the model looks at the image."""
    tile, halo = tiling(model.config, arguments["tile"], arguments["halo"])
    with steps.timed("read"):
        image = opened(source, arguments["page"], arguments["channel"], arguments["mpp"])
    with steps.timed("glance"):
        view, least = least_score(View.of(image, model), model, arguments["min_score"])
    chosen = arguments | {"min_score": least, "tile": tile, "halo": halo}
    record = manifest(model, view, chosen, steps) | {"prompts": {}}
    if isinstance(source, str | Path):
        record["input"] = {"name": Path(source).name, "sha256": sha256(Path(source))}
    return Segmentation(image, np.zeros(image.shape, np.int32), Masks(), Prompts(image.shape), record), view


def sides(empty: Segmentation) -> tuple[int, int]:
    """Return tile and halo, as they are written down."""
    arguments = empty.manifest["arguments"]
    return arguments["tile"], arguments["halo"]


def segment_tile(
    view: View, tile: Tile, model: Model, min_score: float, embeddings: Embeddings | None, steps: Steps
) -> tuple[Masks, list[Prompt]]:
    """Return the objects that a tile owns, in coordinates of the image, and the prompt of each."""
    prompts, embedding = proposals(view, tile, model, embeddings, steps)
    decoding = steps.timed if model.config.output == DIRECT else steps.networked  # the one pass has said it all
    with decoding("decode"):
        masks = answered(model, embedding, prompts, view.zoom)
        masks = classified(masks, class_maps(embedding.maps, model.config), view.zoom)
    with steps.timed("assemble"):
        masks = stitch.owned(masks.take(masks.scores >= min_score), tile, view.image.shape)
    by_id = {prompt.id: prompt for prompt in prompts.items}
    return masks, [by_id[i].moved(tile.offset) for i in masks.ids]


def answered(model: Model, embedding: ImageEmbedding, prompts: Prompts, zoom: float) -> Masks:
    """Return what a model answers to prompts: what it decodes, or what it has said already in its one pass."""
    if model.config.output == DIRECT:
        return direct.taken(prompts, embedding.maps, zoom, model.config.proposals.foreground)
    return decode(model, embedding.features, prompts, zoom)


def proposals(
    view: View, tile: Tile, model: Model, embeddings: Embeddings | None, steps: Steps
) -> tuple[Prompts, ImageEmbedding]:
    """Return prompts for the objects that reach into a tile's core, in its coordinates, and the tile's embedding."""
    embedding = encoded(view, tile, model, steps)
    if embeddings is not None:
        with steps.timed("keep"):
            embeddings.save(view.key(model), tile, embedding.features)
            embeddings.save_classes(view.key(model), tile, class_maps(embedding.maps, model.config))
    with steps.timed("propose"):
        near = tuple(slice(int(s.start * view.zoom), ceil(s.stop * view.zoom)) for s in tile.inner)
        prompts = propose(embedding.maps, model.config.proposals, near)  # other tiles answer the others
        return in_pixels(prompts, tile.shape, view.zoom), embedding


def encoded(view: View, tile: Tile, model: Model, steps: Steps) -> ImageEmbedding:
    """Return the embedding of a tile; its pixels may be read while another tile is in the network."""
    known = seen_before(view, tile)
    if known is not None:
        return known
    with steps.timed("look"):
        seen = pixels(view, tile)
    with steps.networked("encode"):
        return embedded(seen, model)


def coarse(image: Image, model: Model) -> NDArray[np.int32]:
    """Return the label image of the prompt generator's own masks, nothing decoded; the image is looked at whole."""
    view, config = View.of(image, model), model.config.proposals
    labels = coarse_labels(encode(view, Tile(whole(image), whole(image)), model).maps, config)
    found = label_images.objects(labels).values()
    masks = tuple(mask.zoomed(1 / view.zoom, image.shape) for mask in found if mask.area >= config.min_area)
    ones = np.ones(len(masks), np.float32)
    return label_images.paint(Masks(masks, np.arange(len(masks)), ones, ones, ones == 0), image.shape)[0]


def in_pixels(prompts: Prompts, shape: Shape, zoom: float) -> Prompts:
    """Return prompts found in model pixels in pixels of the image, `shape` being the tile's."""
    if zoom == 1:
        return prompts
    return Prompts(shape, tuple(prompt.zoomed(1 / zoom, shape) for prompt in prompts.items))


def opened(source: Source, page: int | None, channel: int | str | None, mpp: float | None) -> Image:
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

    if path.exists() and scans.is_scan(path):
        raise UnreadableImageError(f"{path} holds a scan, and this model is for planes; {for_volumes()}")
    return read(path, page, channel)


def opened_scan(source: Source, config: ModelConfig, frame: int | None, series: str | None) -> Image:
    """Return the scan that is meant; of several frames or series, the one that the caller chose."""
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_file() and suffix_of(path) and not scans.is_scan(path):
            raise UnreadableImageError(
                f"{path} is an image of planes, and {config.name} is for scans (NIfTI, DICOM); take a model for "
                f"planes: {', '.join(fitting(2))}"
            )
        return scans.read(path, frame=frame, series=series)
    refuse(frame, "only files have frames; pass the scan that is meant")
    refuse(series, "only DICOM folders have series; pass the scan that is meant")
    if isinstance(source, Image):
        return source
    return Image(np.asarray(source)[None]) if np.ndim(source) == 3 else Image.from_array(source)
