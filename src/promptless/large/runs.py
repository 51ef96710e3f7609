"""Where the files of a run lie, who holds them, and what is there before it begins."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from promptless.io import labels, manifests, ngff
from promptless.io.atomic import claimed, replacing
from promptless.io.hashes import sha256
from promptless.large.plan import PLAN, fingerprint

STORES, PYRAMIDS = (".ome.zarr", ".zarr"), (".ome.tif", ".ome.tiff")
"""What the name of an output ends in that is OME-Zarr, or one file."""
SUFFIXES = (*STORES, *PYRAMIDS)
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of which no tile is spared: they stop the run, which can be resumed."""
NEW, RESUME, OVERWRITE = "new", "resume", "overwrite"
MANIFEST = "_manifest.json"


@contextmanager
def unfinished(out: Path, begin: str) -> Iterator[Path]:
    """Yield the folder of an unfinished run's files, held alone."""
    if not out.name.endswith(SUFFIXES):
        raise ValueError(f"{out} must end in {' or '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} for {out.name}; make it first")
    parts = out.with_name(f".{out.name}.parts")
    parts.mkdir(exist_ok=True)
    with ExitStack() as holding:
        try:
            holding.enter_context(claimed(parts))
        except BlockingIOError as error:
            raise FileExistsError(f"another run is writing {out}; wait for it, or choose another output") from error
        if begin == OVERWRITE or not (parts / PLAN).exists():  # without a plan, what is there is left of a finished run
            empty(parts)
        try:
            yield parts
        except OSError as error:
            if error.errno not in FATAL or not (parts / PLAN).exists():
                raise
            raise OSError(
                error.errno, f"{error.strerror}; make room, then --resume goes on with what is kept in {parts}"
            ) from error
        finally:
            if parts.is_dir() and not any(parts.iterdir()):
                parts.rmdir()


def empty(folder: Path) -> None:
    """Delete all that is in a folder."""
    for kept in folder.iterdir():
        shutil.rmtree(kept) if kept.is_dir() else kept.unlink()


def plain(request: Any) -> dict[str, Any]:
    """Return a request as JSON gives it back."""
    return dict(json.loads(json.dumps({k: v for k, v in asdict(request).items() if k != "model"})))


def beside(out: Path, suffix: str) -> Path:
    """Return the path of another output, which is called after the store."""
    stem = next(out.name.removesuffix(end) for end in SUFFIXES if out.name.endswith(end))
    return out.with_name(stem + suffix)


def vouched(parts: Path, out: Path, request: Any, source: Path) -> dict[str, Any] | None:
    """Return the manifest of a finished run that answers a request, a dataclass, of an image; None where none does."""
    vouching = beside(out, MANIFEST)
    if (parts / PLAN).exists() or not out.exists() or not vouching.exists():
        return None
    record = manifests.read(vouching)
    same = record.get("requested") == plain(request) and record["input"].get("fingerprint") == fingerprint(source)
    return record if same else None


def written(record: dict[str, Any], out: Path) -> dict[str, Path]:
    """Return the paths by kind that a manifest speaks of, its own among them."""
    return manifests.written(record, out.parent) | {"manifest": beside(out, MANIFEST)}


def goes_on(parts: Path, out: Path, begin: str) -> bool:
    """Return whether there is an unfinished run to go on with; refuse what is in the way."""
    if not (parts / PLAN).exists():
        if out.exists() and begin != OVERWRITE:
            raise FileExistsError(f"{out} is there and finished; --overwrite replaces it, another name keeps both")
        return False
    if begin != RESUME:
        raise FileExistsError(f"a run that writes {out} is unfinished; --resume goes on, --overwrite begins anew")
    return True


def same(out: Path, differs: list[str]) -> None:
    """Refuse to go on with a run that differs from what is asked now."""
    if differs:
        raise FileExistsError(
            f"the unfinished run that writes {out} differs in: {', '.join(differs)}; "
            "repeat its options to resume it, --overwrite begins anew, another name keeps both"
        )


def put(made: Path, name: str, out: Path, spacing: tuple[float, ...] | None) -> None:
    """Put a store in its place, or write its label image `name`, of pixels of `spacing` um, as one file."""
    if is_store(out):
        if out.exists():
            shutil.rmtree(out)
        made.rename(out)
        return
    stored = ngff.level(made, name, 0)
    with replacing(out) as temporary:
        labels.write_pyramid(stored, temporary, stored.dtype, spacing)


def is_store(out: Path) -> bool:
    """Return whether an output is OME-Zarr, and not one file."""
    return out.name.endswith(STORES)


def vouch(out: Path, paths: dict[str, Path], record: dict[str, Any], request: Any) -> dict[str, Path]:
    """Write the manifest, which says that all else is there; return the paths by kind."""
    outputs = {kind: {"file": path.name} for kind, path in paths.items()}
    for kind, path in paths.items():
        outputs[kind] |= {"sha256": sha256(path)} if path.is_file() else {}
    told = record | {"requested": plain(request), "outputs": outputs}
    vouching = beside(out, MANIFEST)
    with replacing(vouching) as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return paths | {"manifest": vouching}
