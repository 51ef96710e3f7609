"""Many images, one after the other: what a folder of files needs beyond `segment`."""

from __future__ import annotations

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
from promptless.io import manifests, outputs
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
    overlay: str | None = None,
    progress: Progress = lambda done, name: None,
    **options: Any,
) -> Iterable[Outcome]:
    """Segment every job's image with `options` (of `segment`) and save into `folder`; yield each outcome.

    `also` and `overlay` are those of `Segmentation.save`.
    An image that fails is reported and the others go on. An image whose manifest is there, for the same
    pixels, model and options, is skipped unless `overwrite`: the manifest is written last, so an
    interrupted batch goes on where it stopped. A file that promptless did not write is not replaced unless
    `overwrite`, and one that is to be read never is.
    """
    style = overlay or outputs.PLAIN
    kinds = outputs.wanted(also, style)
    request = Request(requested(model, options), frozenset(also), overlay)
    spare(todo, folder, kinds)
    for i, job in enumerate(todo):
        progress(i, job.source.name)
        target = folder / job.below
        targets = outputs.paths(target, job.name, kinds)
        try:
            kept = Embeddings(target / f"{job.name}_embedding") if keep_embedding else None
            if not overwrite and finished(job, targets["manifest"], request, kept):
                yield Outcome(job, "skipped", paths=targets)
                continue
            if not overwrite:
                keep_foreign(outputs.foreign(target, job.name, kinds))
            told = BatchProgress(progress, i, job.source.name)
            result = segment(job.source, model, embeddings=kept, progress=told, **options)
            result = replace(result, manifest={**result.manifest, "requested": request.options, "overlay": style})
            saved = outputs.save(result, target, job.name, kinds)
            yield Outcome(job, "done", result.n_objects, result.image.origin, paths=saved)
        except Exception as error:  # whatever is wrong with one image, the others go on
            log.debug("%s", job.source, exc_info=True)
            yield Outcome(job, "failed", message=reason(error))


def requested(model: Model, options: dict[str, Any]) -> dict[str, Any]:
    """Return what decides, beside the image, what comes out."""
    return {"model": model_hash(model.config), **options}


@dataclass(frozen=True)
class Request:
    """What decides which files come out: the options that decide the objects, and the kinds of output."""

    options: dict[str, Any]
    also: frozenset[str]
    overlay: str | None  # None: whatever there is

    def other(self, record: manifests.Record, source: Path) -> list[str]:
        """Return in what the results that a manifest describes differ from this request."""
        before = record.get("requested", {})
        differs = [] if record.get("input", {}).get("sha256") == sha256(source) else ["image"]
        differs += [name for name, value in self.options.items() if before.get(name, ...) != value]
        differs += ["overlay"] * (self.overlay not in (None, record.get("overlay")))
        return differs + sorted(self.also - record.get("outputs", {}).keys())


def finished(job: Job, manifest: Path, request: Request, kept: Embeddings | None) -> bool:
    """Return whether `manifest` vouches for this very image and request; raise where it vouches for another.

    Results of which a file is gone, or the label image is not what it was, are not finished, nor are those
    without an embedding that shall be kept.
    """
    if not manifest.exists():
        return False
    record = manifests.read(manifest)
    differs = request.other(record, job.source)
    if differs:
        raise FileExistsError(
            f"{manifest.parent} holds results named {job.name} that differ in: {', '.join(differs)}; "
            "--overwrite replaces them, another folder keeps both"
        )
    written = manifests.written(record, manifest.parent)
    whole = "labels" in written and manifests.vouches(record, "labels", written["labels"])
    return whole and all(p.is_file() for p in written.values()) and (kept is None or kept.folder.is_dir())


def spare(todo: Sequence[Job], folder: Path, kinds: dict[str, outputs.Output]) -> None:
    """Raise where an output would take the place of an image that is to be read."""
    sources = {job.source.resolve() for job in todo}
    for job in todo:
        for path in outputs.paths(folder / job.below, job.name, kinds).values():
            if path.resolve() in sources:
                raise FileExistsError(f"{path} is to be read, and an output of {job.source}; choose another folder")


def keep_foreign(files: Sequence[Path]) -> None:
    """Raise where files would be replaced that promptless did not write."""
    if files:
        names = ", ".join(path.name for path in files)
        raise FileExistsError(
            f"{files[0].parent} has {names}, not written by promptless or changed since; "
            "--overwrite replaces what is there, another folder keeps it"
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
