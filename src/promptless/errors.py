"""What goes wrong with files, and what an error says to a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UnreadableImageError(ValueError):
    """A file that is not an image we can read; the message says which, why, and what would do."""


class VolumeError(UnreadableImageError):
    """A file of a format that holds volumes."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong inside into an `UnreadableImageError` that begins with `path`."""
    try:
        yield
    except UnreadableImageError as error:
        raise type(error)(f"{path} {error}") from error
    except PermissionError:
        raise
    except Exception as error:  # what decoders raise on damaged bytes is anything, MemoryError for sizes in headers
        what = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(f"{path} cannot be read ({what}); it may be damaged or cut short") from error


def reason(error: BaseException) -> str:
    """Return what went wrong in one line; errors that are not ours also say what they are."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"out of memory{f' ({text})' if text else ''}; smaller tiles need less (--tile)"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    return text if isinstance(error, ValueError | OSError | ImportError) else f"{type(error).__name__}: {text}"
