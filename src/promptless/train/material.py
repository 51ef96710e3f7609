"""What an adapter is trained on: a prepared folder, or any folder of images and label masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from skimage.measure import label

from promptless.data import prepared
from promptless.data.preparation import few, prepare, strangers
from promptless.data.sample import Sample
from promptless.data.source import Source
from promptless.data.sources import folder
from promptless.train import origin

Progress = Callable[[float, str], None]

PARTS = 3
"""One object in so many separate parts is none."""
NEARLY_ALL = 0.9
"""Where such a share of the images has no other object, the masks are of the foreground."""


def ready(data: Path, into: Path, *, resume: bool = False, progress: Progress = lambda done, name: None) -> Path:
    """Return the prepared folder of `data`: itself where it is one, else `into`, made of its images and label masks.

    An image that was there when `into` was made before stays in the part that it was in. With `resume`, what was
    made before is taken as it is, unless `data` is another folder by now.
    """
    if is_prepared(data):
        return data
    if resume and is_prepared(into):
        origin.check(into.parent, data)
        return into
    source = folder.read(data)
    check(source, data)
    n = len(source.ids)
    with made(into.parent):
        prepare(source, into, overwrite=True, progress=lambda done, name: progress(done / n, f"reading {name}"))
    origin.write(into.parent, origin.origin(data, into.name))
    return into


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder for what the block does; where that fails, nothing of it stays."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            if not any(path.iterdir()):
                path.rmdir()
        raise


def is_prepared(folder: Path) -> bool:
    """Say whether a folder is a prepared one."""
    return (folder / prepared.INDEX).is_file()


def check(source: Source[Sample], data: Path) -> None:
    """Refuse a folder in which images or masks are missing, or that holds a single image."""
    if source.unpaired and not source.ids:
        raise ValueError(f"{data}: {strangers(source)}")
    if source.unpaired:
        raise ValueError(
            f"{few(source.unpaired)} in {data}; complete them, or leave them out with: "
            f"promptless data prepare folder {data} --skip-unpaired -o FOLDER, and --data FOLDER"
        )
    if not source.facts.classes and any((data / "classes").glob("*.csv")):
        raise ValueError(
            f"{data / 'classes'} has the objects' classes by number, and nobody says their names; first: "
            f"promptless data prepare folder {data} --classes NAME,... -o FOLDER, then --data FOLDER"
        )
    if len(source.ids) == 1:
        raise ValueError(
            f"{data} holds one image with masks; training needs 2 at least, one to learn from and one to choose by, "
            "and 5 to measure on images that were not used: label more, or cut the image into parts"
        )


def read(data: Path, ids: dict[str, list[str]]) -> dict[str, list[Sample]]:
    """Return the samples of train, dev and test, refusing what nothing can be learned from."""
    parts = {part: list(prepared.read(data, ids.get(part, ()))) for part in ("train", "dev", "test")}
    lacking = {"train": "to learn from", "dev": "to choose by"}
    for part, purpose in lacking.items():
        if not parts[part]:
            raise ValueError(
                f"no image of {data} is for {part}, {purpose}; move one there in {prepared.SPLIT}, or label more"
            )
        if not any(sample.labels.any() for sample in parts[part]):
            names = ", ".join(sample.id for sample in parts[part][:3])
            raise ValueError(
                f"the masks of all {len(parts[part])} images for {part} are empty ({names}, ...), "
                f"so there is nothing {purpose}; are these the right masks?"
            )
    return parts


def check_objects(samples: Sequence[Sample]) -> None:
    """Refuse masks of foreground and background where objects are to be learned: all would be one object."""
    labelled = [sample for sample in samples if sample.n_objects]
    parts = {sample.id: n_parts(sample) for sample in labelled if sample.n_objects == 1}
    split = {name: n for name, n in parts.items() if n >= PARTS}
    if split and len(split) >= NEARLY_ALL * len(labelled):
        name, n = next(iter(split.items()))
        raise ValueError(
            f"{name} has one object in {n} separate parts, and {len(split)} of {len(labelled)} images are like that: "
            "those are masks of the foreground, and training needs a number per object; number the objects "
            '(docs/adapt.md says how), or train one mask of the image, with output = "semantic" (docs/sac.md)'
        )


def n_parts(sample: Sample) -> int:
    """Return into how many connected parts the foreground of a sample falls."""
    return int(label(sample.labels > 0, return_num=True)[1])
