"""From a data set as it was published to a folder that training reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptless.data import prepared
from promptless.data.prepared import Layout, S
from promptless.data.source import NO_IMAGE, Source, without
from promptless.data.splits import split, split_for_training
from promptless.io.atomic import replacing_folder

NAMED = 3
"""So many files without a partner are named in a message."""
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Preparation:
    """What was prepared: the IDs of each part, what was left out, and the IDs of images with nothing labelled."""

    parts: dict[str, list[str]]
    left_out: tuple[str, ...]
    empty: tuple[str, ...] = ()


def prepare(
    source: Source[S],
    folder: Path,
    *,
    overwrite: bool = False,
    skip_unpaired: bool = False,
    progress: Progress = lambda done, name: None,
) -> Preparation:
    """Write `source` into `folder`, all or nothing; a split that is there already is kept.

    Where the publisher names no part of any image, no part is empty that need not be.
    """
    if source.unpaired and not source.ids:
        raise ValueError(strangers(source))
    if source.unpaired and not skip_unpaired:
        raise ValueError(f"{few(source.unpaired)}; --skip-unpaired leaves them out")
    if not source.ids:
        raise ValueError(
            f"there are no images with {source.layout.labels} for the set {source.facts.name}; is it the right folder?"
        )
    folder = folder.resolve()
    replaceable(folder, source.layout, overwrite)
    divide = split if source.official else split_for_training
    parts = divide(source.ids, source.case, source.official, kept(folder / prepared.SPLIT))
    with replacing_folder(folder) as aside:
        entries = prepared.write(aside, source.layout, source.facts, parts, loaded(source, progress))
    empty = tuple(entry["id"] for entry in entries if not entry[source.layout.counted])
    return Preparation(parts, source.unpaired, empty)


def loaded(source: Source[S], progress: Progress) -> Iterator[S]:
    """Yield the samples of a source one by one."""
    for done, name in enumerate(source.ids):
        progress(done, name)
        yield source.load(name)
    progress(len(source.ids), "")


def few(unpaired: tuple[str, ...]) -> str:
    """Return the first files without a partner, and how many more there are."""
    more = f", and {len(unpaired) - NAMED} more" if len(unpaired) > NAMED else ""
    return ", ".join(unpaired[:NAMED]) + more


def strangers(source: Source[S]) -> str:
    """Return what to say where no image and no labels belong together."""
    called = source.layout.labels
    images, labels = (
        [text.removesuffix(ending) for text in source.unpaired if text.endswith(ending)]
        for ending in (without(called), NO_IMAGE)
    )
    if not images and not labels:
        return f"{few(source.unpaired)}; {source.layout.pairing}"
    return (
        f"no {called} have the name of an image: {len(images)} image{'s' * (len(images) != 1)} ({named(images)}), "
        f"{len(labels)} with {called} ({named(labels)}); {source.layout.pairing}"
    )


def named(names: Sequence[str]) -> str:
    """Return the first of some names."""
    return ", ".join([*names[:NAMED], *["..."] * (len(names) > NAMED)]) or "none"


def replaceable(folder: Path, layout: Layout[S], overwrite: bool) -> None:
    """Refuse to replace anything but an empty folder, or a prepared one where that was asked for."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder with -o")
    there = {path.name for path in folder.iterdir()}
    if there and (there - layout.content or prepared.INDEX not in there):
        raise FileExistsError(f"{folder} holds other things than a prepared data set; choose another folder")
    if there and not overwrite:
        raise FileExistsError(f"{folder} is there; --overwrite prepares it anew and keeps its {prepared.SPLIT}")


def kept(path: Path) -> dict[str, str]:
    """Return the part of each ID in a split that was made before, nothing where there is none."""
    if not path.is_file():
        return {}
    content: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return {name: part for part, names in content.items() for name in names}
