"""What goes wrong with files, and what an error says to a person."""

from __future__ import annotations


class UnreadableImageError(ValueError):
    """A file that is not an image we can read; the message says which, why, and what would do."""


class VolumeError(UnreadableImageError):
    """A file of a format that holds volumes."""


def reason(error: BaseException) -> str:
    """Return what went wrong in one line; errors that are not ours also say what they are."""
    if isinstance(error, MemoryError):
        return "out of memory; smaller tiles need less (--tile)"
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError | OSError | ImportError) else f"{type(error).__name__}: {text}"
