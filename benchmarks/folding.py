"""The patch embedding of a crop in one convolution, and as AutoProSAM's public code does it.

Every way runs in a process of its own, one after the other, which says how much its memory grew at most.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.backbones import ARCHITECTURES
from promptless.networks.volume.folding import PatchEmbedding

SIZE, UPSAMPLING = ARCHITECTURES["sam_vit_b"], 4


def folding(side: int, repeats: int, memory: float) -> None:
    """Print seconds and memory of every way, and how they compare."""
    print(f"crop of {side}^3 voxels, patches of {SIZE.patch}, {SIZE.width} channels, medians of {repeats}")
    print(f"multiplications: {multiplications(side)['folded'] / 1e9:.1f} G folded, ", end="")
    print(f"{multiplications(side)['unfolded'] / 1e9:.1f} G unfolded")
    results = {}
    for way in WAYS:
        if expected_memory(way, side) > memory:
            print(f"{way}: left out, it would take at least {expected_memory(way, side):.1f} GB (--memory {memory:g})")
            continue
        results[way] = apart(way, side, repeats)
        r = results[way]
        print(f"{way}: {r['seconds']:.3f} s, {r['gigabytes']:.2f} GB, farthest from folded {r['difference']:.1e}")
    for way, r in results.items():
        if way != "folded":
            faster, smaller = (r[key] / results["folded"][key] for key in ("seconds", "gigabytes"))
            print(f"folded against {way}: {faster:.0f} times as fast, {smaller:.1f} times less memory")


def apart(way: str, side: int, repeats: int) -> dict[str, float]:
    """Return what one way takes, in a process of its own."""
    script = Path(__file__).with_name("volumetric.py")
    command = [sys.executable, str(script), "folding", "--way", way, "--side", str(side), "--repeats", str(repeats)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(way: str, side: int, repeats: int) -> None:
    """Print, as JSON, what one way takes in this process, and how far its tokens are from the folded ones."""
    torch.manual_seed(0)
    embedding = PatchEmbedding(nn.Conv2d(3, SIZE.width, SIZE.patch, SIZE.patch), UPSAMPLING)
    crop, seconds = torch.randn(1, 1, side, side, side), []
    with torch.inference_mode():
        WAYS[way](embedding, crop[..., :8, :8, :8])  # what libraries set up on first use
        before = peak()
        for _ in range(repeats):
            begun = time.perf_counter()
            tokens = WAYS[way](embedding, crop)
            seconds.append(time.perf_counter() - begun)
        grown = peak() - before
        difference = float((tokens - embedding(crop)).abs().max())
    print(json.dumps({"seconds": float(np.median(seconds)), "gigabytes": grown, "difference": difference}))


def peak() -> float:
    """Return the most memory that this process had so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def published(embedding: PatchEmbedding, crop: Tensor) -> Tensor:
    """Return the tokens of a crop by the published chain, every step on all of it."""
    large = functional.interpolate(crop, scale_factor=float(UPSAMPLING), mode="trilinear").repeat(1, 3, 1, 1, 1)
    return slice_embedded(embedding, planes(embedding, large[0].movedim(-1, 0)))


def in_slabs(embedding: PatchEmbedding, crop: Tensor) -> Tensor:
    """Return the same, for the slices of one token at a time."""
    large = functional.interpolate(crop, scale_factor=float(UPSAMPLING), mode="trilinear")[0, 0]
    slabs = large.movedim(-1, 0)[:, None].split(SIZE.patch)
    return torch.cat([slice_embedded(embedding, planes(embedding, slab.repeat(1, 3, 1, 1))) for slab in slabs], dim=3)


def planes(embedding: PatchEmbedding, slices: Tensor) -> Tensor:
    """Return the 2D patch embedding (slice, channel, h, w) of slices (slice, 3, height, width)."""
    return functional.conv2d(slices, embedding.weight, embedding.bias, stride=SIZE.patch)


def slice_embedded(embedding: PatchEmbedding, embedded: Tensor) -> Tensor:
    """Return tokens (1, h, w, d, channel) of embedded slices."""
    return embedding.slices(embedded.permute(1, 2, 3, 0)[None]).movedim(1, -1)


def multiplications(side: int) -> dict[str, float]:
    """Return the multiplications of the convolutions of both ways."""
    cells, voxels = (side * UPSAMPLING // SIZE.patch) ** 3, (SIZE.patch // UPSAMPLING + 2) ** 3
    slices = side * UPSAMPLING
    per_slice = (slices // SIZE.patch) ** 2 * SIZE.width * (3 * SIZE.patch**2 + 1)
    return {"folded": cells * SIZE.width * voxels, "unfolded": slices * per_slice}


def expected_memory(way: str, side: int) -> float:
    """Return how many GB a way takes at least: its largest tensors."""
    large, embedded = (side * UPSAMPLING) ** 3, SIZE.width * side * UPSAMPLING * (side * UPSAMPLING // SIZE.patch) ** 2
    values = {"folded": 0, "slabs": large, "published": 4 * large + 2 * embedded}
    return 4 * values[way] / 1e9


WAYS: dict[str, Callable[[PatchEmbedding, Tensor], Tensor]] = {
    "folded": lambda embedding, crop: embedding(crop),
    "slabs": in_slabs,
    "published": published,
}
