"""A data set as it was published, before it is prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promptless.data.prepared import Facts
from promptless.data.sample import Sample

NO_MASKS, NO_IMAGE = " has no masks", " has no image"
"""What is said of a name that has only one of both."""


@dataclass(frozen=True, eq=False)
class Source:
    """Images with labels, each loaded when it is asked for.

    `official` has the part (train, dev or test) of those IDs for which the publisher names it. Images of one
    `case` (a patient, a slide) stay in one part. `unpaired` says of each file without a partner what it lacks.
    """

    facts: Facts
    ids: tuple[str, ...]
    load: Callable[[str], Sample]
    official: Mapping[str, str] = field(default_factory=dict)
    case: Callable[[str], str] = str
    unpaired: tuple[str, ...] = ()


def both(images: Iterable[str], masks: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that have an image and masks, sorted, and what is to be said of those that lack one."""
    images, masks = set(images), set(masks)
    alone = [f"{name}{NO_MASKS}" for name in sorted(images - masks)]
    return tuple(sorted(images & masks)), (*alone, *(f"{name}{NO_IMAGE}" for name in sorted(masks - images)))


def files(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files with these suffixes in a folder and in those within it, sorted; hidden ones are none."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; name the one that the data set was unpacked into")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))
