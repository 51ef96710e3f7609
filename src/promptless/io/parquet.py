"""The object table as Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow
from pyarrow import parquet

from promptless.result import Told


def write(segmentation: Told, path: Path) -> None:
    """Write the object table, every column in its own type; "promptless" in the file's metadata names the model."""
    write_parts([segmentation], path)


def write_parts(parts: Iterable[Told], path: Path) -> None:
    """Write the object tables of all parts, at least one, as one."""
    writer = None
    try:
        for part in parts:
            model = json.dumps({"model": part.manifest.get("model")})
            table = pyarrow.table(dict(part.objects)).replace_schema_metadata({"promptless": model})
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
