from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import several
from promptless.train import processes
from promptless.train.loop import fit
from promptless.train.processes import ALONE, Processes

LAUNCHER = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")


class StopError(Exception):
    """Ends a run in its middle."""


def stopping(task, after):
    """Return a task that ends after so many batches."""
    left = iter(range(after))
    inner = task.__call__

    class Stopping:
        module = task.module

        def __call__(self, batch):
            if next(left, None) is None:
                raise StopError
            return inner(batch)

    return Stopping()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of it, which goes on from half a run of its own."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.raises(StopError):
        fit(stopping(several.Uneven(), 6), several.Points(), several.SCHEDULE, folder / "half", device="cpu")
    shutil.copytree(folder / "half", folder / "kept")
    return folder, several.train(folder)


@pytest.fixture(scope="module")
def together(alone, tmp_path_factory):
    """What two processes make of it, which go on from half a run of one."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(alone[0] / "kept", folder / "half")
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    command = [*LAUNCHER, "--main_process_port", "0", several.__file__, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def curve(folder):
    with (folder / "log.csv").open(newline="") as file:
        return [[float(value) for value in row.values()] for row in csv.DictReader(file)]


@pytest.mark.parametrize("run", ["whole", "half"])
def test_two_processes_learn_what_one_learns(alone, together, run):
    expected = alone[1][run]
    for result in together[1]:
        assert set(result[run]) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(result[run][name], value, rtol=0, atol=1e-5)
    rows = curve(alone[0] / run), curve(together[0] / run)
    assert len(rows[0]) == several.SCHEDULE.steps
    np.testing.assert_allclose(rows[0], rows[1], rtol=0, atol=1e-5)


def test_a_weight_that_nobody_has_a_gradient_for_stays(alone, together):
    fresh = several.Uneven().module["idle"].weight
    assert all(torch.equal(result["whole"]["idle.weight"], fresh) for result in together[1])
    assert not torch.equal(together[1][1]["whole"]["some.weight"], several.Uneven().module["some"].weight)


def test_only_the_main_process_writes(together):
    assert [result["main"] for result in together[1]] == [True, False]
    assert sorted(p.name for p in (together[0] / "whole").iterdir()) == ["checkpoint.pt", "log.csv"]


def test_all_processes_name_the_image_that_one_of_them_met(alone, together):
    assert "loss is nan at step 6, on patches of image20, image21, image22, image23; the last" in alone[1]["told"]
    for result in together[1]:
        assert "loss is nan at step 6, on patches of image22, image23; the last good" in result["told"]
        assert "is of step 4 in FOLDER/spoilt" in result["told"]


def test_one_process_does_without_accelerate(tmp_path):
    program = (
        "import sys, torch; from promptless.train import processes; "
        "print(processes.join(torch.device('cpu')), 'accelerate' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{ALONE} False"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shares_make_up_the_batch(count):
    batch = range(12, 24)
    assert [i for rank in range(count) for i in Processes(rank, count).share(batch)] == list(batch)


def test_the_environment_says_who_is_main(monkeypatch):
    assert processes.main()
    assert not processes.launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert processes.launched()
    assert not processes.main()


def test_processes_do_not_share_apples_chip(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="cannot share 'mps'"):
        processes.join(torch.device("mps"))
