"""Many images, one after the other: what a folder of files needs beyond `segment`."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from promptless.embeddings import Embeddings
from promptless.errors import reason
from promptless.image import Origin
from promptless.io import outputs
from promptless.io.hashes import sha256
from promptless.io.readers.folders import images_in
from promptless.model import Model
from promptless.pipeline import segment
from promptless.registry import model_hash

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Job:
    """One image to segment, the name of its outputs, and the folder for them below the batch's own."""

    source: Path
    name: str
    below: Path = Path()


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done", "skipped" (its outputs were there) or "failed"."""

    job: Job
    state: str
    n_objects: int = 0
    origin: Origin = field(default_factory=Origin)
    message: str = ""
    paths: dict[str, Path] | None = None


def jobs(sources: Iterable[Path], recursive: bool = False, output: Path | None = None) -> list[Job]:
    """Return a job per image file; where stems coincide, the suffix joins the name of the outputs.

    With `recursive` folders stand for all that is below them, and the outputs lie in the same folders below
    `output`, from where nothing is read.
    """
    sources = list(sources)
    files = [(path, below(path, sources)) for path in images_in(sources, recursive, output)]
    stems = Counter((folder, path.stem) for path, folder in files)
    taken: set[tuple[str, str]] = set()
    unique = []
    for path, folder in files:
        alone = stems[folder, path.stem] == 1
        name = path.stem if alone else f"{path.stem}_{path.suffix[1:].lower()}"
        numbered = chain([name], (f"{name}_{i}" for i in count(2)))
        free = next(n for n in numbered if (str(folder).casefold(), n.casefold()) not in taken)
        taken.add((str(folder).casefold(), free.casefold()))
        unique.append(Job(path, free, folder))
    return unique


def below(path: Path, sources: Iterable[Path]) -> Path:
    """Return the folder of `path` as seen from the one of `sources` that it lies in."""
    roots = [source for source in sources if source != path and path.is_relative_to(source)]
    return path.parent.relative_to(roots[0]) if roots else Path()


def segment_all(
    todo: Sequence[Job],
    model: Model,
    folder: Path,
    *,
    overwrite: bool = False,
    keep_embedding: bool = False,
    also: Sequence[str] = (),
    overlay: str = "outlines",
    progress: Progress = lambda done, name: None,
    **options: Any,
) -> Iterable[Outcome]:
    """Segment every job's image with `options` (of `segment`) and save into `folder`; yield each outcome.

    `also` and `overlay` are those of `Segmentation.save`.
    An image that fails is reported and the others go on. An image whose manifest is there, for the same
    pixels, model and options, is skipped unless `overwrite`: the manifest is written last, so an
    interrupted batch goes on where it stopped.
    """
    kinds = outputs.wanted(also, overlay)
    wanted = requested(model, options | {"also": sorted(also), "overlay": overlay})
    for i, job in enumerate(todo):
        progress(i, job.source.name)
        target = folder / job.below
        targets = outputs.paths(target, job.name, kinds)
        try:
            if not overwrite and finished(job, targets["manifest"], wanted):
                yield Outcome(job, "skipped", paths=targets)
                continue
            kept = Embeddings(target / f"{job.name}_embedding") if keep_embedding else None
            told = BatchProgress(progress, i, job.source.name)
            result = segment(job.source, model, embeddings=kept, progress=told, **options)
            result = replace(result, manifest={**result.manifest, "requested": wanted})
            saved = outputs.save(result, target, job.name, kinds)
            yield Outcome(job, "done", result.n_objects, result.image.origin, paths=saved)
        except Exception as error:  # whatever is wrong with one image, the others go on
            log.debug("%s", job.source, exc_info=True)
            yield Outcome(job, "failed", message=reason(error))


def requested(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    """Return what decides, beside the image, what comes out."""
    return {"model": model_hash(model.config), **options}


def finished(job: Job, manifest: Path, wanted: dict[str, Any]) -> bool:
    """Return whether `manifest` vouches for this very image and request; raise where it vouches for another."""
    if not manifest.exists():
        return False
    record = json.loads(manifest.read_text(encoding="utf-8"))
    if record.get("requested") == wanted and record.get("input", {}).get("sha256") == sha256(job.source):
        return True
    raise FileExistsError(
        f"{manifest.parent} holds results named {job.name} of another image or other settings; "
        "--overwrite replaces them, another folder keeps both"
    )


@dataclass(frozen=True)
class BatchProgress:
    """The progress of one image of a batch, told as progress of the batch."""

    progress: Progress
    before: int
    name: str

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the batch is."""
        self.progress(self.before + done / total, self.name)
