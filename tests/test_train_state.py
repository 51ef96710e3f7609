from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from promptless.train.failures import explained
from promptless.train.learned import learned
from promptless.train.schedule import Schedule
from promptless.train.state import State, differences, trainable

SCHEDULE = Schedule(steps=4, batch=1, warmup=1)


def fresh():
    return State.fresh(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), SCHEDULE)


def test_frozen_parameters_are_left_out():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    module[0].bias.requires_grad_(False)
    assert [p.shape for p in trainable(module)] == [(3, 2), (3,), (3,)]
    assert set(module.state_dict()) - set(learned(module)) == {"0.bias"}


def test_what_is_saved_is_what_is_loaded(tmp_path):
    before, after = fresh(), fresh()
    before.step = 3
    before.save(tmp_path / "checkpoint.pt", {"seed": 1})
    after.load(tmp_path / "checkpoint.pt", {"seed": 1})
    assert (after.step, after.saved) == (3, 3)
    assert all(
        torch.equal(value, after.module.state_dict()[name]) for name, value in before.module.state_dict().items()
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_leaves_the_last_checkpoint_whole_and_nothing_else(tmp_path):
    state = fresh()
    state.save(tmp_path / "checkpoint.pt", {})
    state.step = state.saved = 2
    before = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.tmp").symlink_to("/dev/full")
    told = f"disk is full: step 3 could not be written; .* is of step 2 in {tmp_path}; free some space .*--resume"
    with pytest.raises(OSError, match=told), explained(state, None, tmp_path):
        state.save(tmp_path / "checkpoint.pt", {})
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_checkpoint_whose_writing_is_broken_off_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fresh().save(tmp_path / "checkpoint.pt", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": [1, 2]}}, []),
        ({"a": 1}, {"a": 2}, ["a was 1 and is 2"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ['a.b was "x" and is "y"']),
        ({"a": [1, 2, 3]}, {"a": [1, 4]}, ["a[1] was 2 and is 4", "a[2] was 3 and is not said"]),
        ({}, {"a": 1}, ["a was not said and is 1"]),
        ({"a": None}, {"a": {"b": 1}}, ['a was not said and is {"b": 1}']),
    ],
)
def test_the_fields_that_differ_are_told_with_both_values(before, now, told):
    assert differences(before, now) == told


def test_of_many_differences_a_few_are_told(tmp_path):
    state = fresh()
    state.save(tmp_path / "checkpoint.pt", {"ids": list(range(20))})
    with pytest.raises(ValueError, match=r"of another recipe: ids\[0\] was 0 and is 1; .*; and 15 more\. Put"):
        state.load(tmp_path / "checkpoint.pt", {"ids": list(range(1, 21))})
    assert state.saved is None
