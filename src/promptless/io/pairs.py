"""Which predicted file belongs to which true one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from promptless.io.label_files import READERS, suffix

ENDINGS = re.compile(r"[_-](labels?|labelled|cp_masks|masks?|pred(iction)?s?|seg(mentation)?|gt|truth)$", re.IGNORECASE)
"""What is put behind an image's name to say that this are its labels; `_cp_masks` is cellpose's."""

BESIDE = (
    ("_overlay.png", "_labels.tif"),
    ("_overlay.png", "_labels.nii.gz"),
    ("_prompt.png", "_labels.nii.gz"),
    ("_probabilities.nii.gz", "_labels.nii.gz"),
)
"""What promptless writes that is no label image, by how its name ends, and how that of the labels beside it does."""


@dataclass(frozen=True)
class Pairing:
    """Pairs of files (true, predicted) by the name they share, and the files that have no partner."""

    pairs: dict[str, tuple[Path, Path]]
    only_true: tuple[Path, ...]
    only_predicted: tuple[Path, ...]


def pair(truth: Path, predicted: Path) -> Pairing:
    """Pair the label files of two folders by stem, or two files whatever their names.

    Stems that are equal come first; then those that are once `_labels`, `_masks` and the like are taken off, where
    NAME.png beside NAME_masks.png is the image of it.
    """
    if truth.is_file() and predicted.is_file():
        return Pairing({stem(truth): (truth, predicted)}, (), ())
    ours, theirs = label_files(truth), label_files(predicted)
    pairs: dict[str, tuple[Path, Path]] = {}
    for key in (stem, core):
        true_names, predicted_names = by_name(ours, key), by_name(theirs, key)
        found = {n: (true_names[n], predicted_names[n]) for n in true_names if n in predicted_names}
        pairs |= {stem(pair[0]): pair for pair in found.values()}
        ours = without_images(path for path in ours if path not in {t for t, _ in found.values()})
        theirs = without_images(path for path in theirs if path not in {p for _, p in found.values()})
    return Pairing(dict(sorted(pairs.items())), tuple(ours), tuple(theirs))


def label_files(path: Path) -> list[Path]:
    """Return a file, or the label files directly in a folder, sorted.

    Where promptless wrote NAME_labels.tif, its overlay and class map are none, and NAME.png is the image of it; where
    it wrote NAME_labels.nii.gz, neither are pictures and probabilities.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.is_file():
        return [path]
    files = sorted(p for p in path.iterdir() if suffix(p) in READERS and p.is_file() and not p.name.startswith("."))
    names = {p.name for p in files}
    files = [p for p in files if not beside_labels(p.name, names)]
    written = {name.removesuffix("_labels.tif") for name in names if name.endswith("_labels.tif")}
    written = {name for name in written if (path / f"{name}_manifest.json").is_file()}
    return [p for p in files if stem(p).removesuffix("_classes") not in written]


def without_images(files: Iterable[Path]) -> list[Path]:
    """Return files without those that are, by their names, the images of which others are the labels."""
    files = list(files)
    labelled = {core(path) for path in files if core(path) != stem(path)}
    return [path for path in files if stem(path) not in labelled]


def beside_labels(name: str, names: Collection[str]) -> bool:
    """Return whether a file of this name is a picture, or probabilities, of labels that have one of `names`."""
    return any(name.endswith(ending) and name.removesuffix(ending) + labels in names for ending, labels in BESIDE)


def by_name(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, Path]:
    """Return files by name; two of one name are refused, since nobody can tell which is meant."""
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(name(path), path)
        if other != path:
            raise ValueError(f"{other.name} and {path.name} in {path.parent} are both named {name(path)}; keep one")
    return found


def stem(path: Path) -> str:
    """Return a file's name without its suffix."""
    return path.name[: -len(suffix(path))] if suffix(path) else path.name


def core(path: Path) -> str:
    """Return the stem without what says that a file holds labels."""
    return ENDINGS.sub("", stem(path))
