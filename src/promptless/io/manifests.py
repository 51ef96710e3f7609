"""The record that lies beside results: what they were made with, and which files it vouches for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promptless.io.hashes import sha256

Record = dict[str, Any]


def read(path: Path) -> Record:
    """Read a manifest."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, or --overwrite") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is no manifest; delete it, or --overwrite")
    return record


def of(path: Path) -> str | None:
    """Return the SHA-256 of the image that a manifest is of, None where it does not say."""
    try:
        told = read(path).get("input", {})
    except ValueError:
        return None
    return told.get("sha256") if isinstance(told, dict) else None


def written(record: Record, folder: Path) -> dict[str, Path]:
    """Return the files that a manifest in `folder` vouches for, by kind."""
    return {kind: folder / Path(entry["file"]).name for kind, entry in record.get("outputs", {}).items()}


def vouches(record: Record, kind: str, path: Path) -> bool:
    """Return whether `path` is the very file that a manifest names for its kind."""
    entry = record.get("outputs", {}).get(kind, {})
    return entry.get("file") == path.name and path.is_file() and sha256(path) == entry.get("sha256")
