"""What is known of each tile, a file for each: written whole or not at all, so a file that is there is done.

An unfinished run is a folder of such files; they are the journal that `--resume` goes on from.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.io.atomic import replacing
from promptless.masks import Mask, Masks
from promptless.prompts import Prompt

SUFFIX = ".tile"
LISTED = ("start", "shape", "coarse_start", "coarse_shape", "points", "asked_score")
"""Columns of the table of a tile's objects that are read value by value: where masks are, and of their prompts."""
NOTHING = b"nothing\n"
"""What the file of a tile holds that has no objects; shorter than any other."""


@dataclass(frozen=True, eq=False)
class Found:
    """The objects of a tile, in pixels of the image, and the prompt of each."""

    masks: Masks = field(default_factory=Masks)
    prompts: tuple[Prompt, ...] = ()

    def take(self, index: list[int]) -> Found:
        """Return the objects at these positions."""
        return Found(self.masks.take(index), tuple(self.prompts[i] for i in index))

    @classmethod
    def joined(cls, parts: list[Found]) -> Found:
        """Return all objects of `parts`, in order."""
        return cls(Masks.concatenate([part.masks for part in parts]), sum((part.prompts for part in parts), ()))

    def reach(self, ndim: int) -> NDArray[np.int64]:
        """Return the box (ndim, 2) around all objects, empty where there are none."""
        return self.masks.reach(ndim)


def path_of(folder: Path, number: int) -> Path:
    """Return where tile `number` is kept."""
    return folder / f"{number}{SUFFIX}"


def write(folder: Path, number: int, found: Found, ndim: int) -> None:
    """Keep the objects of a tile: their box, a table of them, points of the prompts, pixels of masks as bits."""
    if not len(found.masks):
        write_nothing(folder, number)
        return
    table = np.zeros(len(found.masks), row_type(ndim))
    bits: list[NDArray[np.uint8]] = []
    points: list[NDArray[np.float32]] = []
    marks: list[NDArray[np.int64]] = []
    for row, mask, prompt in zip(table, found.masks, found.prompts, strict=True):
        row["start"], row["shape"] = mask.start, mask.pixels.shape
        row["points"], row["asked_score"] = len(prompt.points), prompt.score
        row["box"] = np.nan if prompt.box is None else prompt.box
        bits.append(np.packbits(mask.pixels))
        if prompt.coarse is not None:
            row["coarse_start"], row["coarse_shape"] = prompt.coarse.start, prompt.coarse.pixels.shape
            bits.append(np.packbits(prompt.coarse.pixels))
        points.append(prompt.points)
        marks.append(prompt.point_labels)
    for name in COLUMNS:
        table[name] = getattr(found.masks, name)
    with replacing(path_of(folder, number)) as temporary, temporary.open("wb") as file:
        np.save(file, found.reach(ndim))
        np.save(file, table)
        np.save(file, np.concatenate(points).astype(np.float32))
        np.save(file, np.concatenate(marks).astype(np.int8))
        np.save(file, np.concatenate(bits))


def write_nothing(folder: Path, number: int) -> None:
    """Keep that a number is done, and has nothing."""
    with replacing(path_of(folder, number)) as temporary:
        temporary.write_bytes(NOTHING)


def nothing(path: Path) -> bool:
    """Return whether a tile was looked at, and has nothing."""
    return path.stat().st_size == len(NOTHING)


def read(folder: Path, number: int) -> Found:
    """Return the objects of a tile, none where it was not looked at."""
    path = path_of(folder, number)
    if not path.exists() or nothing(path):
        return Found()
    with path.open("rb") as file:
        np.load(file, allow_pickle=False)
        table = np.load(file, allow_pickle=False)
        points, marks, packed = (np.load(file, allow_pickle=False) for _ in range(3))
    bits, listed = np.unpackbits(packed).astype(np.bool_), {name: table[name].tolist() for name in LISTED}
    marks, boxes = marks.astype(np.int64), table["box"].copy()
    boxed = ~np.isnan(boxes).any(axis=(1, 2))
    masks, prompts, at, point = [], [], 0, 0
    for i, (start, shape, coarse_start, coarse_shape, n, score) in enumerate(zip(*listed.values(), strict=True)):
        mask, at = unpacked(bits, at, start, shape)
        coarse, at = unpacked(bits, at, coarse_start, coarse_shape)
        asked, point = slice(point, point + n), point + n
        box, about = boxes[i] if boxed[i] else None, coarse if coarse.pixels.size else None
        prompts.append(Prompt(i, points[asked], marks[asked], box, about, score))
        masks.append(mask)
    columns = {name: table[name].copy() for name in COLUMNS}
    return Found(Masks(tuple(masks), np.arange(len(masks)), **columns), tuple(prompts))


def unpacked(bits: NDArray[np.bool_], at: int, start: list[int], shape: list[int]) -> tuple[Mask, int]:
    """Return the mask whose bits begin at bit `at`, and where the byte ends that has its last."""
    n = prod(shape)
    return Mask(tuple(start), bits[at : at + n].reshape(shape)), at + -(-n // 8) * 8


def header(folder: Path, number: int) -> tuple[int, NDArray[np.int64]] | None:
    """Return how many objects a tile has, and the box around them; None where it has none."""
    path = path_of(folder, number)
    if nothing(path):
        return None
    with path.open("rb") as file:
        reach = np.load(file, allow_pickle=False)
        return len(np.load(file, allow_pickle=False)), reach


def done(folder: Path) -> set[int]:
    """Return the numbers that are kept in a folder; files that a power cut left empty are not."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        named = [entry for entry in entries if entry.name.endswith(SUFFIX) and entry.name[0].isdecimal()]
        return {int(entry.name.removesuffix(SUFFIX)) for entry in named if entry.stat().st_size}


def write_lines(folder: Path, number: int, lines: dict[str, str]) -> None:
    """Keep what is told of a tile: its lines of every table."""
    if not lines:
        write_nothing(folder, number)
        return
    with replacing(path_of(folder, number)) as temporary:
        temporary.write_text(json.dumps(lines), encoding="utf-8")


def read_lines(folder: Path, number: int) -> dict[str, str]:
    """Return what is told of a tile."""
    path = path_of(folder, number)
    return {} if nothing(path) else dict(json.loads(path.read_text(encoding="utf-8")))


COLUMNS = ("scores", "stability", "tile_border", "classes", "class_probabilities")


def row_type(ndim: int) -> np.dtype[Any]:
    """Return the type of an object's row."""
    place = (ndim,)
    return np.dtype(
        [
            ("start", np.int64, place),
            ("shape", np.int32, place),
            ("scores", np.float32),
            ("stability", np.float32),
            ("tile_border", np.bool_),
            ("classes", np.int64),
            ("class_probabilities", np.float32),
            ("points", np.int32),
            ("asked_score", np.float64),
            ("box", np.float32, (ndim, 2)),
            ("coarse_start", np.int64, place),
            ("coarse_shape", np.int32, place),
        ]
    )


def numbered(found: Found, first: int) -> Found:
    """Return objects with labels from `first` on; the prompts keep the ids that they have in their tile."""
    return replace(found, masks=replace(found.masks, ids=np.arange(first, first + len(found.masks))))
