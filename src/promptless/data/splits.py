"""Which images are for training, for choosing (dev) and for the final figures (test)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256

PARTS = ("train", "dev", "test")
SHARE = 0.1
"""How many of the cases are drawn for dev, and for test where the publisher names none."""


def split(
    ids: Iterable[str], case: Callable[[str], str], official: Mapping[str, str], kept: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the IDs of each part.

    What an earlier split has (`kept`: part by ID) holds, then what the publisher says (`official`). All others
    follow their case: where that has been split before, else by a hash of it alone, so that adding images moves
    none. An image that is the only one is for training.
    """
    names = tuple(ids)
    of_case = {case(name): part for name, part in kept.items() if name not in official}
    has_test = "test" in official.values()
    alone = len(names) == 1

    def part(name: str) -> str:
        known = kept.get(name) or official.get(name) or of_case.get(case(name))
        return known or ("train" if alone else drawn(case(name), has_test))

    where = {name: part(name) for name in names}
    return {part: [name for name in names if where[name] == part] for part in PARTS}


def drawn(case: str, has_test: bool) -> str:
    """Return the part that a case falls into by its hash; none into test where the publisher has one."""
    place = int.from_bytes(sha256(case.encode()).digest()[:8]) / 2**64
    if place < SHARE:
        return "dev"
    return "test" if place < 2 * SHARE and not has_test else "train"
