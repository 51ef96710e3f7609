"""What a run says when it cannot go on: what happened, at which step, what is safe, and the way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from promptless.train.state import State

NAMED = 8
"""So many images are named."""


class NotFiniteError(FloatingPointError, ValueError):
    """A loss or a gradient is infinite or no number; `indices` are the patches that it came from."""

    def __init__(self, what: str, indices: Sequence[int] = ()) -> None:
        super().__init__(what)
        self.indices = indices


@runtime_checkable
class Named(Protocol):
    """A data set that can tell which image a patch is of."""

    def names(self, indices: Sequence[int]) -> list[str]:
        """Return the ids of the samples that items are drawn from."""


@contextmanager
def explained(state: State, dataset: object, folder: Path) -> Iterator[None]:
    """Let what goes wrong in a step of a run in `folder` say what to do about it."""
    step = state.step + 1
    kept = f"the last good checkpoint is of step {state.saved}" if state.saved else "there is no checkpoint yet"
    kept = f"{kept} in {folder}"
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(
            f"{error} at step {step}{origins(dataset, error.indices)}; {kept}; "
            f"look at those images and go on with --resume, or lower `rate` or `clip` in another folder",
            error.indices,
        ) from None
    except torch.OutOfMemoryError as error:
        raise torch.OutOfMemoryError(
            f"no memory left on {state.device} at step {step}; {kept}; raise `accumulate` "
            'or set memory = "lean" in the recipe, and go on with --resume'
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk is full: step {step} could not be written; {kept}; free some space and go on with --resume"
        ) from error


def origins(dataset: object, indices: Sequence[int]) -> str:
    """Return the images that items of a data set are of, or their numbers where it does not tell."""
    if not indices:
        return ""
    known = isinstance(dataset, Named)
    names = list(dict.fromkeys(dataset.names(indices) if isinstance(dataset, Named) else map(str, indices)))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f", on {'patches of' if known else 'items'} {', '.join(names[:NAMED])}{more}"
