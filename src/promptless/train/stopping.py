"""Ctrl-C in the middle of a step: the step is ended first, so that a checkpoint can be written after it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from promptless.train.processes import Processes

log = logging.getLogger(__name__)


class Stop:
    """Whether somebody asked to stop; who asks twice does not wait for the end of the step."""

    asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.warning("stopping after this step; Ctrl-C again stops at once, and goes back to the last checkpoint")


@contextmanager
def deferred(world: Processes) -> Iterator[Stop]:
    """Yield what knows whether Ctrl-C was pressed meanwhile.

    Several processes would not all notice in the same step: they stop at once, as does training in a thread.
    """
    stop = Stop()
    if world.count > 1 or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
