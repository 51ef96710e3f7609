"""What tells one file from another."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; of a folder, that of the names and hashes of all files in it."""
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        lines = "".join(f"{sha256(p)} {p.relative_to(path).as_posix()}\n" for p in inside)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
