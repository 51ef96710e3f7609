"""Stains as optical densities: haematoxylin, eosin, DAB (Ruifrok and Johnston 2001, as scikit-image tabulates them)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.color import hed_from_rgb, rgb_from_hed

H, E, D = (np.asarray(row / np.linalg.norm(row), np.float32) for row in rgb_from_hed)


def densities(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return stain densities (3, *spatial) of an RGB image (3, *spatial) in [0, 1]."""
    optical = -np.log(np.clip(image, 0.02, 1))
    amounts = np.einsum("c...,cs->s...", optical, hed_from_rgb.astype(np.float32))
    return np.asarray(np.maximum(amounts, 0), np.float32)


def render(densities: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the RGB image (3, *spatial) of `densities` (stain, *spatial) in `colours` (stain, 3)."""
    return np.asarray(np.exp(-np.einsum("s...,sc->c...", densities, colours)), np.float32)


def another_day(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a stained image in nearby colours and strengths, as another laboratory might stain the same slide."""
    amounts = densities(image) * rng.uniform(0.7, 1.4, (3, *[1] * (image.ndim - 1)))
    return render(amounts.astype(np.float32), np.stack([jitter(colour, rng) for colour in (H, E, D)]))


def restain(
    image: NDArray[np.float32],
    brown: NDArray[np.float32],
    cytoplasm: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return a stained image in other colours and strengths.

    `brown` (*spatial) in [0, 1] says how much of the nuclear stain turns from blue to DAB at each pixel;
    `cytoplasm` (*spatial) is a density of DAB that is added.
    """
    haematoxylin, eosin, dab = densities(image) * rng.uniform(0.7, 1.4, (3, *[1] * (image.ndim - 1)))
    counterstain = mixed(E, D, rng.choice([0.0, rng.uniform(), 1.0], p=[0.6, 0.2, 0.2]))
    colours = np.stack([jitter(H, rng), jitter(D, rng), jitter(counterstain, rng), jitter(D, rng)])
    return render(np.stack([haematoxylin * (1 - brown), haematoxylin * brown, eosin, dab + cytoplasm]), colours)


def stain(
    density: NDArray[np.float32], texture: NDArray[np.float32], brown: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a bright-field image whose nuclear stain is `density` and whose counterstain is `texture` (*spatial)."""
    counterstain = mixed(E, D, rng.uniform() * (rng.uniform() < 0.4))
    colours = np.stack([jitter(H, rng), jitter(D, rng), jitter(counterstain, rng)])
    nuclear = density * rng.uniform(0.7, 1.8)
    return render(np.stack([nuclear * (1 - brown), nuclear * brown, texture * rng.uniform(0, 0.8)]), colours)


def mixed(a: NDArray[np.float32], b: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return the stain colour between `a` (share 0) and `b` (share 1)."""
    return np.asarray((1 - share) * a + share * b, np.float32)


def jitter(colour: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a nearby stain colour."""
    return np.maximum(colour + rng.normal(0, 0.05, 3).astype(np.float32), 0.02)
