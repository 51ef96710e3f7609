"""Phase one: the objects that a tile owns; no tile needs another."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from promptless.image import Shape
from promptless.large.store import Found
from promptless.masks import shared
from promptless.model import Model
from promptless.pipeline import segment_tile
from promptless.record import Steps
from promptless.tiles import Region, Tile, round_up, spans
from promptless.view import View

log = logging.getLogger(__name__)

LOOKS = 8
"""How often a tile is looked at again, elsewhere, for an object that its edge cuts."""
SAME = 0.5
"""An object seen again is the same where it has this share of the pixels that were seen of it."""


@dataclass(frozen=True)
class Look:
    """How tiles are looked at: by which model, what counts, and at most how large a part of the image at once."""

    view: View
    model: Model
    min_score: float
    halo: Shape  # pixels of the image, as is `room`
    room: Shape
    steps: Steps

    @classmethod
    def of(cls, view: View, model: Model, tile: int, halo: int, min_score: float, steps: Steps) -> Look:
        """Return how tiles of these model pixels are looked at."""
        core, around = ([round_up(n, view.align) for n in view.in_image(side)] for side in (tile, halo))
        room = tuple(n + 2 * h for n, h in zip(core, around, strict=True))
        return cls(view, model, min_score, tuple(around), room, steps)


def find(look: Look, tile: Tile) -> Found:
    """Return the objects that `tile` owns; where it does not fit in memory, it is cut in four, and so on."""
    try:
        return seen_whole(look, tile)
    except Exception as error:
        parts = quarters(look, tile)
        if not out_of_memory(error) or len(parts) < 2:
            raise
        log.warning("out of memory at %s; that tile is cut into %d smaller ones", place(tile), len(parts))
    room = tuple(max(sides) for sides in zip(*(part.shape for part in parts), strict=True))
    return Found.joined([find(replace(look, room=room), part) for part in parts])


def seen_whole(look: Look, tile: Tile) -> Found:
    """Return the objects that `tile` owns, each decoded where all of it is seen.

    An object that reaches an edge of what the model saw may go on beyond. It is looked at again where more of it is
    seen, until all of it is; then the middle of all of it decides whose it is. One that is larger than what is seen
    at once keeps its mark (`tile_border`).
    """
    found = looked_at(look, tile)
    cut = np.flatnonzero(found.masks.tile_border).tolist()
    whole = found.take([i for i in range(len(found.masks)) if i not in cut])
    return Found.joined([whole, *(followed(look, tile, found.take([i])) for i in cut)])


def followed(look: Look, tile: Tile, cut: Found) -> Found:
    """Return the object of which `cut` is what `tile` sees, if the tile owns all of it."""
    seen = tile.outer
    for _ in range(LOOKS):
        around = shifted(look, seen, cut)
        if around == seen:
            break
        seen = around
        again = looked_at(look, Tile(tile.core, seen))
        same = [i for i in range(len(again.masks)) if is_part(cut, again, i)]
        if not same or not again.masks.tile_border[same].all():
            return again.take([i for i in same if not again.masks.tile_border[i]])
        cut = again.take(same[:1])
    return cut


def looked_at(look: Look, tile: Tile) -> Found:
    """Return the objects that `tile` owns, and their prompts."""
    masks, prompts = segment_tile(look.view, tile, look.model, look.min_score, None, look.steps)
    return Found(masks, tuple(prompts))


def shifted(look: Look, seen: Region, cut: Found) -> Region:
    """Return a region, as large as may be seen at once, with as much room as can be where `cut` is cut."""
    out, align = [], look.view.align
    box = cut.masks.masks[0].box.tolist()
    for (start, stop), region, size, n in zip(box, seen, look.room, look.view.image.shape, strict=True):
        first = region.start
        if stop >= region.stop < n:
            first = (start - 1) // align * align
        elif start <= region.start > 0:
            first = -(-(stop + 1 - size) // align) * align
        first = min(max(0, first), max(0, round_up(n - size, align)))
        out.append(slice(first, min(n, first + size)))
    return tuple(out)


def is_part(piece: Found, again: Found, i: int) -> bool:
    """Return whether object i of `again` has most of the pixels of `piece`."""
    mask = piece.masks.masks[0]
    return shared(mask, again.masks.masks[i]) >= SAME * mask.area


def quarters(look: Look, tile: Tile) -> list[Tile]:
    """Return tiles half as large that own together what `tile` owns, with as much around each."""
    align, shape = look.view.align, look.view.image.shape
    axes = []
    for core, around, n in zip(tile.core, look.halo, shape, strict=True):
        half = -(-(core.stop - core.start) // 2 // align) * align
        parts = [core] if half < 1 else [own for own, _ in spans(core.stop - core.start, half, 0, align)]
        shift = 0 if half < 1 else core.start
        cores = [slice(own.start + shift, own.stop + shift) for own in parts]
        axes.append([(own, slice(max(0, own.start - around), min(n, own.stop + around))) for own in cores])
    return [Tile(tuple(c for c, _ in along), tuple(o for _, o in along)) for along in product(*axes)]


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory, of the processor or of a GPU, was too small."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or "outofmemory" in text or "out of memory" in text or "bad alloc" in text


def place(tile: Tile) -> str:
    """Return where a tile lies, for a person."""
    return " x ".join(f"{s.start}-{s.stop}" for s in tile.core)


def owned_in(found: Found, roi: Region) -> Found:
    """Return the objects whose middle lies in a region of the image."""
    part = Tile(roi, roi)
    return found.take([i for i, mask in enumerate(found.masks) if part.owns(mask.reference)])
