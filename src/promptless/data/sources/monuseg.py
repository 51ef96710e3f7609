"""MoNuSeg (Kumar et al. 2017, CC BY-NC-SA 4.0): H&E images as TIFF, outlines as Aperio ImageScope's XML of that name.

The two may lie in any folders, as `Tissue Images/` and `Annotations/` do; those below a folder whose name has
"test" in it are the official test images. A case is a patient, TCGA-XX-XXXX.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from skimage.draw import polygon

from promptless.data.prepared import IMAGES, Facts
from promptless.data.sample import Sample
from promptless.data.source import Source, both, files
from promptless.image import Shape
from promptless.io import readers
from promptless.io.pairs import by_name, stem
from promptless.labels import laid
from promptless.masks import Mask

FACTS = Facts("monuseg", "CC BY-NC-SA 4.0", "https://monuseg.grand-challenge.org", {1: "nucleus"})
MPP = 0.25
"""Micrometres per pixel at 40x, where the XML does not say."""


def read(folder: Path) -> Source[Sample]:
    """Find images and outlines of the same name."""
    images, outlines = by_name(files(folder, ".tif", ".tiff"), stem), by_name(files(folder, ".xml"), stem)
    ids, unpaired = both(images, outlines)
    official = {name: "test" for name in ids if "test" in str(images[name].parent.relative_to(folder)).lower()}
    return Source(FACTS, IMAGES, ids, partial(load, images, outlines), official, patient, unpaired)


def patient(name: str) -> str:
    """Return the patient of an image: TCGA, the site and the participant."""
    return "-".join(name.split("-")[:3])


def load(images: dict[str, Path], outlines: dict[str, Path], name: str) -> Sample:
    """Return one image; a pixel of two nuclei belongs to the one that is drawn first."""
    pixels = readers.read(images[name]).data
    root = parsed(outlines[name])
    found, _ = laid(nuclei(root, pixels.shape[1:]), pixels.shape[1:])
    mpp = float(root.get("MicronsPerPixel") or 0) or MPP
    return Sample(name, "HE", pixels, found, mpp)


def parsed(path: Path) -> ElementTree.Element:
    """Return the root of an XML file."""
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not valid XML ({error})") from error


def nuclei(root: ElementTree.Element, shape: Shape) -> list[Mask]:
    """Return the regions of all annotations in an image of `shape`, in their order, except those marked negative."""
    regions = [region for region in root.iter("Region") if region.get("NegativeROA", "0") == "0"]
    corners = ([(float(v.attrib["Y"]), float(v.attrib["X"])) for v in region.iter("Vertex")] for region in regions)
    return [inside(np.array(points), shape) for points in corners if points]


def inside(corners: np.ndarray, shape: Shape) -> Mask:
    """Return the pixels whose centres lie in a polygon given by corners (n, 2) as y, x, centres at whole numbers."""
    index = np.stack(polygon(*corners.T, shape=shape))
    start = index.min(axis=1, initial=max(shape))
    pixels = np.zeros(np.maximum(index.max(axis=1, initial=-1) + 1 - start, 0), bool)
    pixels[tuple(index - start[:, None])] = True
    return Mask(tuple(start.tolist()), pixels)
