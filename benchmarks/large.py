"""Figures of images larger than memory, made by laying real ones side by side.

    python benchmarks/large.py size --sides 2000 4000 6000     peak memory and time per megapixel, by size
    python benchmarks/large.py workers --sides 4000            two workers against one, one thread each
    python benchmarks/large.py kills --sides 2000              a run whose workers are killed, against one that is not
    python benchmarks/large.py overhead --tiles 40000          what a tile costs beside the networks

Needs PROMPTLESS_DATA with monuseg_train. Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import zarr
from PIL import Image as PillowImage

from promptless import large
from promptless.config import ModelConfig
from promptless.io import readers
from promptless.model import Decoded, ImageEmbedding

TILE = 512
NETWORKS = ("encode", "decode")


def made(folder: Path, side: int) -> Path:
    """Write an OME-Zarr image of `side` x `side` pixels, real ones side by side and mirrored so that nothing breaks."""
    path = folder / f"{side}.ome.zarr"
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        raise SystemExit("set PROMPTLESS_DATA to the folder that holds monuseg_train/")
    source = readers.read(sorted((Path(root) / "monuseg_train" / "images").iterdir())[0]).data
    square = np.concatenate([source, source[:, ::-1]], axis=1)
    square = np.concatenate([square, square[:, :, ::-1]], axis=2)
    channels = [{"label": n, "color": c} for n, c in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))]
    axes = [{"name": "c", "type": "channel"}] + [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    about = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group = zarr.open_group(path, mode="w")
    group.attrs["ome"] = {"version": "0.5", "multiscales": [about], "omero": {"channels": channels}}
    array = group.create_array("0", shape=(3, side, side), chunks=(3, TILE, TILE), dtype=np.uint8)
    step = square.shape[1]
    for y in range(0, side, step):
        for x in range(0, side, step):
            array[:, y : y + step, x : x + step] = square[:, : side - y, : side - x]
    return path


def run(source: Path, *options: str) -> dict[str, float]:
    """Segment an image in a process of its own, and return what it took."""
    out = source.with_name("out.ome.zarr")
    command = [sys.executable, "-m", "promptless", "segment", str(source), "-o", str(out), "-q", "--overwrite"]
    began = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    record = json.loads(source.with_name("out_manifest.json").read_text())
    return {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "networks": sum(record["seconds"].get(step, 0.0) for step in NETWORKS),
        "steps": sum(record["seconds"].values()),
        "objects": record["n_objects"],
    }


def size(folder: Path, asked: argparse.Namespace) -> None:
    """Print peak memory, time per megapixel and the share of it outside the networks, by size."""
    print("side   objects  peak MB  wall s/Mpx  CPU s/Mpx  outside the networks")
    for side in asked.sides:
        took = run(made(folder, side), "--threads", str(asked.threads))
        mpx = side**2 / 1e6
        outside = 1 - took["networks"] / took["wall"]
        print(
            f"{side:<6} {took['objects']:>7} {took['peak_mb']:>8.0f} {took['wall'] / mpx:>11.2f} "
            f"{took['cpu'] / mpx:>10.2f} {outside:>8.1%} of wall time"
        )


def workers(folder: Path, asked: argparse.Namespace) -> None:
    """Print how much sooner two workers are done than one."""
    for side in asked.sides:
        source = made(folder, side)
        walls = [run(source, "--workers", str(n), "--threads", "1")["wall"] for n in (1, 2)]
        print(f"{side}: one worker {walls[0]:.1f} s, two {walls[1]:.1f} s: {walls[0] / walls[1]:.2f}x")


def kills(folder: Path, asked: argparse.Namespace) -> None:
    """Print whether a run in which workers are killed at random ends as one that is left alone."""
    import psutil

    source = made(folder, asked.sides[0])
    large.segment(source, folder / "calm.ome.zarr", threads=1)
    left, over = [asked.kills], threading.Event()

    def kill() -> None:
        while left[0] and not over.wait(random.uniform(0.5, 2.0)):
            children = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
            if children:
                os.kill(random.choice(children).pid, signal.SIGKILL)
                left[0] -= 1

    killer = threading.Thread(target=kill)
    killer.start()
    summary = large.segment(source, folder / "wild.ome.zarr", workers=2, threads=1)
    over.set()
    killer.join()
    labels = [zarr.open_array(folder / f"{n}.ome.zarr" / "labels" / "nuclei" / "0")[:] for n in ("calm", "wild")]
    print(
        f"{asked.kills - left[0]} kills, {len(summary.failures)} tiles failed, "
        f"labels identical: {np.array_equal(*labels)} ({summary.n_objects} objects)"
    )


class Null:
    """A model that sees nothing."""

    config = ModelConfig(name="null", version="1", licence="CC0-1.0", pad=16, align=16)

    def encode(self, image: np.ndarray) -> ImageEmbedding:
        """Return maps without an object."""
        _, height, width = image.shape
        return ImageEmbedding(
            np.zeros((1, height // 4, width // 4), np.float32), np.full((2, height, width), -9.0, "f4")
        )

    def decode(self, *_: np.ndarray) -> Decoded:
        """Never asked."""
        raise NotImplementedError


def overhead(folder: Path, asked: argparse.Namespace) -> None:
    """Print what a tile costs that has no object and takes no network."""
    side = 16 * int(np.ceil(np.sqrt(asked.tiles)))
    path = folder / "null.png"
    PillowImage.fromarray(np.zeros((side, side), np.uint8)).save(path)
    began, cpu = time.perf_counter(), time.process_time()
    summary = large.segment(path, folder / "null.ome.zarr", Null(), tile=16, halo=0)
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"{summary.n_tiles} tiles of 16 pixels: {1e3 * wall / summary.n_tiles:.2f} ms of wall time each, "
        f"{1e3 * used / summary.n_tiles:.2f} ms of CPU"
    )


def main() -> None:
    """Run the command line."""
    figures = {"size": size, "workers": workers, "kills": kills, "overhead": overhead}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=figures)
    parser.add_argument("--sides", type=int, nargs="+", default=[2000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiles", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures[asked.what](Path(folder), asked)


if __name__ == "__main__":
    main()
