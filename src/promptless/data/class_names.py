"""What the classes in files of labels are called, out of what stands beside the files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from promptless.data import prepared
from promptless.io.label_files import suffix


def common(paths: Iterable[Path]) -> dict[int, str]:
    """Return the names that stand beside any of the files, by number; files that disagree are refused.

    Two names are one where they differ in capitals, blanks and underscores alone.
    """
    of_set = cache(prepared.class_names)
    found: dict[int, tuple[str, Path]] = {}
    for path in paths:
        for value, name in (sidecar(path) or of_set(path.parent) or of_set(path.parent.parent)).items():
            other, where = found.setdefault(value, (name, path))
            if plain(other) != plain(name):
                raise ValueError(
                    f"class {value} is {other} beside {where} and {name} beside {path}; number them alike, or name the "
                    "classes (--classes) if they are the same"
                )
    return {value: found[value][0] for value in sorted(found)}


def sidecar(path: Path) -> dict[int, str]:
    """Return the names in the JSON beside a NIfTI file of labels, nothing where there are none."""
    if ".nii" not in suffix(path):
        return {}
    from promptless.io.scans import nifti

    return {value: name for value, name in nifti.read_names(path).items() if value}


def plain(name: str) -> str:
    """Return a name as it is compared with others."""
    return "".join(character for character in name.casefold() if character not in " _-")
