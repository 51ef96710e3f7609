"""How much memory a process takes, and the tile that fits into what is allowed."""

from __future__ import annotations

import re

from promptless.config import ModelConfig
from promptless.tiles import round_up
from promptless.view import tiling

MIB, GIB = 2**20, 2**30
UNITS = {"": GIB, "g": GIB, "gb": GIB, "gib": GIB, "m": MIB, "mb": MIB, "mib": MIB}
FIXED = 300 * MIB
"""The libraries, a model, and the objects of a tile and its neighbours."""
PER_PIXEL = 360
"""Bytes for each model pixel that is seen at once, with two tiles under way (measured with `nuclei`)."""
SHARE = 0.75
"""A tile that does not fit is tried at this share of its side, and so on."""


def parsed(text: str) -> int:
    """Return the bytes in "2GB", "800MB" or "2"; without a unit it is GB."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", text.lower())
    try:
        if found is None or found[2] not in UNITS or not float(found[1]) > 0:
            raise ValueError
        return int(float(found[1]) * UNITS[found[2]])
    except ValueError:
        raise ValueError(f"{text!r} is no amount of memory; write it as 2GB or 800MB") from None


def needed(config: ModelConfig, tile: int, halo: int) -> int:
    """Return about how many bytes a process takes with tiles of these model pixels."""
    side = round_up(tile, config.align) + 2 * round_up(halo, config.align)
    return FIXED + PER_PIXEL * side**2


def fitting(config: ModelConfig, tile: int | None, halo: int | None, limit: int) -> int:
    """Return the largest side of a tile, no larger than what is asked for, with which a process stays below `limit`."""
    side, around = tiling(config, tile, halo)
    smallest = needed(config, config.align, around)
    if smallest > limit:
        raise ValueError(
            f"a process takes at least {smallest / MIB:.0f} MB with tiles of {config.align} pixels, but "
            f"{limit / MIB:.0f} MB are allowed; allow more, or take fewer workers or a smaller --halo"
        )
    while needed(config, side, around) > limit:
        side = max(config.align, int(side * SHARE) // config.align * config.align)
    return side
