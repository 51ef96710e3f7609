"""Editing: what changed in the prompts is decoded again, and every other object stays as it is, to the bit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless import labels as label_images
from promptless.classify import class_maps, classified
from promptless.config import DIRECT, SEMANTIC
from promptless.embeddings import Embeddings
from promptless.image import Shape
from promptless.loading import load, teacher_of
from promptless.masks import Mask, Masks
from promptless.model import Model
from promptless.pipeline import DEFAULTS, Progress, begun
from promptless.prompts import BACKGROUND, OBJECT, USER, Prompt, Prompts, digest
from promptless.record import Steps, named
from promptless.result import Segmentation
from promptless.semantic import NO_EDITING
from promptless.stitch import cut
from promptless.tiles import Tile
from promptless.view import View, encode
from promptless.windows import decode

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

LARGEST_ID = 2**31 - 1
SLACK = 0.01
"""Pixels by which a point may lie outside: rounding, and the way to another zoom and back, move it."""
MOST_POINTS = 64
"""What a prompt may have: every point is attended to by all others, and nobody clicks that often on one object."""


def edit(
    previous: Segmentation,
    prompts: Prompts,
    model: str | Path | Model = "nuclei",
    *,
    teacher: str | Path | Model | None = None,
    embeddings: Embeddings | None = None,
    progress: Progress = lambda done, total: None,
) -> Segmentation:
    """Return `previous` with the objects that `prompts` asks for.

    A prompt with a new id is decoded and its object added; one that differs from the prompt of that id is
    decoded again; an object whose prompt is gone (or has the state "deleted") is removed. All other objects
    keep their pixels, labels and scores. What is added or changed gets only pixels that are free; its label
    is the prompt's id, so labels may have gaps. Where the model sees nothing for an edited prompt, the earlier
    object stays, and a warning says so. `embeddings` saves looking at the image again. A model that decodes
    nothing leaves that to its `teacher`, which is the one that ships unless another place is named.
    """
    model, steps = load(model) if isinstance(model, str | Path) else model, Steps()
    if model.config.output == SEMANTIC:
        raise ValueError(f"{model.config.name} {NO_EDITING}")
    changes = Changes.between(previous, prompts)
    view = View.recorded(previous, model)
    decoder = decoding(model, teacher) if changes.asked else model
    decoded = answers(view, previous, changes.asked, decoder, embeddings, steps, progress)
    with steps.timed("assemble"):
        stay = [*changes.kept, *unanswered(changes, decoded)]
        kept = previous.masks.take(np.isin(previous.masks.ids, stay))
        canvas = np.where(np.isin(previous.labels, stay), previous.labels, 0)
        own = decoder is model  # a teacher's scores are not those of its student
        least = previous.manifest["arguments"]["min_score"] if own else decoder.config.min_score
        labels, masks = laid(canvas, kept, decoded, changes.asked, least)
    tell(changes, decoded, masks)
    final = surviving(prompts, changes, masks)
    record = recorded(previous, final, changes, decoder, steps)
    return Segmentation(previous.image, labels, masks, final, record)


def decoding(model: Model, teacher: str | Path | Model | None) -> Model:
    """Return the model that decodes prompts for `model`: itself, or its teacher."""
    if model.config.output != DIRECT:
        return model
    return teacher_of(model.config, teacher) if teacher is None or isinstance(teacher, str | Path) else teacher


def blank(source: Any, model: Model, **arguments: Any) -> Segmentation:
    """Return the segmentation of an image with no object yet, for prompts of one's own; `arguments`: see `segment`."""
    return begun(source, model, DEFAULTS | arguments, Steps())[0]


@dataclass(frozen=True)
class Changes:
    """What differs between a segmentation's prompts and edited ones."""

    kept: list[int]  # ids
    asked: tuple[Prompt, ...]  # added or edited
    deleted: list[int]  # ids

    @classmethod
    def between(cls, previous: Segmentation, prompts: Prompts) -> Changes:
        """Compare with the digests in the manifest, so that a prompts file may be edited in its place."""
        check(prompts, previous)
        before = {int(number): value for number, value in previous.manifest["prompts"].items()}
        wanted = [p for p in prompts.items if p.state != "deleted"]
        same = {p.id for p in wanted if before.get(p.id) == digest(p, prompts.shape)}
        asked = tuple(
            replace(p, state="edited", source=USER) if p.id in before else replace(p, state="added")
            for p in wanted
            if p.id not in same
        )
        return cls(sorted(same), asked, sorted(before.keys() - {p.id for p in wanted}))


def check(prompts: Prompts, previous: Segmentation) -> None:
    """Raise where prompts are not for the image, or two have one id."""
    if prompts.shape != previous.labels.shape:
        raise ValueError(
            f"the prompts are for an image of {times(prompts.shape)} pixels, "
            f"but this one has {times(previous.labels.shape)}"
        )
    twice = sorted(i for i, n in Counter(p.id for p in prompts.items).items() if n > 1)
    if twice:
        raise ValueError(f"the prompts have the ids {twice} more than once; give each object an id of its own")
    for p in prompts.items:
        check_one(p, prompts.shape)


def check_one(prompt: Prompt, shape: Shape) -> None:
    """Raise where a prompt cannot be asked in an image of `shape`."""
    sides = np.array(shape)
    if not 1 <= prompt.id <= LARGEST_ID:
        raise ValueError(f"a prompt has the id {prompt.id}; ids are labels, from 1 to {LARGEST_ID}")
    if len(prompt.points) > MOST_POINTS:
        raise ValueError(f"prompt {prompt.id} has {len(prompt.points)} points; at most {MOST_POINTS} are taken")
    inside = ((prompt.points >= -0.5 - SLACK) & (prompt.points <= sides - 0.5 + SLACK)).all(axis=1)
    if not inside.all():
        at = prompt.points[~inside][0].tolist()
        raise ValueError(f"prompt {prompt.id} has a point at {at}, outside the image of {times(shape)} pixels")
    if prompt.box is not None and not ((prompt.box[:, 0] >= 0) & (prompt.box[:, 1] <= sides)).all():
        box = prompt.box.tolist()
        raise ValueError(f"prompt {prompt.id} has the box {box}, outside the image of {times(shape)} pixels")


def times(shape: Shape) -> str:
    """Return a shape as people write it."""
    return " x ".join(map(str, shape))


def answers(
    view: View,
    previous: Segmentation,
    asked: Sequence[Prompt],
    model: Model,
    embeddings: Embeddings | None,
    steps: Steps,
    progress: Progress,
) -> Masks:
    """Return the objects that the prompts `asked` yield, in coordinates of the image, each decoded on one tile."""
    arguments = previous.manifest["arguments"]
    parts = []
    cuts = by_tile(asked, view.tiles(arguments["tile"], arguments["halo"]), view.image.shape)
    for done, (tile, chosen) in enumerate(cuts):
        with steps.timed("encode"):
            features, kinds = embedding(view, tile, model, embeddings)
        with steps.timed("decode"):
            local = Prompts(tile.shape, tuple(p.moved(tuple(-o for o in tile.offset)) for p in chosen))
            masks = classified(decode(model, features, local, view.zoom), kinds, view.zoom)
            moved = tuple(mask.moved(tile.offset) for mask in masks)
            border = np.array([cut(mask.box, tile, view.image.shape) for mask in moved], np.bool_)
            parts.append(replace(masks, masks=moved, tile_border=border))
        progress(done + 1, len(cuts))
    return Masks.concatenate(parts)


def embedding(view: View, tile: Tile, model: Model, embeddings: Embeddings | None) -> tuple[Array, Array]:
    """Return the embedding of a tile and its class maps: what was kept, else what is seen anew, and kept if it may be.

    A model that tells no classes has none of these maps.
    """
    if embeddings is None:
        return fresh(view, tile, model)
    key = view.key(model)
    features = embeddings.load(key, tile)
    kinds = embeddings.load_classes(key, tile) if model.config.classes else np.zeros((0, *tile.shape), np.float32)
    if features is None or kinds is None:
        features, kinds = fresh(view, tile, model)
        embeddings.save(key, tile, features)
        embeddings.save_classes(key, tile, kinds)
    return features, kinds


def fresh(view: View, tile: Tile, model: Model) -> tuple[Array, Array]:
    """Look at a tile, and return its embedding and its class maps."""
    seen = encode(view, tile, model)
    return seen.features, class_maps(seen.maps, model.config)


def by_tile(asked: Sequence[Prompt], tiles: Sequence[Tile], shape: Shape) -> list[tuple[Tile, list[Prompt]]]:
    """Return each tile that is needed with its prompts: those whose middle lies in its core."""
    members: dict[int, list[Prompt]] = {}
    for p in asked:
        middle = tuple(int(min(max(m, 0), n - 1)) for m, n in zip(p.extent.mean(axis=1), shape, strict=True))
        owner = next(i for i, tile in enumerate(tiles) if tile.owns(middle))
        members.setdefault(owner, []).append(p)
    return [(tiles[i], chosen) for i, chosen in sorted(members.items())]


def laid(
    canvas: NDArray[np.int32], kept: Masks, decoded: Masks, asked: Sequence[Prompt], min_score: float
) -> tuple[NDArray[np.int32], Masks]:
    """Return the label image and the objects, in order of their ids, with `decoded` painted on what is free.

    A user's prompts come first, and what they yield is kept however it scores and however little of it is
    free; automatic ones must reach `min_score` and keep their share, as in `segment`.
    """
    users = {p.id for p in asked if p.source == USER}
    own = np.isin(decoded.ids, sorted(users))
    rounds = ((decoded.take(own), 0.0), (decoded.take(~own & (decoded.scores >= min_score)), label_images.FREE_SHARE))
    parts = [kept]
    for masks, free_share in rounds:
        painted, laid_down = label_images.paint(masks, canvas.shape, taken=canvas > 0, free_share=free_share)
        numbers = np.concatenate([[0], laid_down.ids]).astype(np.int32)
        canvas = np.where(painted > 0, numbers[painted], canvas)
        parts.append(laid_down)
    every = Masks.concatenate(parts)
    return canvas, every.take(np.argsort(every.ids, kind="stable"))


def unanswered(changes: Changes, decoded: Masks) -> list[int]:
    """Return the edited ids for which the model saw nothing: their earlier objects stay."""
    found = set(decoded.ids.tolist())
    return [p.id for p in changes.asked if p.state == "edited" and p.id not in found]


def tell(changes: Changes, decoded: Masks, masks: Masks) -> None:
    """Warn of what a user asked for and does not get."""
    seen, present = set(decoded.ids.tolist()), set(masks.ids.tolist())
    for p in changes.asked:
        if p.source == USER and p.id not in present:
            log.warning("prompt %d yields no object: the model sees none there, or its pixels are taken", p.id)
        elif p.source == USER and p.id not in seen:
            log.warning("prompt %d yields no object: the model sees none there; the earlier one stays", p.id)


def surviving(prompts: Prompts, changes: Changes, masks: Masks) -> Prompts:
    """Return the prompts that have an object, in its order."""
    given = {p.id: p for p in prompts.items} | {p.id: p for p in changes.asked}
    return Prompts(prompts.shape, tuple(given[i] for i in masks.ids.tolist()))


def recorded(previous: Segmentation, final: Prompts, changes: Changes, decoder: Model, steps: Steps) -> dict[str, Any]:
    """Return the manifest of an edited segmentation: the previous one, what was done to it, and by which model."""
    digests = asked_digests(previous, final, changes)
    present = {p.id for p in final.items}
    entry = {
        "added": [p.id for p in changes.asked if p.state == "added" and p.id in present],
        "edited": [p.id for p in changes.asked if p.state == "edited" and p.id in present],
        "without_object": [p.id for p in changes.asked if p.id not in present],
        "deleted": sorted(set(changes.deleted) & set(previous.masks.ids.tolist())),
        "model": named(decoder.config),
        "seconds": steps.rounded(),
    }
    edits = [*previous.manifest.get("edits", []), entry]
    return previous.manifest | {"prompts": digests, "edits": edits}


def asked_digests(previous: Segmentation, final: Prompts, changes: Changes) -> dict[str, str]:
    """Return the digests of the final prompts, those of kept ones as they were."""
    before, kept = previous.manifest["prompts"], set(changes.kept)
    return {str(p.id): before[str(p.id)] if p.id in kept else digest(p, final.shape) for p in final.items}


def clicked(
    previous: Segmentation, positive: Iterable[tuple[float, ...]], negative: Iterable[tuple[float, ...]]
) -> Prompts:
    """Return a segmentation's prompts with a user's clicks (array order, pixels) merged into them.

    A positive click in an object corrects that object, as does a negative one; a positive click where there
    is none asks for a new object, with the negative clicks beside it that lie in no object.
    """
    check(previous.prompts, previous)
    new: list[Prompt] = []
    changed: dict[int, Prompt] = {}
    items = {p.id: p for p in previous.prompts.items if p.state != "deleted"}
    free: list[tuple[float, ...]] = []
    for label, clicks in ((OBJECT, positive), (BACKGROUND, negative)):
        for at in clicks:
            number = at_pixel(previous, at)
            if number in items:
                current = changed.get(number) or corrected(items[number], previous)
                changed[number] = with_point(current, at, label)
            elif label == OBJECT:
                number = 1 + max([*items, *(p.id for p in new)], default=0)
                new.append(Prompt(number, np.array([at], np.float32), np.array([OBJECT]), source=USER, state="added"))
            else:
                free.append(at)
    if free and not new:
        raise ValueError(f"the negative point {free[0]} lies in no object, and no new one was asked for")
    for at in free:
        new = [with_point(p, at, BACKGROUND) for p in new]
    return Prompts(previous.prompts.shape, (*(changed.get(i, p) for i, p in items.items()), *new))


def at_pixel(previous: Segmentation, at: tuple[float, ...]) -> int:
    """Return the label of the pixel that a click is in."""
    shape = previous.labels.shape
    if len(at) != len(shape) or not all(-0.5 <= a <= n - 0.5 for a, n in zip(at, shape, strict=True)):
        raise ValueError(f"the point {at} is not in the image of {times(shape)} pixels; give it as y,x from 0")
    return int(previous.labels[tuple(min(round(a), n - 1) for a, n in zip(at, shape, strict=True))])


def corrected(prompt: Prompt, previous: Segmentation) -> Prompt:
    """Return an object's prompt as a correction: its present mask, which clicks will change, and no box."""
    mask: Mask = previous.masks.masks[int(np.flatnonzero(previous.masks.ids == prompt.id)[0])]
    return replace(prompt, box=None, coarse=mask, source=USER, state="edited")


def with_point(prompt: Prompt, at: tuple[float, ...], label: int) -> Prompt:
    """Return a prompt with one more point."""
    points = np.concatenate([prompt.points, np.array([at], np.float32)])
    return replace(prompt, points=points, point_labels=np.append(prompt.point_labels, label))
