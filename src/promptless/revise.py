"""One image whose prompts a user changed: what an edit on disk needs beyond `edit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptless import editing
from promptless.batch import Job, Outcome, requested
from promptless.embeddings import Embeddings
from promptless.io import outputs, saved
from promptless.io.hashes import sha256
from promptless.model import Model
from promptless.pipeline import opened, segment
from promptless.prompts import Prompts
from promptless.result import Segmentation

Progress = Callable[[int, int], None]
Clicks = list[tuple[float, ...]]


@dataclass(frozen=True)
class Revision:
    """What a user wants changed: edited prompts, or clicks merged with those that are there."""

    prompts: Path | None = None
    positive: Clicks | None = None
    negative: Clicks | None = None

    def of(self, previous: Segmentation) -> Prompts:
        """Return all prompts that the user wants."""
        if self.prompts is not None:
            previous = replace(previous, prompts=Prompts.load(self.prompts))
        return editing.clicked(previous, self.positive or [], self.negative or [])


def revise(
    job: Job,
    model: Model,
    folder: Path,
    revision: Revision,
    *,
    overwrite: bool = False,
    also: Sequence[str] = (),
    overlay: str = "outlines",
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> Outcome:
    """Edit the result of an image in `folder`, or make a first one, and save it there.

    The result that is edited is the one in `folder`, else the one beside the prompts file; with `overwrite`,
    or where there is none, prompts from a file are all decoded, and clicks are merged with automatic prompts.
    `also` and `overlay` are those of `Segmentation.save`; the kinds of output that there were are written again.
    """
    folder = folder / job.below
    kept = Embeddings(folder / f"{job.name}_embedding")
    wanted = requested(model, options | {"also": sorted(also), "overlay": overlay})
    previous = None if overwrite else earlier(job, folder, revision, options)
    if previous is None and revision.prompts is not None:
        previous = editing.blank(job.source, model, **options)
    if previous is None:
        previous = segment(job.source, model, embeddings=kept, progress=progress, **options)
    result = editing.edit(previous, revision.of(previous), model, embeddings=kept, progress=progress)
    result = replace(result, manifest={"requested": wanted} | result.manifest)
    before = previous.manifest.get("outputs", {}).keys() & set(outputs.ON_REQUEST)
    paths = result.save(folder, job.name, also=before | set(also), overlay=overlay)
    return Outcome(job, "done", result.n_objects, result.image.origin, summary(result), paths)


def as_before(name: str, record: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return an argument of the result that is edited; raise where another one is asked for now."""
    before, now = record["arguments"].get(name), options.get(name)
    if now not in (None, before):
        raise ValueError(f"the result was made with {name} {before}, not {now}; leave it out, or --overwrite")
    return before


def summary(result: Segmentation) -> str:
    """Return what the last edit did, in words."""
    last = result.manifest["edits"][-1]
    done = {word: len(last[word]) for word in ("added", "edited", "deleted")}
    return ", ".join(f"{n} {word}" for word, n in done.items() if n) or "nothing changed"


def earlier(job: Job, folder: Path, revision: Revision, options: dict[str, Any]) -> Segmentation | None:
    """Return the result of this very image that a revision goes on from, None where there is none."""
    beside = [] if revision.prompts is None else [revision.prompts.parent]
    for place in (folder, *beside):
        path = outputs.paths(place, job.name, outputs.wanted())["manifest"]
        if not path.is_file():
            continue
        record = saved.manifest(path)
        if record.get("input", {}).get("sha256") == sha256(job.source):
            image = opened(job.source, *(as_before(name, record, options) for name in ("page", "channel", "mpp")))
            return Segmentation.load(place, job.name, image)
        if place == folder:
            raise FileExistsError(
                f"{path.parent} holds results named {job.name} of another image; "
                "--overwrite replaces them, another folder keeps both"
            )
    return None
