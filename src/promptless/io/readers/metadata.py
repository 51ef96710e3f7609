"""What OME and ImageJ metadata say of a TIFF: pixel size and channel names."""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile

UNITS_UM = {"nm": 1e-3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "microns": 1.0, "mm": 1e3, "cm": 1e4}
"""Micrometres per unit, as OME and ImageJ spell the units."""
PLAUSIBLE_UM = (0.01, 20.0)
"""Pixel sizes that a light microscope's images have; a value outside is a printer's resolution or a slip."""
PLACE = re.compile(r"^(?:[czt]:\d+/\d+[ ;]*)+(?:- )?")
"""What ImageJ puts before a plane's label."""


class Metadata(NamedTuple):
    """What is known of a scene; None and () where it is not."""

    spacing: tuple[float, ...] | None = None  # um, (y, x)
    channel_names: tuple[str, ...] = ()


def of_file(file: tifffile.TiffFile, n_scenes: int) -> list[Metadata]:
    """Return what OME or ImageJ metadata state of each scene.

    The plain resolution tags are not trusted: most hold the dots per inch of a printer.
    """
    if file.is_ome and file.ome_metadata:
        found = of_ome(file.ome_metadata)
    elif file.is_imagej and file.imagej_metadata:
        found = [Metadata(plausible(imagej_spacing(file)), imagej_channel_names(file))]
    else:
        found = []
    return found if len(found) == n_scenes else (found[:1] or [Metadata()]) * n_scenes


def plausible(sizes: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Return `sizes` where a light microscope's image may have them."""
    return sizes if sizes and all(PLAUSIBLE_UM[0] <= size <= PLAUSIBLE_UM[1] for size in sizes) else None


def of_ome(text: str) -> list[Metadata]:
    """Return what OME-XML states of each of its images."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return []
    pixels = (element for element in root.iter() if element.tag.endswith("}Pixels"))
    return [Metadata(plausible(ome_spacing(element)), ome_channel_names(element)) for element in pixels]


def ome_spacing(pixels: ElementTree.Element) -> tuple[float, ...] | None:
    """Return PhysicalSizeY and PhysicalSizeX in micrometres."""
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "YX"]
    units = [UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "um")) for axis in "YX"]
    try:
        return (
            tuple(float(s) * u for s, u in zip(sizes, units, strict=True) if s and u)
            if all(units) and all(sizes)
            else None
        )
    except ValueError:
        return None


def ome_channel_names(pixels: ElementTree.Element) -> tuple[str, ...]:
    """Return the names of the channels, none where one lacks a name."""
    channels = [element for element in pixels if element.tag.endswith("}Channel")]
    names = tuple(channel.get("Name", "").strip() for channel in channels)
    return names if all(names) else ()


def imagej_spacing(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    """Return the pixel size (y, x) that ImageJ saved as a resolution with a unit, in micrometres."""
    text = str((file.imagej_metadata or {}).get("unit", ""))  # ImageJ writes the micro sign as it is, or escaped
    unit = UNITS_UM.get(text.encode("latin-1", "backslashreplace").decode("unicode_escape").strip().lower())
    tags = file.pages.first.tags
    values = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
    if unit is None or len(values) < 2 or not all(n for n, _ in values):
        return None
    return tuple(unit * d / n for n, d in values)


def imagej_channel_names(file: tifffile.TiffFile) -> tuple[str, ...]:
    """Return the labels of the first planes, which are the channels', none where two are alike.

    In a file of one channel they are the slices'.
    """
    metadata = file.imagej_metadata or {}
    labels = metadata.get("Labels") or []
    n = int(metadata.get("channels", 1))
    names = tuple(PLACE.sub("", str(label)).strip() for label in ([labels] if isinstance(labels, str) else labels)[:n])
    return names if n > 1 and len(set(names)) == n and all(names) else ()
