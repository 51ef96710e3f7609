from __future__ import annotations

import pytest
import torch
from torch import nn

from promptless.errors import reason
from promptless.train.failures import NotFiniteError, explained, origins
from promptless.train.schedule import Schedule
from promptless.train.state import State


class Slides:
    def names(self, indices):
        return [f"slide{index // 2}" for index in indices]


def test_images_are_named_once_and_not_all_of_many():
    assert origins(Slides(), [0, 1, 2]) == ", on patches of slide0, slide1"
    assert origins(Slides(), range(40)).endswith("slide6, slide7 and 12 more")
    assert origins(None, [3, 5]) == ", on items 3, 5"
    assert origins(None, []) == ""


def test_a_person_reads_one_line_without_the_kind_of_error(tmp_path):
    state = State.fresh(nn.Linear(1, 1), Schedule(steps=1, batch=1))
    with pytest.raises(NotFiniteError) as caught, explained(state, Slides(), tmp_path):
        raise NotFiniteError("the loss is nan", [4])
    assert reason(caught.value).startswith(
        f"the loss is nan at step 1, on patches of slide2; there is no checkpoint yet in {tmp_path}; look"
    )


def test_other_errors_pass_as_they_are(tmp_path):
    state = State.fresh(nn.Linear(1, 1), Schedule(steps=1, batch=1))
    for error in (PermissionError(13, "no"), RuntimeError("broken")):
        with pytest.raises(type(error)) as caught, explained(state, None, tmp_path):
            raise error
        assert caught.value is error


def test_the_step_is_the_one_that_the_log_would_have(tmp_path):
    state = State.fresh(nn.Linear(1, 1), Schedule(steps=9, batch=1))
    state.step, state.saved = 6, 5
    told = r"step 7; .* of step 5 in .*; .*go on with --resume"
    with pytest.raises(torch.OutOfMemoryError, match=told), explained(state, None, tmp_path):
        raise torch.OutOfMemoryError("no")
