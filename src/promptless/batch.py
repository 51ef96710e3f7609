"""Many images, one after the other: what a folder of files needs beyond `segment`."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptless.io import outputs, readers
from promptless.model import Model
from promptless.pipeline import segment
from promptless.registry import sha256

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Job:
    """One image to segment, and the name of its outputs."""

    source: Path
    name: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done", "skipped" (its outputs were there) or "failed"."""

    job: Job
    state: str
    n_objects: int = 0
    message: str = ""
    paths: dict[str, Path] | None = None


def jobs(sources: Iterable[Path]) -> list[Job]:
    """Return a job per image file; where stems coincide, the suffix joins the name of the outputs."""
    files = readers.images_in(sources)
    stems = Counter(path.stem for path in files)
    names = [path.stem if stems[path.stem] == 1 else f"{path.stem}_{path.suffix[1:].lower()}" for path in files]
    seen: Counter[str] = Counter()
    unique = []
    for path, name in zip(files, names, strict=True):
        seen[name] += 1
        unique.append(Job(path, name if seen[name] == 1 else f"{name}_{seen[name]}"))
    return unique


def segment_all(
    todo: Sequence[Job],
    model: Model,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Progress = lambda done, name: None,
    **options: Any,
) -> Iterable[Outcome]:
    """Segment every job's image with `options` (of `segment`) and save into `folder`; yield each outcome.

    An image that fails is reported and the others go on. An image whose manifest is there is skipped
    unless `overwrite`: the manifest is written last, so an interrupted batch goes on where it stopped.
    """
    for i, job in enumerate(todo):
        progress(i, job.source.name)
        targets = outputs.paths(folder, job.name)
        if targets["manifest"].exists() and not overwrite:
            yield Outcome(job, "skipped", paths=targets)
            continue
        try:
            yield segment_one(job, model, folder, Offset(progress, i, job.source.name), options)
        except (ValueError, OSError, MemoryError) as error:
            log.debug("%s", job.source, exc_info=sys.exc_info())
            yield Outcome(
                job,
                "failed",
                message=f"{type(error).__name__}: out of memory" if isinstance(error, MemoryError) else str(error),
            )


@dataclass(frozen=True)
class Offset:
    """The progress of one image of a batch, told as progress of the batch."""

    progress: Progress
    before: int
    name: str

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the batch is."""
        self.progress(self.before + done / total, self.name)


def segment_one(
    job: Job, model: Model, folder: Path, progress: Callable[[int, int], None], options: dict[str, Any]
) -> Outcome:
    """Segment one image and save its outputs."""
    result = segment(job.source, model, progress=progress, **options)
    result.manifest["input"] = {"name": job.source.name, "sha256": sha256(job.source)}
    paths = result.save(folder, job.name)
    return Outcome(job, "done", result.n_objects, paths=paths)
