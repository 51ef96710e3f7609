from __future__ import annotations

import pytest
import torch
from torch import nn

from promptless.networks.promptable import Promptable
from promptless.train.decoder import DecoderTask
from promptless.train.learned import copied, learned, take
from promptless.train.loop import Schedule, State


class Parts(nn.Module):
    """A frozen part, one that trains and is shared, and buffers of all kinds."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
        self.again = self.head
        self.register_buffer("passing", torch.ones(1), persistent=False)


def test_what_is_frozen_is_not_learned_and_what_is_shared_is_there_once():
    assert set(learned(Parts())) == {
        "head.0.weight",
        "head.0.bias",
        *(f"head.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")),
    }


def test_all_of_a_module_that_trains_is_learned():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert learned(module).keys() == module.state_dict().keys()


def test_what_was_learned_is_all_that_differs(tiny):
    networks = [Promptable(tiny.size) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for network in networks:
        network.generator.requires_grad_(False)
    with torch.no_grad():
        for value in learned(networks[0]).values():
            value.add_(1)
    take(networks[1], copied(learned(networks[0])))
    others = networks[1].state_dict()
    assert all(torch.equal(value, others[name]) for name, value in networks[0].state_dict().items())


def test_a_copy_has_memory_of_its_own():
    module = nn.Linear(2, 2)
    kept = copied(learned(module))
    nn.init.ones_(module.weight)
    assert not torch.equal(kept["weight"], module.weight)


def test_weights_that_are_missing_are_told():
    module = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="lacks bias and 0 more of the 2 weights that train"):
        take(module, {"weight": module.weight})


def test_a_checkpoint_holds_no_frozen_weight(tiny, tiny_config, tmp_path):
    network = Promptable(tiny.size)
    task = DecoderTask(network, tiny_config.window, tiny_config.proposals, per_image=4, seed=0)
    State.fresh(task.module, Schedule(steps=1, batch=1)).save(tmp_path / "checkpoint.pt", {})
    parts = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert parts["module"].keys() == parts["mean"].keys()
    assert not any(name.startswith("generator.") for name in parts["module"])
    assert any(name.startswith("decoder.") for name in parts["module"])
