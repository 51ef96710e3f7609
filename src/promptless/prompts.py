"""Prompts: what the model is asked, by the prompt generator or by a user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.masks import Mask
from promptless.rle import decode_rle, encode_rles

OBJECT, BACKGROUND, PADDING = 1, 0, -1
AUTO, USER = "auto", "user"
Position = tuple[float, ...]
STATES = ("kept", "added", "edited", "deleted")


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is asked about one object.

    `points` (n, ndim) are pixel positions in array order, pixel (0, 0) having its centre at (0, 0);
    `point_labels` (n,) are 1 on the object and 0 beside it. `box` is (ndim, 2): start, stop, half open.
    `coarse` is a rough mask of the object. `id` is the label of the object that comes of it.
    """

    id: int
    points: NDArray[np.float32]
    point_labels: NDArray[np.int64]
    box: NDArray[np.float32] | None = None
    coarse: Mask | None = None
    score: float = 1.0
    source: str = AUTO
    state: str = "kept"

    def __post_init__(self) -> None:
        if len(self.points) != len(self.point_labels):
            raise ValueError(
                f"prompt {self.id} has {len(self.points)} points and {len(self.point_labels)} point labels"
            )
        marks = self.point_labels.tolist()
        if not {OBJECT, BACKGROUND}.issuperset(marks):
            raise ValueError(f"prompt {self.id} has point labels {marks}; use 1 (object) or 0 (not)")
        if self.box is None and self.coarse is None and OBJECT not in marks:
            raise ValueError(
                f"prompt {self.id} does not say where the object is; give a point labelled 1, a box or a mask"
            )
        if self.box is not None and not (self.box[:, 0] < self.box[:, 1]).all():
            raise ValueError(f"prompt {self.id} has the box {self.box.tolist()}; every start must be below its stop")
        if self.source not in (AUTO, USER) or self.state not in STATES:
            raise ValueError(
                f"prompt {self.id} has source {self.source!r} and state {self.state!r}; "
                f"use {AUTO} or {USER}, and one of {', '.join(STATES)}"
            )

    @property
    def extent(self) -> NDArray[np.float32]:
        """The box (ndim, 2) that the prompt speaks of: its own, else its mask's, else around its positive points."""
        if self.box is not None:
            return self.box
        if self.coarse is not None:
            return self.coarse.box.astype(np.float32)
        positive = self.points[self.point_labels == OBJECT]
        return np.stack([positive.min(axis=0), positive.max(axis=0) + 1], axis=1)

    def moved(self, offset: Shape) -> Prompt:
        """Return the same prompt `offset` pixels further along each axis."""
        shift = np.asarray(offset, np.float32)
        return Prompt(
            self.id,
            self.points + shift,
            self.point_labels,
            None if self.box is None else self.box + shift[:, None],
            None if self.coarse is None else self.coarse.moved(offset),
            self.score,
            self.source,
            self.state,
        )

    def zoomed(self, factor: float, shape: Shape) -> Prompt:
        """Return the same prompt in an image of `shape` whose pixels are `factor` times as many along each axis."""
        coarse = None if self.coarse is None else self.coarse.zoomed(factor, shape)
        return Prompt(
            self.id,
            (self.points + 0.5) * np.float32(factor) - np.float32(0.5),
            self.point_labels,
            None
            if self.box is None
            else np.minimum(self.box * np.float32(factor), np.array(shape, np.float32)[:, None]),
            coarse if coarse is not None and coarse.area else None,
            self.score,
            self.source,
            self.state,
        )


@dataclass(frozen=True, eq=False)
class Points:
    """Points in array order, pixel (0, 0) having its centre at (0, 0): `coords` (n, ndim), `labels` (n,) 1 or 0.

    In a scan the labels are the classes that are there, 0 for none.
    """

    coords: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, positive: Iterable[Position] = (), negative: Iterable[Position] = (), ndim: int = 2) -> Points:
        """Return points on what is meant, and points beside it; `ndim` is how many axes none of them have."""
        on, beside = list(positive), list(negative)
        lengths = {len(at) for at in (*on, *beside)} or {ndim}
        if len(lengths) > 1:
            raise ValueError(f"points have {sorted(lengths)} coordinates; give each as many as the image has axes")
        coords = np.array([*on, *beside], np.float32).reshape(-1, *lengths)
        return cls(coords, np.array([OBJECT] * len(on) + [BACKGROUND] * len(beside), np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, more: Points) -> Points:
        return Points(np.concatenate([self.coords, more.coords]), np.concatenate([self.labels, more.labels]))

    def take(self, index: NDArray[np.bool_]) -> Points:
        """Return the points that `index` selects."""
        return Points(self.coords[index], self.labels[index])

    def moved(self, offset: Shape) -> Points:
        """Return the same points `offset` pixels further along each axis."""
        return Points(self.coords + np.asarray(offset, np.float32), self.labels)

    def zoomed(self, factor: float | Sequence[float]) -> Points:
        """Return the same points where pixels are `factor` times as many along each axis, or along all axes."""
        scale = np.asarray(factor, np.float32)
        return Points((self.coords + np.float32(0.5)) * scale - np.float32(0.5), self.labels)

    def mirrored(self, axes: Sequence[int], shape: Shape) -> Points:
        """Return the same points in an image of `shape` that is turned round along some axes."""
        coords = self.coords.copy()
        for axis in axes:
            coords[:, axis] = shape[axis] - 1 - coords[:, axis]
        return Points(coords, self.labels)

    def within(self, region: tuple[slice, ...]) -> Points:
        """Return the points whose pixel lies in a region, in coordinates of that region."""
        starts, stops = (np.array([getattr(part, end) for part in region]) for end in ("start", "stop"))
        pixels = np.floor(self.coords + 0.5)
        inside = ((pixels >= starts) & (pixels < stops)).all(axis=1)
        return self.take(inside).moved(tuple(-starts))

    def padded(self, tokens: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return coordinates and labels of at least `tokens` points, the last of them padding, labelled -1."""
        missing = max(1, tokens - len(self))
        coords = np.pad(self.coords, ((0, missing), (0, 0)))
        return coords, np.pad(self.labels, (0, missing), constant_values=PADDING)


@dataclass(frozen=True, eq=False)
class Prompts:
    """The prompts of an image of spatial `shape`, one per object; `image` is its file's SHA-256, "" where not known."""

    shape: Shape
    items: tuple[Prompt, ...] = field(default=())
    image: str = ""

    def __len__(self) -> int:
        return len(self.items)

    def digests(self) -> dict[str, str]:
        """Return for each id what tells its prompt from an edited one: whatever a decoder is asked with."""
        return {str(prompt.id): digest(prompt, self.shape) for prompt in self.items}

    def to_json(self) -> str:
        """Return the text of a `NAME_prompts.json` file, one line per object, so that it can be compared and edited."""
        lines = ",\n".join("  " + json.dumps(entry) for entry in to_entries(self.items, self.shape))
        head = json.dumps(
            {
                "format": "promptless.prompts",
                "version": 1,
                "image": self.image,
                "axes": axes(self.shape),
                "shape": self.shape,
            }
        )
        return f'{head[:-1]}, "prompts": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, text: str) -> Prompts:
        """Read what `to_json` wrote, perhaps edited since; an entry needs an id and a point, a box or a mask."""
        content = json.loads(text)
        known = isinstance(content, dict) and content.get("format") == "promptless.prompts"
        if not known or content.get("version") != 1:
            raise ValueError('this is not a prompts file: it must say "format": "promptless.prompts", "version": 1')
        shape, entries = content.get("shape"), content.get("prompts")
        if not isinstance(shape, list) or not all(isinstance(n, int) and n > 0 for n in shape):
            raise ValueError(f'the prompts file has the shape {shape!r}; it must be the image\'s, as "shape": [y, x]')
        if not isinstance(entries, list):
            raise ValueError('the prompts file has no list of "prompts"')
        items = tuple(entry_at(i, entry, tuple(shape)) for i, entry in enumerate(entries))
        return cls(tuple(shape), items, str(content.get("image", "")))

    def save(self, path: Path) -> None:
        """Write the prompts file."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Prompts:
        """Read a prompts file."""
        if not path.is_file():
            raise FileNotFoundError(f"there is no prompts file {path}")
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not a text file") from error
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: {error}") from error


def entry_at(position: int, entry: Any, shape: Shape) -> Prompt:
    """Return the prompt at `position` (from 0) of a file, saying which one is malformed."""
    try:
        return from_entry(entry, shape)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        known = f"lacks {error}" if isinstance(error, KeyError) else f"is malformed: {error}"
        raise ValueError(f"entry {position + 1} of the prompts {known}") from error


def axes(shape: Shape) -> str:
    """Return the names of the spatial axes."""
    return "zyx"[-len(shape) :]


def digest(prompt: Prompt, shape: Shape) -> str:
    """Return a hash of all that the decoder is asked with; score, source and state are not."""
    asked = hashlib.sha256(repr((rounded(prompt.points), prompt.point_labels.tolist())).encode())
    if prompt.box is not None:
        asked.update(f"box {rounded(prompt.box)}".encode())
    if prompt.coarse is not None:
        mask = prompt.coarse.clipped(shape).trimmed()
        asked.update(f"mask {mask.start} {mask.pixels.shape}".encode() + np.packbits(mask.pixels).tobytes())
    return asked.hexdigest()[:16]


def rounded(positions: NDArray[np.float32]) -> list[list[float]]:
    """Return positions (n, ...) as a file has them."""
    return [[round(float(v), 2) for v in position] for position in positions]


def to_entries(prompts: Sequence[Prompt], shape: Shape) -> Iterator[dict[str, Any]]:
    """Yield each prompt as JSON values."""
    coarse = encode_rles([prompt.coarse for prompt in prompts if prompt.coarse is not None], shape)
    for prompt in prompts:
        yield {
            "id": prompt.id,
            "points": rounded(prompt.points),
            "point_labels": prompt.point_labels.tolist(),
            "box": None if prompt.box is None else rounded(prompt.box),
            "coarse": None if prompt.coarse is None else next(coarse),
            "score": round(float(prompt.score), 4),
            "source": prompt.source,
            "state": prompt.state,
        }


def from_entry(entry: dict[str, Any], shape: Shape) -> Prompt:
    """Return the prompt that JSON values describe, in an image of `shape`."""
    ndim = len(shape)
    box, coarse = entry.get("box"), entry.get("coarse")
    return Prompt(
        int(entry["id"]),
        np.asarray(entry.get("points") or [], np.float32).reshape(-1, ndim),
        np.asarray(entry.get("point_labels") or [], np.int64),
        None if box is None else np.asarray(box, np.float32).reshape(ndim, 2),
        None if coarse is None else decode_rle(coarse, shape),
        float(entry.get("score", 1.0)),
        str(entry.get("source", USER)),
        str(entry.get("state", "added")),
    )
