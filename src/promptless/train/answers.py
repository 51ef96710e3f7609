"""What teachers answered, kept on disk, so that one is asked once and many students learn from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless import library
from promptless.io.atomic import replacing

Answer = NDArray[np.float16]
GB = 1e9


class Answers:
    """Answers in half precision in `folder`, a file for each, `gigabytes` of them at most; the oldest go first.

    A file is named after all that decides what is in it, so that what another teacher said, or of another image, is
    never taken for it.
    """

    def __init__(self, folder: Path, gigabytes: float) -> None:
        self.folder, self.gigabytes = folder, gigabytes
        self.used: dict[Path, int] = {}  # bytes of what was handed out

    def of(self, teacher: str, seen: NDArray[Any], ask: Callable[[], NDArray[np.float32]]) -> Answer:
        """Return what a teacher, by its hash, answers to what it sees, mapped from the file; it is asked where need be.

        `seen` is the image as the teacher looks at it, of which the same bytes have the same answer. Where more is
        wanted than may be kept, answers would push each other out, and the next one is refused.
        """
        path = self.path(teacher, seen)
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                np.save(temporary, ask().astype(np.float16))
        os.utime(path)
        self.used[path] = path.stat().st_size
        self.check()
        self.forget(path)
        answer: Answer = np.load(path, mmap_mode="r", allow_pickle=False)
        return answer

    def path(self, teacher: str, seen: NDArray[Any]) -> Path:
        """Return where an answer is kept."""
        content = hashlib.sha256(np.ascontiguousarray(seen).data).hexdigest()
        text = f"{teacher} {seen.shape} {seen.dtype} {content}"
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"

    def check(self) -> None:
        """Refuse answers that would push each other out."""
        total = sum(self.used.values())
        if total > self.gigabytes * GB:
            raise ValueError(
                f"the teacher's answers to {len(self.used)} images take {total / GB:.2g} GB in {self.folder}, and "
                f"cache_gb is {self.gigabytes:g}; raise it, or learn from fewer images"
            )

    def forget(self, spared: Path) -> None:
        """Delete the answers that were not used for longest, until the others are few enough."""
        files = sorted(self.folder.glob("*.npy"), key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in files)
        for path in files:
            if total <= self.gigabytes * GB:
                return
            if path != spared:
                total -= path.stat().st_size
                path.unlink(missing_ok=True)


def place() -> Path:
    """Return where answers are kept, for all trainings of this machine."""
    return library.home() / "answers"
