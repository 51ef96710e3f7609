"""Tables of structures as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def write(columns: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write columns by name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([written(value) for value in row] for row in zip(*columns.values(), strict=True))


def written(value: object) -> object:
    """Return a value as it stands in the table: empty where it is no number."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
