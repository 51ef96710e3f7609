"""Objects as COCO's uncompressed run-lengths: runs of 0s and 1s over the image, first axis fastest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptless.image import Shape
from promptless.masks import Mask
from promptless.strips import Strip, strips


def encode_rle(mask: Mask, shape: Shape) -> dict[str, Any]:
    """Return an object in an image of `shape` as run-lengths."""
    return next(encode_rles([mask], shape))


def encode_rles(masks: Sequence[Mask], shape: Shape) -> Iterator[dict[str, Any]]:
    """Yield each object as run-lengths; of what reaches beyond the image's border only the part inside."""
    size = int(np.prod(shape))
    for strip in strips([mask.clipped(shape) for mask in masks]):
        for edges in edges_of(strip, shape):
            yield {"size": list(shape), "counts": np.diff(edges, prepend=0, append=size).tolist()}


def edges_of(strip: Strip, shape: Shape) -> list[NDArray[np.int64]]:
    """Return for each object of a strip where its runs begin and end in an image of `shape`, in turns."""
    rows, *others = np.nonzero(np.diff(strip.pixels, axis=0, prepend=False))
    owner = strip.owner[rows]  # the empty row after an object, where its last runs end, is its own
    place = [rows - strip.first[owner], *others]
    strides = np.cumprod((1, *shape[:-1]))
    edges = sum((at + start[owner]) * step for at, start, step in zip(place, strip.starts.T, strides, strict=True))
    order = np.lexsort((edges, owner))
    edges, owner = edges[order], owner[order]
    joined = (edges[1:] == edges[:-1]) & (owner[1:] == owner[:-1])  # a run ends at the border where another begins
    kept = np.ones(len(edges), np.bool_)
    kept[1:] &= ~joined
    kept[:-1] &= ~joined
    return np.split(edges[kept], np.searchsorted(owner[kept], np.arange(1, len(strip.first))))


def decode_rle(rle: dict[str, Any], shape: Shape) -> Mask:
    """Return the object in COCO's uncompressed run-length, in the smallest crop that holds it.

    `shape` is the image's; only the part of it along the last axis that the object reaches is ever unpacked.
    """
    counts = np.asarray(rle["counts"], np.int64)
    if tuple(rle["size"]) != shape:
        raise ValueError(f"a mask is of an image of {tuple(rle['size'])} pixels, but this one has {shape}")
    if counts.ndim != 1 or (counts < 0).any() or counts.sum() != np.prod(shape):
        raise ValueError(f"run lengths add up to {counts.sum()}, but an image of {shape} has {np.prod(shape)} pixels")
    edges = np.concatenate([[0], np.cumsum(counts)])
    starts, stops = edges[1:-1:2], edges[2::2]
    starts, stops = starts[starts < stops], stops[starts < stops]
    if not len(starts):
        return Mask((0,) * len(shape), np.zeros((0,) * len(shape), bool))
    plane = int(np.prod(shape[:-1]))
    first, last = int(starts[0]) // plane, -(-int(stops[-1]) // plane)
    change = np.zeros((last - first) * plane + 1, np.int8)
    change[starts - first * plane] += 1
    change[stops - first * plane] -= 1
    slab = np.cumsum(change[:-1], dtype=np.int8).astype(bool).reshape((*shape[:-1], last - first), order="F")
    return Mask((*(0,) * (len(shape) - 1), first), slab).trimmed()
