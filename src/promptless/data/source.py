"""A data set as it was published, before it is prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

from promptless.data.prepared import Facts, Layout, S

NO_IMAGE = " has no image"
"""What is said of labels whose image is missing."""


@dataclass(frozen=True, eq=False)
class Source(Generic[S]):
    """Images with labels, each loaded when it is asked for; `layout` is how they lie once they are prepared.

    `official` has the part (train, dev or test) of those IDs for which the publisher names it. Images of one
    `case` (a patient, a slide) stay in one part. `unpaired` says of each file without a partner what it lacks.
    """

    facts: Facts
    layout: Layout[S]
    ids: tuple[str, ...]
    load: Callable[[str], S]
    official: Mapping[str, str] = field(default_factory=dict)
    case: Callable[[str], str] = str
    unpaired: tuple[str, ...] = ()


def both(
    images: Iterable[str], labels: Iterable[str], called: str = "masks"
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names that have an image and labels, sorted, and what is to be said of those that lack one."""
    images, labels = set(images), set(labels)
    alone = [f"{name}{without(called)}" for name in sorted(images - labels)]
    return tuple(sorted(images & labels)), (*alone, *(f"{name}{NO_IMAGE}" for name in sorted(labels - images)))


def without(labels: str) -> str:
    """Return what is said of an image whose labels are missing."""
    return f" has no {labels}"


def files(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files with these suffixes in a folder and in those within it, sorted; hidden ones are none."""
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; name the one that the data set was unpacked into")
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))
