from __future__ import annotations

import pytest
import torch

from promptless.train import devices
from promptless.train.devices import find


@pytest.fixture
def cards(monkeypatch):
    """Make torch see two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def blind(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize(("name", "device"), [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("cpu", "cpu")])
def test_auto_takes_a_gpu_that_is_there(cards, name, device):
    assert find(name) == torch.device(device)


def test_auto_takes_the_processor_where_there_is_no_gpu(monkeypatch):
    blind(monkeypatch)
    assert find("auto") == find("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "sees no GPU; use .auto. or .cpu., or install the CUDA build"),
        ("cuda:1", "device is .cuda:1., but torch .* sees no GPU"),
        ("mps", "only on a Mac"),
        ("gpu", "device is .gpu.; it must be"),
        ("meta", "device is .meta.; it must be"),
        ("", "it must be"),
    ],
)
def test_a_device_that_is_not_there_is_an_error(monkeypatch, name, message):
    blind(monkeypatch)
    with pytest.raises(ValueError, match=message):
        find(name)


def test_a_gpu_that_is_one_too_many_is_an_error(cards):
    with pytest.raises(ValueError, match="sees 2 GPUs"):
        find("cuda:2")


def test_each_of_several_processes_takes_a_gpu_of_its_own(cards, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find("auto") == find("cuda") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="each of several processes takes a GPU of its own"):
        find("cuda:0")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert find("auto") == torch.device("cpu")


def test_a_batch_is_moved_with_its_names():
    moved = devices.moved({"x": torch.zeros(2), "y": torch.ones(1)}, torch.device("meta"))
    assert {name: value.device.type for name, value in moved.items()} == {"x": "meta", "y": "meta"}


def test_arithmetic_is_that_of_the_device():
    assert not torch.is_autocast_enabled("cpu")
    with devices.arithmetic("bfloat16", torch.device("cpu")):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    with devices.arithmetic("float32", torch.device("cuda")):
        assert not torch.is_autocast_enabled("cuda")


def test_a_gpu_is_fed_by_as_many_processes_as_the_machine_has_cores_for(monkeypatch):
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    counts = [devices.loaders(torch.device("cuda"), count) for count in (1, 2, 4, 12)]
    assert counts == [8, 5, 2, 1]
    assert devices.loaders(torch.device("cpu"), 1) == 1
