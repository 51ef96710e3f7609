"""Images from files: PNG, JPEG and other pictures through pillow, TIFF through tifffile."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from promptless.image import Image

UNITS_UM = {"nm": 1e-3, "um": 1.0, "\u00b5m": 1.0, "\u03bcm": 1.0, "micron": 1.0, "microns": 1.0, "mm": 1e3, "cm": 1e4}
"""Micrometres per unit, as OME and ImageJ spell the units."""
PLAUSIBLE_UM = (0.01, 20.0)
"""Pixel sizes that a light microscope's images have; a value outside is a printer's resolution or a slip."""
OWN_OUTPUTS = ("_labels.tif", "_classes.tif", "_overlay.png")


class UnreadableImageError(ValueError):
    """A file that is not an image we can read; the message says which, why, and what would do."""


def read(path: Path) -> Image:
    """Read an image file, its pixel size included where the file is sure of it."""
    if path.is_dir():
        raise UnreadableImageError(f"{path} is a folder; name a file in it")
    if not path.is_file():
        raise UnreadableImageError(f"{path} does not exist")
    if not path.stat().st_size:
        raise UnreadableImageError(f"{path} is empty")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableImageError(f"{path} has no suffix of an image; these are read: {', '.join(sorted(READERS))}")
    try:
        return reader(path)
    except (UnidentifiedImageError, tifffile.TiffFileError) as error:
        raise UnreadableImageError(
            f"{path} is not a {path.suffix[1:].upper()} image, whatever its name says"
        ) from error
    except (UnreadableImageError, PermissionError, MemoryError):
        raise
    except Exception as error:  # what decoders raise on damaged bytes is anything
        raise UnreadableImageError(f"{path} cannot be read ({error}); it may be damaged or cut short") from error


def read_picture(path: Path) -> Image:
    """Read a PNG, JPEG, BMP or WebP: turned upright, palettes looked up, transparency dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
        with PillowImage.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV", "PA"):
                picture = picture.convert("RGB")
            pixels, transparent = np.asarray(picture), picture.mode in ("LA", "La", "RGBA", "RGBa")
    if pixels.ndim == 2:
        return Image(pixels[None])
    return Image(one_if_equal(np.moveaxis(pixels[..., :-1] if transparent else pixels, -1, 0)))


def read_tiff(path: Path) -> Image:
    """Read the first series of a TIFF that is one plane, with or without channels."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        pixels, axes = series.asarray(), series.axes
        spacing = tiff_spacing(file)
        extra = len(series.keyframe.extrasamples)
    keep = [i for i, (axis, n) in enumerate(zip(axes, pixels.shape, strict=True)) if n > 1 or axis in "YX"]
    pixels = pixels.reshape([pixels.shape[i] for i in keep])
    axes = "".join(axes[i] for i in keep)
    if axes == "YX":
        return Image(pixels[None], spacing)
    if axes == "YXS":
        return Image(one_if_equal(colours(np.moveaxis(pixels, -1, 0), extra)), spacing)
    if axes == "SYX":
        return Image(one_if_equal(colours(pixels, extra)), spacing)
    if axes == "CYX":
        return Image(pixels, spacing)
    sizes = ", ".join(f"{axis}={n}" for axis, n in zip(axes, pixels.shape, strict=True))
    raise UnreadableImageError(f"{path} has the axes {sizes}; only one plane (Y, X), with or without channels, is read")


def colours(channels: NDArray[np.generic], extra: int) -> NDArray[np.generic]:
    """Return the channels without transparency, which is the last of two or four where one is `extra`."""
    return channels[:-1] if extra == 1 and len(channels) in (2, 4) else channels


def one_if_equal(channels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return one channel where all three are equal: a grey image that was saved in colours."""
    return channels[:1] if all(np.array_equal(channels[0], c) for c in channels[1:]) else channels


def tiff_spacing(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    """Return the pixel size (y, x) in micrometres that OME or ImageJ metadata state, None where neither does.

    The plain resolution tags are not trusted: most hold the dots per inch of a printer.
    """
    sizes = ome_spacing(file.ome_metadata) if file.is_ome and file.ome_metadata else None
    if sizes is None and file.is_imagej and file.imagej_metadata:
        sizes = imagej_spacing(file)
    if sizes is None or not all(PLAUSIBLE_UM[0] <= size <= PLAUSIBLE_UM[1] for size in sizes):
        return None
    return sizes


def ome_spacing(text: str) -> tuple[float, ...] | None:
    """Return PhysicalSizeY and PhysicalSizeX of the first image in OME-XML, in micrometres."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    pixels = next((e for e in root.iter() if e.tag.endswith("}Pixels")), None)
    if pixels is None or "PhysicalSizeX" not in pixels.attrib or "PhysicalSizeY" not in pixels.attrib:
        return None
    per_unit = [UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "um")) for axis in "YX"]
    sizes = [float(pixels.attrib[f"PhysicalSize{axis}"]) for axis in "YX"]
    return tuple(s * u for s, u in zip(sizes, per_unit, strict=True) if u is not None) if all(per_unit) else None


def imagej_spacing(file: tifffile.TiffFile) -> tuple[float, ...] | None:
    """Return the pixel size (y, x) that ImageJ saved as a resolution with a unit, in micrometres."""
    text = str((file.imagej_metadata or {}).get("unit", ""))  # ImageJ writes the micro sign as it is, or escaped
    unit = UNITS_UM.get(text.encode("latin-1", "backslashreplace").decode("unicode_escape").strip().lower())
    tags = file.pages.first.tags
    values = [tags[name].value for name in ("YResolution", "XResolution") if name in tags]
    if unit is None or len(values) < 2 or not all(n for n, _ in values):
        return None
    return tuple(unit * d / n for n, d in values)


def images_in(paths: Iterable[Path]) -> list[Path]:
    """Return the image files meant by `paths`: files as they are, folders as the images directly in them, sorted.

    What promptless wrote into a folder (`OWN_OUTPUTS`) is not read back, nor are hidden files.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in READERS and p.is_file() and is_input(p))
        else:
            found.append(path)
    return list({path.resolve(): path for path in found}.values())


def is_input(path: Path) -> bool:
    """Return whether a file in a folder is meant as an image to read."""
    own = [
        path.with_name(path.name.removesuffix(end) + "_manifest.json") for end in OWN_OUTPUTS if path.name.endswith(end)
    ]
    return not path.name.startswith(".") and not any(manifest.exists() for manifest in own)


READERS: dict[str, Callable[[Path], Image]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".webp"), read_picture),
    **dict.fromkeys((".tif", ".tiff"), read_tiff),
}
