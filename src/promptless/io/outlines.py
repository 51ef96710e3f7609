"""Outlines along pixel edges, and the pixels inside outlines; each gives the other back exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from promptless.image import Shape
from promptless.masks import Mask
from promptless.strips import Strip, strips

Ring = list[int]
"""Indices of pixel corners, row by row; the way round has the object at its right hand, y pointing down."""
Corners = NDArray[np.int64]
"""The corners (n, 2) of a ring in x, y, the first of them again at the end."""
Polygon = list[Corners]
"""A ring around pixels, then those around its holes."""


def outline(mask: Mask) -> shapely.Geometry:
    """Return the object's pixels as a valid polygon in x, y, pixel (0, 0) reaching from (0, 0) to (1, 1).

    Parts that meet at a corner only are separate polygons.
    """
    polygons = [shapely.Polygon(shell, holes) for shell, *holes in next(outlines([mask]))]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def outlines(masks: Sequence[Mask]) -> Iterator[list[Polygon]]:
    """Yield for each object its parts, as `outline` has them."""
    for strip in strips(masks):
        yield from outlined(strip)


def outlined(strip: Strip) -> list[list[Polygon]]:
    """Return for each object of a strip its parts."""
    labels, n_parts = ndimage.label(strip.pixels)
    width = strip.pixels.shape[1] + 1
    owners = [0] * n_parts
    shells: list[Polygon] = [[] for _ in owners]
    holes: list[Polygon] = [[] for _ in owners]
    for ring in rings(strip.pixels):
        row, column = divmod(min(ring), width)
        outer = column < width - 1 and strip.pixels[row, column]  # below and right of a ring's first corner: the object
        inside = row if outer else row - 1  # or a hole, above which it is
        part, owner = labels[inside, column] - 1, int(strip.owner[inside])
        y, x = np.divmod([*ring, ring[0]], width)
        corners = np.stack([x, y - strip.first[owner]], axis=1) + strip.starts[owner, ::-1]
        (shells if outer else holes)[part].append(corners)
        owners[part] = owner
    found: list[list[Polygon]] = [[] for _ in strip.first]
    for owner, shell, inner in zip(owners, shells, holes, strict=True):
        found[owner].append(shell + inner)
    return found


def rings(pixels: NDArray[np.bool_]) -> Iterator[Ring]:
    """Yield the rings around an object and its holes, none of which comes to a corner twice."""
    tails, heads, headings = pieces(pixels)
    leaving = np.full((np.prod(np.add(pixels.shape, 1)), 4), -1)
    leaving[tails, headings] = np.arange(len(tails))
    right, left = leaving[heads, (headings + 1) % 4], leaving[heads, (headings + 3) % 4]
    after = np.where(right >= 0, right, left).tolist()  # at a choice either would do: `loops` cuts there
    corners, seen = tails.tolist(), [False] * len(tails)
    for first in range(len(tails)):
        ring, piece = [], first
        while not seen[piece]:
            seen[piece] = True
            ring.append(corners[piece])
            piece = after[piece]
        if ring:
            yield from loops(ring)


def pieces(pixels: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the straight pieces of the border: corners where each begins and ends, and where it heads.

    Headings are 0 right, 1 down, 2 left and 3 up; the object lies at the right hand.
    """
    padded = np.pad(pixels, 1)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    right, down, left, up = ne != se, sw != se, nw != sw, nw != ne  # where the border goes on from a corner
    turns = (right != left) | (right & left & down & up)
    corners = np.arange(turns.size).reshape(turns.shape)
    across = oriented(corners[turns & right], corners[turns & left], se, 0)
    along = oriented(corners.T[(turns & down).T], corners.T[(turns & up).T], sw, 1)
    tails, heads, headings = (np.concatenate(columns) for columns in zip(across, along, strict=True))
    return tails, heads, headings


def oriented(
    starts: NDArray[np.int64], stops: NDArray[np.int64], inside: NDArray[np.bool_], heading: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return pieces from `starts` to `stops`, turned round where the pixel at their right hand is not `inside`."""
    forward = inside.ravel()[starts]
    return (
        np.where(forward, starts, stops),
        np.where(forward, stops, starts),
        np.where(forward, heading, heading + 2),
    )


def loops(ring: Ring) -> Iterator[Ring]:
    """Yield the ring cut where it comes back to a corner, which it does around holes that touch the outside."""
    if len(set(ring)) == len(ring):
        yield ring
        return
    path: Ring = []
    place: dict[int, int] = {}
    for corner in ring:
        if corner in place:
            loop = path[place[corner] :]
            del path[place[corner] :]
            for left in loop:
                del place[left]
            yield loop
        place[corner] = len(path)
        path.append(corner)
    yield path


def fill(geometry: shapely.Geometry, shape: Shape) -> Mask:
    """Return the pixels of an image of `shape` whose centres lie inside the polygons of `geometry`, given in x, y.

    A centre on an edge counts as inside where the polygon lies to the right of it or below.
    """
    polygons = shapely.get_rings(shapely.get_parts(shapely.get_parts(geometry)))
    points, ring = shapely.get_coordinates(polygons, return_index=True)
    joined = ring[1:] == ring[:-1]
    (x0, y0), (x1, y1) = points[:-1][joined].T, points[1:][joined].T
    first, stop = (np.clip(np.ceil(f(y0, y1) - 0.5), 0, shape[0]).astype(int) for f in (np.minimum, np.maximum))
    lengths = stop - first
    side = np.repeat(np.arange(len(lengths)), lengths)
    y = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[side]
    crossing = x0[side] + (y + 0.5 - y0[side]) * (x1 - x0)[side] / (y1 - y0)[side]
    x = np.clip(np.ceil(crossing - 0.5), 0, shape[1]).astype(int)
    if not len(y):
        return Mask((0, 0), np.zeros((0, 0), bool))
    start = int(y.min()), int(x.min())
    flips = np.zeros((int(y.max()) + 1 - start[0], int(x.max()) + 1 - start[1]), np.int32)
    np.add.at(flips, (y - start[0], x - start[1]), 1)
    return Mask(start, np.cumsum(flips, axis=1)[:, :-1] % 2 == 1).trimmed()
