from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from promptless.io.readers import memory
from promptless.networks.volume import models
from promptless.train.schedule import Schedule
from promptless.train.volume import room
from volumes import autoprosam, both_backbones, voxel_config

CROP, CPU = (32, 32, 32), torch.device("cpu")
ONE = Schedule(batch=1, steps=1)


@pytest.fixture(scope="module")
def compact():
    return models.begun(voxel_config(network="compact", sizes={"widths": (8, 8)}), None)


@pytest.fixture
def layered(tiny_folder, tmp_path):
    return autoprosam(both_backbones(tiny_folder, tmp_path)["large"])


def foreseen(network, crop=CROP, schedule=ONE):
    return room.needed(deepcopy(network).to("meta"), crop, schedule)


def with_memory(monkeypatch, free):
    monkeypatch.setattr(memory, "free", lambda: free)


def test_what_is_kept_for_the_gradients_grows_with_crops_and_batches(compact):
    small, large, two = (
        foreseen(compact, *asked) for asked in (((16,) * 3, ONE), (CROP, ONE), (CROP, Schedule(batch=2, steps=1)))
    )
    assert 6 < large / small < 8.5
    assert 1.8 < two / large < 2.1
    assert foreseen(compact, schedule=Schedule(batch=2, steps=1, accumulate=2)) == large
    assert foreseen(compact, schedule=replace(ONE, precision="bfloat16")) < large


def test_lean_training_is_foreseen_with_less(layered):
    assert foreseen(layered, schedule=replace(ONE, memory="lean")) < foreseen(layered)


def test_processes_share_the_memory_of_a_computer(compact, monkeypatch):
    two = Schedule(batch=2, steps=1)
    each = room.needed(deepcopy(compact).to("meta"), CROP, two, 2)
    with_memory(monkeypatch, 2 * each)
    room.check(compact, CROP, two, CPU, 2)
    with_memory(monkeypatch, 2 * each - 1)
    with pytest.raises(ValueError, match="a training step on 1 crop of 32 x 32 x 32 voxels"):
        room.check(compact, CROP, two, CPU, 2)


def test_a_gpu_holds_the_network_too(compact, monkeypatch):
    step, weights = foreseen(compact), sum(p.nbytes for p in (*compact.parameters(), *compact.buffers()))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (step + weights, 0))
    room.check(compact, CROP, ONE, torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (step + weights - 1, 0))
    with pytest.raises(ValueError, match="are free"):
        room.check(compact, CROP, ONE, torch.device("cuda"))


def test_what_fits_passes_and_the_network_stays_as_it_was(compact, monkeypatch):
    before = {name: value.clone() for name, value in compact.state_dict().items()}
    with_memory(monkeypatch, foreseen(compact))
    room.check(compact, CROP, ONE, CPU)
    assert all(torch.equal(value, before[name]) for name, value in compact.state_dict().items())
    assert all(weight.grad is None for weight in compact.parameters())
    with_memory(monkeypatch, None)  # the system does not say
    room.check(compact, (256,) * 3, ONE, CPU)


def refusal(network, schedule):
    with pytest.raises(ValueError, match=r"crops? of 32 x 32 x 32 voxels at a time takes about") as caught:
        room.check(network, CROP, schedule, CPU)
    return str(caught.value)


def test_the_largest_crop_that_fits_is_offered(compact, monkeypatch):
    with_memory(monkeypatch, foreseen(compact) - 1)
    assert "crop = [16, 16, 16] in [model.volume] would take about 0.0 GB" in refusal(compact, ONE)


def test_smaller_batches_and_lean_memory_come_first(compact, layered, monkeypatch):
    two = Schedule(batch=2, steps=1)
    with_memory(monkeypatch, foreseen(compact))
    assert "on 2 crops" in refusal(compact, two)
    assert "accumulate = 2 in [train] would" in refusal(compact, two)
    with_memory(monkeypatch, foreseen(layered) - 1)
    assert 'memory = "lean" in [train] would' in refusal(layered, ONE)


def test_where_nothing_fits_the_network_must_be_smaller(compact, monkeypatch):
    with_memory(monkeypatch, 1000)
    assert "no smaller one would fit: take a smaller network, or set PROMPTLESS_MAX_MEMORY" in refusal(compact, ONE)
