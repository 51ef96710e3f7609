from __future__ import annotations

import pytest
import torch

from promptless.networks import devices


def test_auto_is_a_gpu_where_torch_sees_one(monkeypatch):
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert devices.find("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "meta", "xpu", ""])
def test_an_unknown_device_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=f'{name!r}; it must be "auto", "cpu", "cuda"'):
        devices.find(name)


def test_a_gpu_must_be_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"'cuda', but torch .* sees no GPU; use \"auto\" or \"cpu\""):
        devices.find("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.find("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="sees 2 GPUs"):
        devices.find("cuda:2")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this is such a Mac")
def test_mps_is_for_macs():
    with pytest.raises(ValueError, match="only on a Mac"):
        devices.find("mps")
