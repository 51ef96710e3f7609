"""What a command takes: seconds, seconds of processors, and memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """What a process took. Its peak memory is never less than what the process that started it had at its peak."""

    seconds: float
    processors: float  # seconds
    peak: float  # GB
    told: str  # on stdout

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, of processors {self.processors:.1f} s, peak memory {self.peak:.2f} GB"


def spent_by(command: Sequence[str]) -> Spent:
    """Run a command in a process of its own, and return what it took; leave where it fails."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed ({process.returncode})")
    return Spent(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, told)
