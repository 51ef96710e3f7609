"""What the prompt generator learns from a label image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CONTACT_WEIGHT = 4.0


def touching(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels of objects that have a neighbour (along an axis) in another object."""
    contact = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        n = labels.shape[axis]
        before, after = np.take(labels, range(n - 1), axis), np.take(labels, range(1, n), axis)
        differs = (before != after) & (before > 0) & (after > 0)
        pad = [(0, 0)] * labels.ndim
        for side in ((0, 1), (1, 0)):
            pad[axis] = side
            contact |= np.pad(differs, pad)
    return contact


def generator_targets(labels: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return targets (2, *spatial) and a weight per pixel (*spatial) for the label image.

    The targets are the foreground, and each object's distance from its own border divided by its
    largest, so that it peaks at 1 whatever the object's size. Pixels near contacts weigh more.
    """
    contact = touching(labels)
    foreground = labels > 0
    distance = ndimage.distance_transform_edt(np.pad(foreground & ~contact, 1, mode="edge"))
    distance = distance[(slice(1, -1),) * labels.ndim].astype(np.float32) + contact * 0.5
    largest = np.maximum(ndimage.maximum(distance, labels, np.arange(labels.max() + 1)), 1).astype(np.float32)
    interior = distance / largest[labels]
    weight = 1 + CONTACT_WEIGHT * np.clip(ndimage.gaussian_filter(contact.astype(np.float32), 1.5) * 3, 0, 1)
    return np.stack([foreground.astype(np.float32), interior]), weight.astype(np.float32)
