"""Many images, one after the other: what a folder of files needs beyond `segment`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from promptless.config import INSTANCES, VOXELS
from promptless.embeddings import Embeddings
from promptless.errors import reason
from promptless.image import Origin
from promptless.io import manifests, outputs, scans
from promptless.io.hashes import sha256
from promptless.io.readers.folders import images_in
from promptless.io.scans.folders import scans_in
from promptless.model import AnyModel, VoxelModel
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
    n_objects: int = 0  # structures, of a scan
    origin: Origin = field(default_factory=Origin)
    message: str = ""
    paths: dict[str, Path] | None = None
    sized: bool = True  # whether the size of a pixel is known


def jobs(
    sources: Iterable[Path], recursive: bool = False, output: Path | None = None, kind: str = INSTANCES
) -> list[Job]:
    """Return a job per image file; where stems coincide, the suffix joins the name of the outputs, or their folder's.

    For a model of the `kind` VOXELS it is one per scan: a file, or a DICOM folder. With `recursive` folders stand for
    all that is below them, and the outputs lie in the same folders below `output`, from where nothing is read.
    """
    sources = list(sources)
    find = scans_in if kind == VOXELS else images_in
    files = [(path, below(path, sources)) for path in find(sources, recursive, output)]
    told = Counter((folder, name.casefold()) for path, folder in files for name in set(names(path)))
    taken: set[tuple[Path, str]] = set()
    unique = []
    for path, folder in files:
        known = names(path)
        name = next((name for name in known if told[folder, name.casefold()] == 1), known[-1])
        numbered = chain([name], (f"{name}_{i}" for i in count(2)))
        free = next(n for n in numbered if (folder, n.casefold()) not in taken)
        taken.add((folder, free.casefold()))
        unique.append(Job(path, free, folder))
    return unique


def names(path: Path) -> tuple[str, ...]:
    """Return what the outputs of a file or folder may be called, of which the first is taken that no other has."""
    return stem(path), f"{stem(path)}_{ending(path)}", f"{stem(path)}_{path.absolute().parent.name}"


def stem(path: Path) -> str:
    """Return what the outputs of a file or folder are named after."""
    return path.name if path.is_dir() else scans.without_suffix(path)


def ending(path: Path) -> str:
    """Return what tells a file or folder from others of its stem."""
    return "dicom" if path.is_dir() else path.suffix[1:].lower()


def below(path: Path, sources: Iterable[Path]) -> Path:
    """Return the folder of `path` as seen from the one of `sources` that it lies in."""
    roots = [source for source in sources if source != path and path.is_relative_to(source)]
    return path.parent.relative_to(roots[0]) if roots else Path()


def segment_all(
    todo: Sequence[Job],
    model: AnyModel,
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
    request = Request(requested(model, options), frozenset(also), overlay)
    kinds = {job: outputs_of(job, model, also, overlay) for job in todo}
    spare(kinds, folder)
    for i, job in enumerate(todo):
        progress(i, job.source.name)
        target = folder / job.below
        targets = outputs.paths(target, job.name, kinds[job])
        try:
            kept = Embeddings(target / f"{job.name}_embedding") if keep_embedding else None
            if not overwrite and finished(job, targets["manifest"], request, kept):
                yield Outcome(job, "skipped", paths=targets)
                continue
            if not overwrite:
                keep_foreign(outputs.foreign(target, job.name, kinds[job]))
            told = BatchProgress(progress, i, job.source.name)
            result = one(job, model, also, overlay, {**options, "embeddings": kept, "progress": told})
            result = replace(result, manifest=result.manifest | {"requested": request.options})
            saved = outputs.save(result, target, job.name, kinds[job])
            sized = result.image.spacing is not None
            yield Outcome(job, "done", result.n_objects, result.image.origin, paths=saved, sized=sized)
        except Exception as error:  # whatever is wrong with one image, the others go on
            log.debug("%s", job.source, exc_info=True)
            yield Outcome(job, "failed", message=reason(error))


def outputs_of(job: Job, model: AnyModel, also: Sequence[str], overlay: str | None) -> dict[str, outputs.Output]:
    """Return the outputs of a job."""
    if model.config.output == VOXELS:
        return outputs.of_scan(also, job.source.is_dir() or scans.like_dicom(job.source))
    return outputs.wanted(also, overlay or outputs.PLAIN)


def one(job: Job, model: AnyModel, also: Sequence[str], overlay: str | None, options: dict[str, Any]) -> outputs.Result:
    """Segment an image, or a scan with what its outputs need beside labels."""
    if isinstance(model, VoxelModel):
        return segment(job.source, model, keep=also, **options)
    result = segment(job.source, model, **options)
    return replace(result, manifest=result.manifest | {"overlay": overlay or outputs.PLAIN})


def requested(model: AnyModel, options: dict[str, Any]) -> dict[str, Any]:
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
        differs += [told(name, before, value) for name, value in self.options.items() if before.get(name, ...) != value]
        differs += ["overlay"] * (self.overlay not in (None, record.get("overlay")))
        return differs + sorted(self.also - record.get("outputs", {}).keys())


def told(name: str, before: Mapping[str, Any], now: object) -> str:
    """Return the name of an option that is another one now, with both values; models are told apart by hashes."""
    return name if name == "model" or name not in before else f"{name} ({before[name]} before, {now} now)"


def finished(job: Job, manifest: Path, request: Request, kept: Embeddings | None) -> bool:
    """Return whether `manifest` vouches for this very image and request; raise where it vouches for another.

    Results of which a file is gone, or the label image is not what it was, are not finished, nor are those
    without an embedding that shall be kept. Those that a user has edited are not made anew.
    """
    if not manifest.exists():
        return False
    record = recorded(job, manifest, request)
    written = manifests.written(record, manifest.parent)
    gone = [path.name for path in written.values() if not path.is_file()]
    if "labels" in written and not manifests.vouches(record, "labels", written["labels"]):
        gone.append(written["labels"].name)
    if gone and edited(record):
        raise FileExistsError(
            f"{manifest.parent} holds {job.name}, which was edited, without its {', '.join(dict.fromkeys(gone))}; "
            "another edit writes all files again, --overwrite begins anew and loses the edits"
        )
    return not gone and (kept is None or kept.folder.is_dir() or edited(record))


def edited(record: manifests.Record) -> bool:
    """Return whether a user had a hand in the results that a manifest describes."""
    return bool(record.get("edits") or record.get("points"))


def recorded(job: Job, manifest: Path, request: Request) -> manifests.Record:
    """Return what a manifest says of the results of this very image and request; raise where they are of another."""
    record = manifests.read(manifest)
    differs = request.other(record, job.source)
    if differs:
        losing = ", and the edits with them" if edited(record) else ""
        raise FileExistsError(
            f"{manifest.parent} holds results named {job.name} that differ in: {', '.join(differs)}; "
            f"--overwrite replaces them{losing}, another folder keeps both"
        )
    return record


def spare(todo: Mapping[Job, dict[str, outputs.Output]], folder: Path) -> None:
    """Raise where an output would take the place of an image that is to be read, or lie in a folder that is."""
    sources = {job.source.resolve() for job in todo}
    for job, kinds in todo.items():
        for path in outputs.paths(folder / job.below, job.name, kinds).values():
            if path.resolve() in sources:
                raise FileExistsError(f"{path} is to be read, and an output of {job.source}; choose another folder")
            if job.source.resolve() in path.resolve().parents:
                raise FileExistsError(f"{path} would lie in the folder that is read; choose another folder")


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
