"""What is done while tiles are still looked at: those whose surroundings are known are settled and told already.

Finding leaves a part of the second core free, which settling and telling would use only after it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

import numpy as np

from promptless.large import store
from promptless.large.bench import FOUND, SETTLED, TOLD, Bench, settle_tile, tell_tile
from promptless.large.settling import Boxes, Reader
from promptless.large.store import Found
from promptless.record import Steps

log = logging.getLogger(__name__)

Numbers = SimpleQueue[int | None]


@contextmanager
def working_ahead(bench: Bench, steps: Steps) -> Iterator[Callable[[int], None]]:
    """Settle and tell in a thread beside those that find; yield what takes the number of each tile that is found.

    What is not done when the block ends, for whatever reason, is left to the steps that come after it.
    """
    numbers: Numbers = SimpleQueue()
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, bench, numbers, over)
        try:
            yield numbers.put
        finally:
            over.set()
            numbers.put(None)
        steps.add(following.result())


def follow(bench: Bench, numbers: Numbers, over: threading.Event) -> Counter[str]:
    """Settle and tell one tile after the other, as soon as what is found allows; return the seconds by step."""
    known, waiting = Known(bench), deque(bench.plan.tiles)
    label, seconds = 1, Counter[str]()
    try:
        for number in iter(numbers.get, None):
            known.add(number)
            while waiting and not over.is_set():
                try:
                    label += finished(bench, waiting[0], label, known, seconds)
                except NotFoundError:
                    break
                waiting.popleft()
    except Exception as error:  # the steps that come after try again, and say what is wrong
        log.debug("nothing more is done ahead", exc_info=error)
    return seconds


def finished(bench: Bench, number: int, label: int, known: Known, seconds: Counter[str]) -> int:
    """Settle and tell a tile whose first object gets `label`, if that is not done; return how many objects it has."""
    if not len(known.objects(number).masks):
        return 0
    if number not in known.settled:
        seconds.update(settle_tile(bench, number, known.plane(number)).seconds)
    if number not in known.told:
        seconds.update(tell_tile(bench, number, label).seconds)
    return len(bench.objects(SETTLED, number).masks)


class NotFoundError(LookupError):
    """A tile was asked for whose objects are not found yet."""


class Known:
    """What is known of an image while its tiles are looked at: the objects found, and what an earlier run has done."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        for step in (SETTLED, TOLD):
            (bench.parts / step).mkdir(exist_ok=True)
        self.settled, self.told = (store.done(bench.parts / step) for step in (SETTLED, TOLD))
        self.others = set(bench.plan.tiles)  # nothing is found there yet
        self.reaches = bounds(bench)
        for number in store.done(bench.parts / FOUND):
            self.add(number)

    def add(self, number: int) -> None:
        """Take in what was found in a tile."""
        found = store.header(self.bench.parts / FOUND, number)
        self.reaches[number] = 0 if found is None else found[1]
        self.others.discard(number)

    def objects(self, number: int) -> Found:
        """Return the objects of a tile."""
        if number in self.others:
            raise NotFoundError(number)
        return self.bench.objects(FOUND, number)

    def plane(self, number: int) -> tuple[Boxes, Reader]:
        """Return, for the plane of a tile, the boxes around each tile's objects, and what gives these.

        Of a tile where nothing is found yet the box holds wherever its objects may be.
        """
        n = len(self.bench.tiles)
        first = number // n * n
        return self.reaches[first : first + n], lambda tile: self.objects(first + tile)


def bounds(bench: Bench) -> Boxes:
    """Return the boxes (tiles, ndim, 2) that hold all objects that tiles may have, empty for those not looked at.

    An object is seen whole at once, and its middle lies in its tile: it goes at most half of what is seen beyond.
    """
    margins = [-(-side // 2) for side in bench.look(0, Steps()).room]
    boxes = [[(s.start - m, s.stop + m) for s, m in zip(t.core, margins, strict=True)] for t in bench.tiles]
    asked = np.isin(np.arange(bench.n_tiles), bench.plan.tiles)
    return np.where(asked[:, None, None], np.tile(np.array(boxes), (bench.plan.depth, 1, 1)), 0)
