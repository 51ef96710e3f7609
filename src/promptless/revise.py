"""One image whose prompts a user changed: what an edit on disk needs beyond `edit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptless import editing, voxels
from promptless.batch import (
    Job,
    Outcome,
    Request,
    keep_foreign,
    outputs_of,
    recorded,
    requested,
    spare,
)
from promptless.clicks import Click, Clicks
from promptless.config import DIRECT, SEMANTIC
from promptless.embeddings import Embeddings
from promptless.io import manifests, outputs, saved
from promptless.io.hashes import sha256
from promptless.io.manifests import Record
from promptless.model import Model, VoxelModel
from promptless.pipeline import opened, segment
from promptless.prompts import Points, Position, Prompts
from promptless.result import Segmentation
from promptless.semantic import NO_EDITING, given
from promptless.view import View

Progress = Callable[[int, int], None]
Positions = list[Position]
DECISIVE = ("page", "channel", "mpp", "min_score")
"""Arguments that decide what is seen and kept; an edit takes them from the result that it goes on from."""


@dataclass(frozen=True)
class Revision:
    """What a user wants changed: edited prompts, or clicks merged with those that are there."""

    prompts: Path | None = None
    positive: Positions | None = None
    negative: Positions | None = None

    def of(self, previous: Segmentation) -> Prompts:
        """Return all prompts that the user wants; raise where their file is for another image."""
        if self.prompts is not None:
            prompts = Prompts.load(self.prompts)
            if prompts.image not in ("", previous.manifest["input"]["sha256"]):
                raise ValueError(
                    f'{self.prompts} is for another image; if it is meant for this one, set its "image" to ""'
                )
            previous = replace(previous, prompts=prompts)
        return editing.clicked(previous, self.positive or [], self.negative or [])


@dataclass(frozen=True)
class Pointed:
    """What a user says is where in a scan: a file of all clicks, or else the earlier ones; and `clicks` that join."""

    file: Path | None = None
    clicks: Sequence[Click] = ()

    def after(self, before: Record, scan: Path) -> list[Click]:
        """Return all clicks, `before` being the manifest of the earlier result; raise where the file is of another."""
        if self.file is None:
            return [*(Click(entry["point"], entry["class"]) for entry in before.get("points", ())), *self.clicks]
        told = Clicks.load(self.file)
        if told.image not in ("", sha256(scan)):
            raise ValueError(f'{self.file} is for another scan; if it is meant for this one, set its "image" to ""')
        return [*told.items, *self.clicks]


def revise(
    job: Job,
    model: Model,
    folder: Path,
    revision: Revision,
    *,
    teacher: Model | None = None,
    overwrite: bool = False,
    also: Sequence[str] = (),
    overlay: str | None = None,
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> Outcome:
    """Edit the result of an image in `folder`, or make a first one, and save it there.

    The result that is edited is the one in `folder`, else the one beside the prompts file; with `overwrite`,
    or where there is none, prompts from a file are all decoded, and clicks are merged with automatic prompts.
    `teacher` decodes for a model that decodes nothing. `also` and `overlay` are those of `Segmentation.save`; what
    there was of both is written again.
    A file that promptless did not write is not replaced unless `overwrite`; the prompts may have been edited.
    """
    job = found_again(job, folder)
    place = folder / job.below
    kept = Embeddings(place / f"{job.name}_embedding")
    previous = None if overwrite else earlier(job, place, revision, options)
    before = {} if previous is None else previous.manifest
    style = overlay or before.get("overlay", outputs.PLAIN)
    kinds = outputs.wanted({*also, *before.get("outputs", {})} & {*outputs.ON_REQUEST}, style)
    spare({job: kinds}, folder)
    if not overwrite:
        keep_foreign([path for path in outputs.foreign(place, job.name, kinds) if path.name != own_prompts(job)])
    if model.config.output == SEMANTIC:
        result = asked_again(job, model, revision, previous, progress, options)
    else:
        previous = previous or begun(job, model, revision, kept, progress, options)
        wanted = revision.of(previous)
        result = editing.edit(previous, wanted, model, teacher=teacher, embeddings=kept, progress=progress)
    record = {"requested": requested(model, options)} | result.manifest | {"overlay": style}
    paths = outputs.save(replace(result, manifest=record), place, job.name, kinds)
    return Outcome(job, "done", result.n_objects, result.image.origin, summary(result), paths)


def asked_again(
    job: Job,
    model: Model,
    revision: Revision,
    previous: Segmentation | None,
    progress: Progress,
    options: dict[str, Any],
) -> Segmentation:
    """Return what a semantic model makes of an image with a user's points, earlier ones included, among its own."""
    if revision.prompts is not None:
        raise ValueError(f"{model.config.name} {NO_EDITING}")
    points = Points.of(revision.positive or [], revision.negative or [])
    if previous is None:
        return segment(job.source, model, points=points, progress=progress, **options)
    View.recorded(previous, model)  # raises where another model made the result
    every = given(previous) + points
    result = segment(job.source, model, points=every, progress=progress, **previous.manifest["arguments"])
    kept = {name: previous.manifest[name] for name in ("requested",) if name in previous.manifest}
    return replace(result, manifest=result.manifest | kept)  # so that a batch that is repeated knows it


def corrected(
    job: Job,
    model: VoxelModel,
    folder: Path,
    pointed: Pointed,
    *,
    overwrite: bool = False,
    also: Sequence[str] = (),
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> Outcome:
    """Segment a scan with a user's clicks and save it in `folder`, in the place of what was found without them.

    Clicks that the result in `folder` was made with stay, unless `overwrite`, or a file has all that there are. A batch
    that is repeated skips what is saved here.
    """
    voxels.for_points(model)
    job = found_again(job, folder)
    place, asked = folder / job.below, requested(model, options)
    manifest = outputs.paths(place, job.name, outputs_of(job, model, (), None))["manifest"]
    there = not overwrite and manifest.exists()
    before = recorded(job, manifest, Request(asked, frozenset(), None)) if there else {}
    more = {*also, *before.get("outputs", {})} & {*outputs.SCANS_ON_REQUEST}
    kinds = outputs_of(job, model, sorted(more), None)
    spare({job: kinds}, folder)
    if not overwrite:
        keep_foreign(outputs.foreign(place, job.name, kinds))
    every = pointed.after(before, job.source)
    result = segment(job.source, model, keep=sorted(more), points=every, progress=progress, **options)
    result = replace(result, manifest=result.manifest | {"requested": asked})
    paths = outputs.save(result, place, job.name, kinds)
    return Outcome(job, "done", result.n_objects, result.image.origin, points_of_yours(len(every)), paths)


def found_again(job: Job, folder: Path) -> Job:
    """Return the job under the name that the result of its image has in `folder`, where it has another one there.

    As it has where the image was one of several of its stem, or lay in a folder.
    """
    suffix = outputs.WRITERS["manifest"].suffix
    if not folder.is_dir() or (folder / job.below / f"{job.name}{suffix}").exists():
        return job
    image = sha256(job.source)
    found = [path for path in sorted(folder.rglob(f"*{suffix}")) if manifests.of(path) == image]
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)).removesuffix(suffix) for path in found)
        raise ValueError(f"{folder} has several results of {job.source}: {names}; take away those that are not meant")
    return Job(job.source, found[0].name.removesuffix(suffix), found[0].parent.relative_to(folder)) if found else job


def own_prompts(job: Job) -> str:
    """Return the name of an image's prompts file, which a user may edit in its place."""
    return f"{job.name}{outputs.WRITERS['prompts'].suffix}"


def begun(
    job: Job, model: Model, revision: Revision, kept: Embeddings, progress: Progress, options: dict[str, Any]
) -> Segmentation:
    """Return what a revision begins with where there is no result: nothing for a prompts file, else all objects."""
    if revision.prompts is not None:
        return editing.blank(job.source, model, **options)
    return segment(
        job.source, model, embeddings=None if model.config.output == DIRECT else kept, progress=progress, **options
    )


def as_before(name: str, record: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return an argument of the result that is edited; raise where another one is asked for now."""
    before, now = record["arguments"].get(name), options.get(name)
    if now not in (None, before):
        raise ValueError(f"the result was made with {name} {before}, not {now}; leave it out, or --overwrite")
    return before


def summary(result: Segmentation) -> str:
    """Return what the last edit did, in words."""
    if "edits" not in result.manifest:
        return points_of_yours(len(given(result)))
    last = result.manifest["edits"][-1]
    done = {word: len(last[word]) for word in ("added", "edited", "deleted", "without_object")}
    told = ", ".join(f"{n} {word.replace('_', ' an ')}" for word, n in done.items() if n)
    changed = sum(done.values()) > done["without_object"]
    return told if changed else f"nothing changed; {told}".strip("; ")


def points_of_yours(n: int) -> str:
    """Return with how many points a result was made."""
    return f"{n} point{'' if n == 1 else 's'} of yours"


def earlier(job: Job, folder: Path, revision: Revision, options: dict[str, Any]) -> Segmentation | None:
    """Return the result of this very image that a revision goes on from, None where there is none."""
    beside = [] if revision.prompts is None else [revision.prompts.parent]
    for place in (folder, *beside):
        path = outputs.paths(place, job.name, outputs.wanted())["manifest"]
        if not path.is_file():
            continue
        record = saved.manifest(path)
        if record.get("input", {}).get("sha256") == sha256(job.source):
            page, channel, mpp, _ = (as_before(name, record, options) for name in DECISIVE)
            image = opened(job.source, page, channel, mpp)
            return Segmentation.load(place, job.name, image)
        if place == folder:
            raise FileExistsError(
                f"{path.parent} holds results named {job.name} of another image; "
                "--overwrite replaces them, another folder keeps both"
            )
    return None
