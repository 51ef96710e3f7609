"""GeoJSON as QuPath reads and writes it: a polygon per object, along pixel edges, in pixels of the full image."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import shapely
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.io import classes
from promptless.io.outlines import Polygon, fill, outlines
from promptless.labels import Painted
from promptless.masks import Mask
from promptless.result import Told

Measurements = dict[str, float | str]
"""What a feature says was measured of it: score, stability, whatever else; and its class as "class_name"."""
YELLOW = (255, 200, 0)
"""Objects where the model tells no classes."""
HEAD, TAIL = '{"type": "FeatureCollection", "features": [\n', "\n]}\n"
"""What stands before and after the features, which are lines with a comma between them."""
LARGEST = 2**31 - 1
"""The largest label; a number above it is a name like any other."""


def write(segmentation: Told, path: Path) -> None:
    """Write the objects as a FeatureCollection, one line each."""
    write_parts([segmentation], path)


def write_parts(parts: Iterable[Told], path: Path, pitch: tuple[float, ...] = (1.0, 1.0)) -> None:
    """Write the objects of all parts, as `features` has them; a file that ends in .gz is compressed."""
    with text(path, "w") as file:
        file.write(HEAD)
        for i, entry in enumerate(entry for part in parts for entry in features(part, pitch)):
            file.write((",\n" if i else "") + json.dumps(entry))
        file.write(TAIL)


@contextmanager
def text(path: Path, mode: str) -> Iterator[TextIO]:
    """Open a text file to read ("r") or write ("w"), a compressed one where its name ends in .gz."""
    if path.suffix.lower() != ".gz":
        with io.TextIOWrapper(path.open(f"{mode}b"), encoding="utf-8", newline="\n") as plain:
            yield plain
        return
    with (
        path.open(f"{mode}b") as stored,
        gzip.GzipFile("", f"{mode}b", fileobj=stored, mtime=0) as unpacked,  # no date: the same labels, the same bytes
        io.TextIOWrapper(unpacked, encoding="utf-8", newline="\n") as file,
    ):
        yield file


def features(segmentation: Told, pitch: tuple[float, ...] = (1.0, 1.0)) -> Iterator[dict[str, Any]]:
    """Yield each object as a GeoJSON feature with QuPath's properties; what is not known is left out.

    `pitch` (y, x) is the size of a pixel in those that coordinates count, which are the full image's.
    """
    masks = segmentation.masks
    names = classes.names(segmentation)
    colours = {value: classes.colour(value) if segmentation.class_names else YELLOW for value in names}
    columns = (
        masks.ids,
        masks,
        outlines(masks.masks),
        masks.scores,
        masks.stability,
        masks.class_probabilities,
        classes.values(segmentation),
    )
    for number, mask, parts, score, stability, probability, value in zip(*columns, strict=True):
        measurements = {"area": mask.area, "score": round(float(score), 4), "stability": round(float(stability), 4)}
        measurements |= {"class_probability": round(float(probability), 4)}
        yield {
            "type": "Feature",
            "geometry": geometry(parts, pitch),
            "properties": {
                "objectType": "detection",
                "name": str(number),
                "isLocked": False,
                "classification": {"name": called(names[value]), "color": [*colours[value]]},
                "measurements": {name: value for name, value in measurements.items() if math.isfinite(value)},
            },
        }


def geometry(parts: list[Polygon], pitch: tuple[float, ...]) -> dict[str, Any]:
    """Return the parts of an object as GeoJSON has them."""
    step = pitch[::-1]
    coordinates = [[(corners if step == (1, 1) else corners * step).tolist() for corners in part] for part in parts]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def called(name: str) -> str:
    """Return a class's name as QuPath writes its own, with a capital."""
    return name[:1].upper() + name[1:]


def read(path: str | Path, shape: Shape) -> NDArray[np.int32]:
    """Return the label image (y, x) of `shape` that a GeoJSON file describes.

    A pixel belongs to the object in whose polygon its centre lies, the later one where two overlap. An object
    whose name is a number that no other has keeps it as its label; the others get numbers above all of these.
    Features of any class and type count; points and lines have no pixels.
    """
    return read_measured(Path(path), shape)[0]


def read_measured(path: Path, shape: Shape) -> tuple[NDArray[np.int32], dict[int, Measurements]]:
    """Return the label image that a GeoJSON file describes, and by label what each feature's measurements say."""
    painted, measured = opened(path, shape)
    return painted[:], measured


def opened(path: Path, shape: Shape) -> tuple[Painted, dict[int, Measurements]]:
    """Return what `read_measured` does, the label image painted where it is sliced."""
    masks: list[Mask] = []
    names: list[str] = []
    measured: list[Measurements] = []
    frame, outside = shapely.box(0, 0, shape[1], shape[0]), 0
    try:
        for entry in entries(path):
            geometry = shapely.geometry.shape(entry["geometry"])
            outside += not (geometry.is_empty or geometry.intersects(frame))
            masks.append(fill(geometry, shape))
            known = entry.get("properties") or {}
            names.append(str(known.get("name", "")))
            measured.append(measurements(known))
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, shapely.errors.ShapelyError) as error:
        raise ValueError(f"{path} cannot be read as GeoJSON with a geometry in every feature ({error})") from error
    if outside:
        size = " x ".join(map(str, shape))
        raise ValueError(f"{path} has {outside} outlines outside an image of {size} (y, x) pixels; give its true shape")
    given = numbers(names)
    return Painted(shape, tuple(masks), tuple(given)), dict(zip(given, measured, strict=True))


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the features of a file, one line at a time where there is one on each, as we write them."""
    with text(path, "r") as file:
        first = file.readline()
        if first == HEAD:
            lines = (line.strip().removesuffix(",") for line in file)
            yield from (json.loads(line) for line in lines if line not in ("", TAIL.strip()))
            return
        content = json.loads(first + file.read())
    yield from content if isinstance(content, list) else content.get("features", [content])


def measurements(properties: dict[str, Any]) -> Measurements:
    """Return a feature's class, and the numbers among its measurements by name; QuPath wrote them as a list once."""
    found = properties.get("measurements") or {}
    pairs = found.items() if isinstance(found, dict) else ((entry["name"], entry["value"]) for entry in found)
    kind = properties.get("classification")
    named: Measurements = {"class_name": str(kind["name"])} if isinstance(kind, dict) and "name" in kind else {}
    return named | {str(name): float(value) for name, value in pairs if isinstance(value, int | float)}


def numbers(names: list[str]) -> list[int]:
    """Return a label for each name: its own number where it is the first with it, else one above all of these."""
    own = [own_number(name) for name in names]
    first = {number: i for i, number in reversed(list(enumerate(own))) if number}
    above = range(max(first, default=0) + 1, LARGEST + 1)
    free = chain(above, (number for number in count(1) if number not in first))
    return [number if first.get(number) == i else next(free) for i, number in enumerate(own)]


def own_number(name: str) -> int:
    """Return the label that a name is, 0 where it is none."""
    digits = name.lstrip("0") if name.isdecimal() else ""
    return int(digits) if digits and len(digits) <= len(str(LARGEST)) and int(digits) <= LARGEST else 0
