"""Where the images of a training came from, so that it goes on with those alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from promptless.config import from_dict
from promptless.data import prepared

ORIGIN = "origin.json"
"""Within the folder of a training."""


@dataclass(frozen=True)
class Origin:
    """A folder of images and masks, as it was when training began; `sha256` is over the names and sizes of its files.

    `prepared` is the folder that is trained on, seen from that of the training.
    """

    name: str
    files: int
    sha256: str
    prepared: str

    def __str__(self) -> str:
        return f"{self.name} ({self.files} files, {self.sha256[:8]})"


def origin(data: Path, trained_on: Path | str) -> Origin:
    """Return what a folder is known by; an edited split makes no other one of it."""
    files = sorted(path for path in data.rglob("*") if path.is_file() and path != data / prepared.SPLIT)
    listing = "".join(f"{path.relative_to(data).as_posix()} {path.stat().st_size}\n" for path in files)
    return Origin(data.resolve().name, len(files), hashlib.sha256(listing.encode()).hexdigest(), str(trained_on))


def read(run: Path) -> Origin | None:
    """Return what the training in a folder began with, None where that was not written down."""
    path = run / ORIGIN
    return from_dict(Origin, json.loads(path.read_text(encoding="utf-8")), path) if path.is_file() else None


def write(run: Path, known: Origin) -> None:
    """Write down what a training begins with."""
    (run / ORIGIN).write_text(json.dumps(asdict(known), indent=1) + "\n", encoding="utf-8")


def check(run: Path, data: Path) -> None:
    """Refuse to go on with other images than those that a training began with."""
    began = read(run)
    if began is not None and (now := origin(data, "")).sha256 != began.sha256:
        raise ValueError(
            f"the training in {run} began with {began}, and {now} has other files, or of other sizes; --resume without "
            "--data goes on with the images that it began with, another folder (-o) begins anew with these"
        )
