"""A user's clicks in a scan: what is where, in whatever way a place is told."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.prompts import Points, Position

OWN, MM, LABELS = SPACES = ("voxels", "mm", "labels")
"""What the three numbers of a place count: voxels (z, y, x) of the scan's own array, which in a file are (k, j, i);
millimetres towards right, front and head, by the scan's affine; voxels (z, y, x) of `VolumeSegmentation.labels`."""
NOTHING = "background"
FORMAT, VERSION = "promptless.points", 1
EDGE = 0.001
"""Voxels by which a click keeps away from the edge of a scan, so that rounding leaves it inside."""
Frames = Mapping[str, NDArray[np.float64]]
"""For each space the affine (4x4) that takes a voxel (z, y, x, 1) of the labels to it."""


@dataclass(frozen=True)
class Click:
    """A place in a scan, and the class that is there, by name or number; 0 or "background" where there is none.

    `space` is one of `SPACES`; the first voxel has its centre at (0, 0, 0).
    """

    place: Position
    label: str | int
    space: str = OWN

    def __post_init__(self) -> None:
        if isinstance(self.place, str):
            raise ValueError(f"a click is at {self.place!r}; a place in a scan has three numbers, z, y and x")
        object.__setattr__(self, "place", tuple(float(value) for value in self.place))
        if isinstance(self.label, np.integer):
            object.__setattr__(self, "label", int(self.label))
        if len(self.place) != 3 or not all(map(math.isfinite, self.place)):
            raise ValueError(f"a click is at {list(self.place)}; a place in a scan has three numbers, z, y and x")
        if isinstance(self.label, bool) or not isinstance(self.label, str | int):
            raise ValueError(f"a click has the class {self.label!r}; give its name or its number, 0 for none")
        if self.space not in SPACES:
            raise ValueError(f"a click is given in {self.space!r}; the space must be one of {', '.join(SPACES)}")


@dataclass(frozen=True)
class Clicks:
    """Clicks in a scan; `image` is the SHA-256 of its file, "" where they may be for any."""

    items: tuple[Click, ...]
    image: str = ""

    @classmethod
    def from_json(cls, text: str) -> Clicks:
        """Read {"space": ..., "points": [{"point": [z, y, x], "class": ...}, ...]}."""
        content = json.loads(text)
        if not isinstance(content, dict) or not isinstance(content.get("points"), list):
            raise ValueError(f'this is no file of points; it looks like {{"points": [{EXAMPLE}]}}')
        if (content.get("format", FORMAT), content.get("version", VERSION)) != (FORMAT, VERSION):
            raise ValueError(
                f'it says "format": "{content.get("format")}", "version": {content.get("version")}; points of scans '
                f'have "format": "{FORMAT}", "version": {VERSION}'
            )
        space = content.get("space", OWN)
        items = tuple(click_at(i, entry, space) for i, entry in enumerate(content["points"]))
        return cls(items, str(content.get("image") or ""))

    @classmethod
    def load(cls, path: Path) -> Clicks:
        """Read a file of points."""
        if not path.is_file():
            raise FileNotFoundError(f"there is no file of points {path}")
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a text file") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {error}") from error


EXAMPLE = '{"point": [12, 30, 21], "class": "liver"}'


def click_at(position: int, entry: Any, space: Any) -> Click:
    """Return the click at `position` (from 0) of a file, saying which one is malformed."""
    if not isinstance(entry, dict) or set(entry) != {"point", "class"}:
        raise ValueError(f"entry {position + 1} of the points is {json.dumps(entry)}; write it as {EXAMPLE}")
    try:
        return Click(entry["point"], entry["class"], space)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"entry {position + 1} of the points is malformed: {error}") from error


def entries(points: Points, names: Sequence[str], frames: Frames) -> list[dict[str, Any]]:
    """Return points as a file has them, in voxels of the scan's own array."""
    places = onto(points.coords.astype(np.float64), frames[OWN]).round(3) + 0.0
    called = (NOTHING, *names)
    return [{"point": p, "class": called[c]} for p, c in zip(places.tolist(), points.labels.tolist(), strict=True)]


def placed(clicks: Iterable[Click], names: Sequence[str], frames: Frames, shape: Shape) -> Points:
    """Return clicks as points in voxels of the labels (z, y, x) of a scan of `shape`; their labels are classes.

    `names` are those of the classes 1, 2, ... Who is outside of the scan, or of no class, is refused. Of several clicks
    at one voxel the last one counts.
    """
    every = list(clicks)
    places = [place_of(click, frames, shape) for click in every]
    classes = [class_of(click.label, names) for click in every]
    last = {tuple(np.round(place).astype(int).tolist()): i for i, place in enumerate(places)}
    kept = sorted(last.values())
    return Points(np.array(places, np.float32).reshape(-1, 3)[kept], np.array(classes, np.int64)[kept])


def place_of(click: Click, frames: Frames, shape: Shape) -> NDArray[np.float64]:
    """Return the voxel (z, y, x) of the labels that a click is at."""
    if click.space not in frames:
        raise ValueError(
            f"a click is at {list(click.place)} in {click.space}, and where the scan lies in the patient is not known; "
            f'give it in voxels ("space": "{OWN}")'
        )
    frame = frames[click.space]
    place = onto(np.array([click.place]), np.asarray(np.linalg.inv(frame), np.float64))[0]
    if ((place < -0.5) | (place >= np.array(shape) - 0.5)).any():
        ends = onto(np.array(list(product(*((0, n - 1) for n in shape))), float), frame)
        spans = ", ".join(f"{a:g} to {b:g}" for a, b in zip(ends.min(axis=0), ends.max(axis=0), strict=True))
        raise ValueError(
            f"a click is at {list(click.place)}, outside of the scan, which has its voxels at {spans} "
            f"(space: {click.space}); count from 0, or give it in another space: {', '.join(SPACES)}"
        )
    return np.asarray(np.clip(place, EDGE - 0.5, np.array(shape) - 0.5 - EDGE))


def onto(places: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places (n, 3) by an affine (4x4)."""
    return np.asarray(places @ affine[:3, :3].T + affine[:3, 3])


def class_of(label: str | int, names: Sequence[str]) -> int:
    """Return the number of a class that is given by its name, in any case, or by its number."""
    called = [name.strip() for name in (NOTHING, *names)]
    text = str(label).strip()
    if isinstance(label, str):
        exact = [number for number, name in enumerate(called) if name == text]
        alike = exact or [number for number, name in enumerate(called) if name.casefold() == text.casefold()]
        if len(alike) == 1:
            return alike[0]
    if text.isdecimal() and int(text) < len(called):
        return int(text)
    near = get_close_matches(text.casefold(), [name.casefold() for name in called], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    known = ", ".join(f"{number} {name}" for number, name in enumerate((NOTHING, *names)))
    raise ValueError(f"a click has the class {label!r}, which the model does not tell; {meant}it tells {known}")
