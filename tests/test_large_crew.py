"""A Dask cluster whose scheduler and workers are processes of their own, as on a cluster of computers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from large_images import labels_of
from made_up import picture, scattered
from promptless.large import crew

OPTIONS = {"tile": 128, "halo": 0, "mpp": 0.5, "threads": 1}
FILES = ("_objects.csv", ".geojson", "_prompts.json")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")


@pytest.fixture
def image(rng):
    return picture(scattered((384, 256), (6, 10), 30, rng, gap=3))


@pytest.fixture
def cluster(tmp_path):
    """Start a scheduler and two workers in a folder of their own; yield its address and process."""
    pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    away = tmp_path / "away"
    away.mkdir()
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    started = [
        dask_process(away, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"),
        *(
            dask_process(away, "worker", address, "--nthreads", 1, "--no-dashboard", "--no-nanny", "--death-timeout", 9)
            for _ in range(2)
        ),
    ]
    try:
        with dask.config.set({"distributed.comm.timeouts.connect": "60s"}):
            ready(address)
        yield address, started[0]
    finally:
        for process in started:
            process.kill()
            process.wait()


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def dask_process(folder, *words):
    """Start one part of a cluster."""
    command = [sys.executable, "-m", "dask", *map(str, words)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ready(address):
    """Wait for both workers."""
    from distributed import Client

    with Client(address, timeout="300s") as client:
        client.wait_for_workers(2, timeout=300)


def test_a_cluster_gives_the_files_of_one_process_and_its_scheduler_may_die(image, cluster, tmp_path, monkeypatch):
    import dask

    address, scheduler = cluster
    alone, _ = labels_of(image, tmp_path, "alone", "nuclei", **OPTIONS)
    monkeypatch.chdir(tmp_path)
    there, summary = labels_of(image, tmp_path.relative_to(tmp_path), "there", "nuclei", scheduler=address, **OPTIONS)
    assert alone.max() > 0
    assert not summary.failures
    assert np.array_equal(alone, there)
    for end in FILES:
        assert (tmp_path / f"alone{end}").read_bytes() == (tmp_path / f"there{end}").read_bytes()

    def kill(step, done, total):
        if scheduler.poll() is None:
            os.kill(scheduler.pid, signal.SIGKILL)
            scheduler.wait()
            time.sleep(0.1)

    short = {"distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(short), pytest.raises(ConnectionError, match=r"scheduler was lost; .* --resume goes on"):
        labels_of(image, tmp_path, "killed", "nuclei", scheduler=address, progress=kill, **OPTIONS)
    assert not (tmp_path / "killed.ome.zarr").exists()
    with dask.config.set(short), pytest.raises(ConnectionError, match=f"there is no scheduler at {address}"):
        labels_of(image, tmp_path, "killed", "nuclei", scheduler=address, begin="resume", **OPTIONS)
    again, _ = labels_of(image, tmp_path, "killed", "nuclei", begin="resume", **OPTIONS)
    assert np.array_equal(alone, again)
    for end in FILES:
        assert (tmp_path / f"alone{end}").read_bytes() == (tmp_path / f"killed{end}").read_bytes()


def test_a_local_worker_that_was_given_up_is_replaced(monkeypatch):
    """As happens to one that is killed and does not come back soon."""
    monkeypatch.setattr(crew, "RECRUIT", 0.2)
    with crew.client(1, None) as client:
        cluster = client.cluster
        (lost,) = cluster.workers.values()
        cluster.sync(lost.close)
        assert client.submit(os.getpid).result(timeout=60) != os.getpid()
