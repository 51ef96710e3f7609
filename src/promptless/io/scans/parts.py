"""The files of a scan that is made of many: in a folder, in a .zip, or alone."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from promptless.errors import UnreadableImageError, named
from promptless.io.readers import memory

MAGIC, MAGIC_AT = b"DICM", 128
SUFFIXES = (".dcm", ".dicom", ".ima")
NO_IMAGES = ("DICOMDIR", "LOCKFILE", "VERSION", "README", "LICENSE")
"""Names without a suffix that files beside a series have."""


@dataclass(frozen=True)
class Part:
    """A file, by its name in the folder or archive; `size` in bytes. `peek` is the quick way to its first bytes."""

    name: str
    size: int
    open: Callable[[], BinaryIO]
    peek: Callable[[], BinaryIO]


def on_disk(path: Path, name: str) -> Part:
    """Return a file of its own."""
    return Part(name, path.stat().st_size, partial(opened, path), partial(opened, path))


@contextmanager
def parts_in(path: Path) -> Iterator[list[Part]]:
    """Yield the DICOM files at `path`, in the order of their names, after looking at how each begins.

    What by its name should be DICOM and does not begin so is refused; other files are passed over.
    """
    with ExitStack() as stack:
        with named(path):
            parts = [part for part in listed(path, stack) if is_dicom(part)]
        yield parts


def listed(path: Path, stack: ExitStack) -> Iterator[Part]:
    """Yield the files at `path`; an archive is closed with `stack`."""
    if not path.exists():
        raise UnreadableImageError("does not exist")
    if path.is_dir():
        yield from in_folder(path)
    elif zipfile.is_zipfile(path):
        yield from in_archive(stack.enter_context(zipfile.ZipFile(path)))
    elif path.suffix.lower() == ".zip":
        raise UnreadableImageError("is not a ZIP archive, or is cut short; pack it again")
    else:
        yield on_disk(path, path.name)


def opened(path: Path) -> BinaryIO:
    """Return an open file."""
    return path.open("rb")


def in_folder(folder: Path) -> Iterator[Part]:
    """Yield the files in a folder and in those below it, hidden ones left out."""
    for at, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            path = Path(at) / name
            if not name.startswith(".") and path.is_file():
                yield on_disk(path, path.relative_to(folder).as_posix())


def in_archive(archive: zipfile.ZipFile) -> Iterator[Part]:
    """Yield the files in an archive, hidden ones left out; each is unpacked in memory when it is opened."""
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        hidden = any(step.startswith((".", "__MACOSX")) for step in info.filename.split("/"))
        if not info.is_dir() and not hidden:
            yield Part(
                info.filename, info.file_size, partial(unpacked, archive, info), partial(streamed, archive, info)
            )


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """Return a file of an archive, unpacked, its checksum compared."""
    limit = memory.allowed(info.compress_size)
    if info.file_size > limit:
        raise ValueError(f"unpacked it takes {info.file_size / memory.GIB:.1f} GB, and {limit / memory.GIB:.1f} may be")
    return BytesIO(archive.read(info))


def streamed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """Return a file of an archive, unpacked as it is read."""
    return cast(BinaryIO, archive.open(info))


def is_dicom(part: Part) -> bool:
    """Return whether a file is DICOM; one that should be by its name, and is not, is refused."""
    try:
        with part.peek() as file:
            begins = file.read(MAGIC_AT + len(MAGIC))
    except Exception as error:  # damaged archives
        raise damaged(part, error) from error
    if begins[MAGIC_AT:] == MAGIC:
        return True
    if should_be(part):
        raise damaged(part, ValueError("it does not begin as DICOM does" if begins else "it is empty"))
    return False


def should_be(part: Part) -> bool:
    """Return whether a file is DICOM by its name: it ends so, or in digits as UIDs do, or has no suffix."""
    name = Path(part.name)
    if name.name.upper() in NO_IMAGES:
        return False
    ending = name.suffix.lower()
    return ending in SUFFIXES or not ending or ending[1:].isdigit()


def damaged(part: Part, error: BaseException) -> UnreadableImageError:
    """Return what to say of a file that cannot be read."""
    what = " ".join(str(error).split()) or type(error).__name__
    return UnreadableImageError(
        f"has {part.name}, which cannot be read ({what}); it may be damaged or cut short: get it again, since a series "
        "is read whole or not at all"
    )
