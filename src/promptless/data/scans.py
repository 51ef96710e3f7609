"""Labelled scans as they were published: files of images and of labels, and what `dataset.json` says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from promptless.data import prepared
from promptless.data.prepared import Facts
from promptless.data.source import Source, both
from promptless.data.volumes import SCANS, Original, opened
from promptless.io.label_files import suffix
from promptless.io.pairs import stem

NIFTI = (".nii", ".nii.gz")
Files = Mapping[str, Path]


def source(
    facts: Facts,
    images: Files,
    labels: Files,
    official: Mapping[str, str],
    *,
    frame: int | None = None,
    unpaired: Iterable[str] = (),
) -> Source[Original]:
    """Return the scans that have an image and labels by the same name; `frame` is the one to take of several."""
    ids, alone = both(images, labels, SCANS.labels)
    parts = {name: official[name] for name in ids if name in official}
    return Source(facts, SCANS, ids, partial(load, images, labels, frame), parts, unpaired=(*alone, *unpaired))


def load(images: Files, labels: Files, frame: int | None, name: str) -> Original:
    """Return one scan."""
    return Original(opened(name, images[name], labels[name], frame), images[name], labels[name])


def nifti_in(folder: Path) -> list[Path]:
    """Return the NIfTI files directly in a folder, sorted, none where there is no such folder; hidden ones are none."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if suffix(path) in NIFTI and not path.name.startswith(".")]


def described(folder: Path, example: str) -> tuple[Path, dict[str, Any]]:
    """Return the folder that holds `dataset.json`, `folder` or the only one in it that does, and what that says."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    homes = [path for path in (folder, *inside) if (path / prepared.SET).is_file()]
    if not homes:
        raise FileNotFoundError(f"{folder} holds no {prepared.SET}; name the folder that does, such as {example}")
    if homes[0] != folder and len(homes) > 1:
        raise ValueError(f"{folder} holds {len(homes)} sets ({', '.join(p.name for p in homes[:3])}); name one of them")
    return homes[0], prepared.described(homes[0])


def facts(folder: Path, known: Mapping[str, Any], kind: str) -> Facts:
    """Return what `dataset.json` says of a whole set; its name begins with `kind`."""
    name = str(known.get("name") or folder.resolve().name)
    licence = known.get("licence") or known.get("license") or "unknown"
    classes = prepared.class_names(folder)
    if not classes:
        raise ValueError(f"{folder / prepared.SET} names no classes under labels; what do the numbers mean?")
    return Facts(f"{kind}_{'_'.join(name.lower().split())}", str(licence), str(known.get("reference") or ""), classes)


def listed(known: Mapping[str, Any], *parts: str) -> list[str]:
    """Return the names of the scans that `dataset.json` lists for some parts."""
    entries = (entry for part in parts for entry in of(known, part))
    return [stem(Path(entry["image"] if isinstance(entry, dict) else entry)) for entry in entries]


def missing(names: Iterable[str], found: Iterable[str]) -> list[str]:
    """Return what is to be said of scans that are listed and of which there is no file at all."""
    there = set(found)
    return [f"{name} is listed in {prepared.SET} and has no files" for name in names if name not in there]


def of(known: Mapping[str, Any], key: str) -> list[Any]:
    """Return a list of `dataset.json`, an empty one where it has another thing there, or nothing."""
    entries = known.get(key)
    return entries if isinstance(entries, list) else []


def channels(known: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the channels by number, as `dataset.json` has them."""
    told = known.get("channel_names") or known.get("modality") or {}
    return {int(number): str(name) for number, name in told.items()}


def chosen(folder: Path, names: Mapping[int, str], channel: str | None) -> int:
    """Return the number of the channel that is meant, by its number or name; of several one must be chosen."""
    matching = [n for n, name in names.items() if channel is None or channel.lower() in (str(n), name.lower())]
    if len(matching) == 1:
        return matching[0]
    all_of_them = ", ".join(f"{number} {name}".strip() for number, name in names.items())
    what = f"has {len(names)} channels, and a model sees one" if channel is None else f"has no channel {channel}"
    raise ValueError(f"{folder} {what}; choose it with --channel: {all_of_them}")
