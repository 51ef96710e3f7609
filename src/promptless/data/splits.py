"""Which images are for training, for choosing (dev) and for the final figures (test)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256

PARTS = ("train", "dev", "test")
SHARE = 0.1
"""How many of the cases are drawn for dev, and for test where the publisher names none."""

LEAST = {"train": 1, "dev": 2, "test": 5}
"""From so many cases on, a split for training has each part."""


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


def split_for_training(
    ids: Iterable[str], case: Callable[[str], str], official: Mapping[str, str], kept: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return a split in which no part is empty that need not be: with two cases there is a dev, with five a test.

    Of few images a hash may draw none for a part. Then a case of the largest part goes there, a new one first; one
    that had a part before goes to no test, which who made that split may have left empty.
    """
    parts = split(ids, case, official, kept)
    cases = {part: {case(name) for name in names} for part, names in parts.items()}
    old = {case(name) for name in kept}
    for part, least in LEAST.items():
        if not cases[part] and sum(map(len, cases.values())) >= least:
            donor = max(PARTS, key=lambda name: (len(cases[name]), name == "test"))
            moved = min(cases[donor], key=lambda one: (one in old, place(one)))
            if part == "test" and moved in old:
                continue
            cases[donor].remove(moved)
            cases[part].add(moved)
    names = [name for part in PARTS for name in parts[part]]
    return {part: sorted(name for name in names if case(name) in cases[part]) for part in PARTS}


def drawn(case: str, has_test: bool) -> str:
    """Return the part that a case falls into by its hash; none into test where the publisher has one."""
    if place(case) < SHARE:
        return "dev"
    return "test" if place(case) < 2 * SHARE and not has_test else "train"


def place(case: str) -> float:
    """Return where a case lies between 0 and 1, by its hash alone."""
    return int.from_bytes(sha256(case.encode()).digest()[:8]) / 2**64
