"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

STAGING = ".staging-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there takes the place of `path` when the block succeeds."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` and all in it when the block succeeds."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as aside:
        made, before = Path(aside) / "made", Path(aside) / "before"
        made.mkdir()
        yield made
        if path.exists():
            path.rename(before)
        try:
            made.rename(path)
        except BaseException:
            if before.exists():
                before.rename(path)
            raise


@contextmanager
def staging(folder: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder in `folder` for files that will be moved there; it is gone when the block ends.

    What processes that were killed have left of it before is gone too, so hold the outer folder `alone`.
    """
    for left in staged(folder, name):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}{STAGING}", dir=folder) as aside:
        yield Path(aside)


def staged(folder: Path, name: str) -> list[Path]:
    """Return the staging folders of `name`: of a process that is writing now, or was killed while it wrote."""
    return list(folder.glob(f".{escape(name)}{STAGING}*"))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process holds `folder`, then hold it; a process that ends, however, lets go.

    On systems without `fcntl` (Windows) nothing is held.
    """
    with held(folder, "LOCK_EX"):
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold `folder` as `alone` does, but raise `BlockingIOError` where another process holds it."""
    with held(folder, "LOCK_EX", "LOCK_NB"):
        yield


@contextmanager
def held(folder: Path, *how: str) -> Iterator[None]:
    """Hold `folder` by `flock` with these operations of `fcntl`."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, sum(getattr(fcntl, name) for name in how))
        yield
    finally:
        os.close(descriptor)
