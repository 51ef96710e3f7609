"""The object table as Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
from pyarrow import parquet

from promptless.result import Segmentation


def write(segmentation: Segmentation, path: Path) -> None:
    """Write the object table, every column in its own type; "promptless" in the file's metadata names the model."""
    table = pyarrow.table(dict(segmentation.objects))
    model = json.dumps({"model": segmentation.manifest.get("model")})
    parquet.write_table(table.replace_schema_metadata({"promptless": model}), path)
