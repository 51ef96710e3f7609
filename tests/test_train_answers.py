from __future__ import annotations

import os

import numpy as np
import pytest

from promptless.train.answers import Answers

TWO = 1.1e-6
"""Gigabytes that two answers of `said` take, of 528 bytes."""


def said(value, n=100):
    return lambda: np.full((2, n), value, np.float32)


def never():
    raise AssertionError("asked again")


def scan(seed=0):
    return np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)


def test_a_teacher_is_asked_once(tmp_path):
    answers = Answers(tmp_path / "kept", 1.0)
    first = answers.of("t", scan(), said(0.25))
    again = Answers(tmp_path / "kept", 1.0).of("t", scan(), never)
    assert first.dtype == again.dtype == np.float16
    assert (again == 0.25).all()


def test_what_another_teacher_said_or_of_another_image_is_not_taken(tmp_path):
    answers = Answers(tmp_path, 1.0)
    answers.of("t", scan(), said(1))
    assert (answers.of("other", scan(), said(2)) == 2).all()
    assert (answers.of("t", scan(1), said(3)) == 3).all()
    assert (answers.of("t", scan().reshape(4, 3), said(4)) == 4).all()
    assert (answers.of("t", scan(), never) == 1).all()


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    for i in range(2):
        answers = Answers(tmp_path, TWO)
        answers.of("t", scan(i), said(i))
        os.utime(answers.path("t", scan(i)), (i, i))
    Answers(tmp_path, TWO).of("t", scan(0), never)  # now the other one is older
    Answers(tmp_path, TWO).of("t", scan(2), said(2))
    assert [answers.path("t", scan(i)).exists() for i in range(3)] == [True, False, True]


def test_an_answer_that_is_in_use_outlives_its_file(tmp_path):
    answers = Answers(tmp_path, TWO / 2)
    first = answers.of("t", scan(0), said(7))
    Answers(tmp_path, TWO / 2).of("t", scan(1), said(8))
    assert not answers.path("t", scan(0)).exists()
    assert (first == 7).all()


def test_an_interrupted_answer_leaves_nothing(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Answers(tmp_path, 1.0).of("t", scan(), interrupted)
    assert list(tmp_path.iterdir()) == []


def test_answers_that_would_push_each_other_out_are_refused(tmp_path):
    answers = Answers(tmp_path, TWO)
    for i in range(2):
        answers.of("t", scan(i), said(i))
        answers.of("t", scan(i), never)  # twice the same counts once
    with pytest.raises(ValueError, match=r"answers to 3 images take .* GB in .*, and cache_gb is 1.1e-06; raise it"):
        answers.of("t", scan(2), said(2))
