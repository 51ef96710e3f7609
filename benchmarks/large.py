"""Figures of images larger than memory, made by laying real ones side by side; a command for each row, or all.

    python benchmarks/large.py size --sides 2000 6000 12000    peak memory of a worker, time per megapixel, by size
    python benchmarks/large.py workers --sides 4000            two workers against one, one thread each
    python benchmarks/large.py overhead --tiles 40000          what a tile costs beside the networks, here and by Dask
    python benchmarks/large.py seams                           agreement of objects under shifted tiles, on real images
    python benchmarks/large.py kills --sides 2000              a run whose workers are killed, against one that is not
    python benchmarks/large.py all                             every row; --sides, --tiles, --kills, --images shrink it

Needs PROMPTLESS_DATA with monuseg_train. Pause everything else while times are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import zarr
from PIL import Image as PillowImage

from promptless import large
from promptless.config import ModelConfig
from promptless.io import readers
from promptless.model import Decoded, ImageEmbedding

TILE, MODEL = 512, "nuclei-fast"
"""Pixels per side of a tile, and the fastest model that ships."""
NETWORKS = ("encode",)
"""The steps of that model that are its network; it decodes nothing, so its "decode" is putting objects together."""
SIDES = {"size": [2000, 6000, 12_000], "workers": [4000], "kills": [2000]}
"""Pixels per side of the images that a figure is of, unless others are asked for."""
MIB = 2**20


def real() -> list[Path]:
    """Return the real images that all others are made of."""
    root = os.environ.get("PROMPTLESS_DATA")
    if not root:
        raise SystemExit("set PROMPTLESS_DATA to the folder that holds monuseg_train/")
    return sorted((Path(root) / "monuseg_train" / "images").iterdir())


def made(folder: Path, side: int) -> Path:
    """Write an OME-Zarr image of `side` x `side` pixels, real ones side by side and mirrored so that nothing breaks."""
    path = folder / f"{side}.ome.zarr"
    source = readers.read(real()[0]).data
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
    """Segment an image in a process of its own, and return what it took; `worker_mb` is the peak of its workers."""
    out = source.with_name("out.ome.zarr")
    command = [sys.executable, "-m", "promptless", "segment", str(source), "-o", str(out), "--model", MODEL]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "-q", "--overwrite", *options], stdout=subprocess.DEVNULL)
    with peaks(process.pid) as worker:
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    record = json.loads(source.with_name("out_manifest.json").read_text())
    return {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "worker_mb": max(worker.values(), default=0) / MIB,
        "networks": sum(record["seconds"].get(step, 0.0) for step in NETWORKS),
        "steps": sum(record["seconds"].values()),
        "objects": record["n_objects"],
    }


@contextmanager
def peaks(pid: int) -> Iterator[dict[int, int]]:
    """Yield the largest memory (bytes) that each worker of a process has had, by its id, while the block runs."""
    found: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for worker in workers_of(pid):
                found[worker] = max(found.get(worker, 0), peak(worker))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def workers_of(pid: int) -> list[int]:
    """Return the ids of the workers that a process has started."""
    try:
        return [c.pid for c in psutil.Process(pid).children() if "spawn_main" in " ".join(c.cmdline())]
    except psutil.Error:
        return []


def peak(pid: int) -> int:
    """Return the largest memory that a process has had, in bytes; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def size(folder: Path, asked: argparse.Namespace) -> None:
    """Print peak memory, time per megapixel and the share of it outside the networks, by size."""
    print("side   objects  peak MB  of a worker  wall s/Mpx  CPU s/Mpx  outside the networks")
    paces = []
    for side in asked.sides or SIDES["size"]:
        source = made(folder, side)
        took = run(source, "--threads", str(asked.threads))
        worker = run(source, "--workers", "1", "--threads", str(asked.threads))["worker_mb"]
        mpx = side**2 / 1e6
        paces.append(took["wall"] / mpx)
        outside = 1 - took["networks"] / took["wall"]
        print(
            f"{side:<6} {took['objects']:>7} {took['peak_mb']:>8.0f} {worker:>12.0f} {paces[-1]:>11.2f} "
            f"{took['cpu'] / mpx:>10.2f} {outside:>8.1%} of wall time",
            flush=True,
        )
    print(f"time per megapixel of the last against the first: {paces[-1] / paces[0]:.2f}x")


def workers(folder: Path, asked: argparse.Namespace) -> None:
    """Print how much sooner two workers are done than one."""
    for side in asked.sides or SIDES["workers"]:
        source = made(folder, side)
        walls = [run(source, "--workers", str(n), "--threads", "1")["wall"] for n in (1, 2)]
        print(f"{side}: one worker {walls[0]:.1f} s, two {walls[1]:.1f} s: {walls[0] / walls[1]:.2f}x", flush=True)


def kills(folder: Path, asked: argparse.Namespace) -> None:
    """Print whether a run in which workers are killed at random ends as one that is left alone."""
    source = made(folder, (asked.sides or SIDES["kills"])[0])
    large.segment(source, folder / "calm.ome.zarr", MODEL, threads=1)
    left, over, begun = [asked.kills], threading.Event(), threading.Event()

    def kill() -> None:
        begun.wait()  # who is killed before the cluster stands is no worker yet
        while left[0] and not over.wait(random.uniform(0.5, 2.0)):
            running = workers_of(os.getpid())
            if running:
                os.kill(random.choice(running), signal.SIGKILL)
                left[0] -= 1

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    summary = large.segment(
        source, folder / "wild.ome.zarr", MODEL, workers=2, threads=1, progress=lambda *_: begun.set()
    )
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


def dask_setup(worker: object) -> None:
    """Let a worker that preloads this file take every model for `Null`."""
    from promptless.large import crew

    crew.load = lambda *_, **__: Null()


def overhead(folder: Path, asked: argparse.Namespace) -> None:
    """Print what a tile costs that has no object and takes no network, in this process and through a scheduler."""
    side = 16 * int(np.ceil(np.sqrt(asked.tiles)))
    path = folder / "null.png"
    PillowImage.fromarray(np.zeros((side, side), np.uint8)).save(path)
    told("in this process", folder, path)
    with cluster(folder) as (address, scheduler):
        told("by one Dask worker", folder, path, scheduler=address)
        print(f"the scheduler took {peak(scheduler) / MIB:.0f} MB at most", flush=True)


def told(where: str, folder: Path, path: Path, **options: str) -> None:
    """Segment an image in which nothing is seen, and print what a tile took."""
    began, cpu = time.perf_counter(), time.process_time()
    how = {"loaded": Null(), "tile": 16, "halo": 0, "begin": "overwrite"}
    summary = large.segment(path, folder / "null.ome.zarr", "null", **how, **options)
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    each = f"{1e3 * wall / summary.n_tiles:.2f} ms of wall time each, {1e3 * used / summary.n_tiles:.2f} ms of CPU here"
    print(f"{summary.n_tiles} tiles of 16 pixels {where}: {each}", flush=True)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, int]]:
    """Start a scheduler and a worker, each a process of its own; yield the address and the scheduler's id."""
    from distributed import Client

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, common = f"tcp://127.0.0.1:{port}", ["--no-dashboard"]
    words = [
        ["scheduler", "--host", "127.0.0.1", "--port", str(port), *common],
        ["worker", address, "--nthreads", "1", "--no-nanny", "--preload", __file__, *common],
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    started = [subprocess.Popen([sys.executable, "-m", "dask", *command], **quiet) for command in words]
    try:
        with Client(address, timeout="120s") as client:
            client.wait_for_workers(1, timeout=120)
        yield address, started[0].pid
    finally:
        for process in started:
            process.kill()
            process.wait()


def seams(folder: Path, asked: argparse.Namespace) -> None:
    """Print how well objects agree whose tiles begin elsewhere, over real images cut into tiles of 512 pixels."""
    from promptless.large.seams import seams as compared
    from promptless.loading import load

    model = load(MODEL, threads=asked.threads)
    found = [compared(path, model, tile=TILE, mpp=0.5) for path in real()[: asked.images]]
    agreements = np.array([seam.agreement for seam in found])
    objects = sum(seam.n_objects[0] for seam in found)
    print(
        f"{len(found)} images, {objects} objects: agreement at .5 {agreements.mean():.4f}, the least "
        f"{agreements.min():.4f}; {np.mean([seam.cut_per_1000 for seam in found]):.1f} of 1,000 objects are cut",
        flush=True,
    )


FIGURES = {"size": size, "workers": workers, "overhead": overhead, "seams": seams, "kills": kills}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*FIGURES, "all"])
    parser.add_argument("--sides", type=int, nargs="+", help="pixels per side; each figure has its own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiles", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=10, help="real images of which seams are looked at")
    asked = parser.parse_args()
    for what in FIGURES if asked.what == "all" else [asked.what]:
        print(f"\n{what}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            FIGURES[what](Path(folder), asked)


if __name__ == "__main__":
    main()
