from __future__ import annotations

import pytest
import torch

from promptless.data.sample import Sample
from promptless.io.scores import read_numbers
from promptless.networks.promptable import Promptable
from promptless.train.decoder import DecoderTask
from promptless.train.learned import copied, learned
from promptless.train.looks import LOOKS, Looks, having
from promptless.train.loop import Schedule, State, one_step
from test_train_decoder import batch

SCHEDULE = Schedule(steps=4, batch=2, rate=1e-2, warmup=1)


@pytest.fixture
def network(tiny):
    network = Promptable(tiny.size)
    network.load_state_dict(tiny.state_dict())
    return network


@pytest.fixture
def dev(blobs):
    image, labels = blobs
    return [Sample("a", "grey", image[None], labels)]


def test_a_look_leaves_weights_modes_and_chance_as_they_were(network):
    network.generator.eval()
    before, modes = copied(network.state_dict()), [part.training for part in network.modules()]
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    with having(network, network.decoder, {k: v * 0 for k, v in learned(network.decoder).items()}):
        network.eval()
        torch.rand(9)
        assert not any(value.any() for value in learned(network.decoder).values())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [part.training for part in network.modules()] == modes
    assert torch.equal(torch.rand(1), expected)


def test_training_is_the_same_with_and_without_looks(tiny, tiny_config, dev, tmp_path):
    ends = []
    for looking in (False, True):
        network = Promptable(tiny.size)
        network.load_state_dict(tiny.state_dict())
        task = DecoderTask(network, tiny_config.window, tiny_config.proposals, per_image=4, seed=0)
        state, looks = State.fresh(network, SCHEDULE), Looks(network, tiny_config, dev, tmp_path, {"decoder": 4})
        (tmp_path / "decoder").mkdir(exist_ok=True)
        for step in range(3):
            if looking:
                looks("decoder", network, step, state.mean, step / 4)
            one_step(task, batch(2 * step), state, SCHEDULE)
        ends.append(state.mean)
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert set(read_numbers(tmp_path / "decoder" / "scores.csv")) == {0, 1, 2}


def test_dev_is_looked_at_now_and_then_and_each_step_once(network, tiny_config, dev, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "promptless.train.looks.segmented", lambda model, samples: seen.append(1) or {"a": dev[0].labels}
    )
    for _ in range(2):  # the second time as if the run had been killed and resumed
        looks = Looks(network, tiny_config, dev, tmp_path, {"generator": 100, "joint": 10})
        for name, steps in (("generator", 100), ("joint", 10)):
            (tmp_path / name).mkdir(exist_ok=True)
            for step in range(steps + 1):
                looks(name, network, step, learned(network), step / steps)
    assert read_numbers(tmp_path / "generator" / "scores.csv") == dict.fromkeys((0, 20, 40, 60, 80, 100), 1.0)
    assert read_numbers(tmp_path / "joint" / "scores.csv") == dict.fromkeys((2, 4, 6, 8, 10), 1.0)
    assert len(seen) == 2 * LOOKS + 1
