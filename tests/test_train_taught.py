from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up import NULL, NullModel, discs, picture
from promptless.data.sample import Sample
from promptless.train.taught import answer, answers, key

LABELS = discs((48, 64), [(14, 14, 7), (30, 44, 8)])


def sample(name="a", level=0):
    return Sample(name, "kind", picture(LABELS)[None] + np.uint8(level), LABELS)


class Counting(NullModel):
    """A teacher that counts how often it is asked."""

    def __init__(self, iou=0.9, version="1"):
        super().__init__(replace(NULL, version=version), iou)
        self.asked = 0

    def encode(self, image):
        self.asked += 1
        return super().encode(image)


def test_a_teacher_tells_its_objects_and_their_scores(tmp_path):
    said = answer(sample(), Counting(iou=0.8), tmp_path)
    assert ((said.labels > 0) == (LABELS > 0)).all()
    assert said.scores.tolist() == pytest.approx([0, 0.8, 0.8])


def test_it_is_asked_once_and_says_the_same_from_disk(tmp_path):
    teacher = Counting()
    first = answers([sample("a"), sample("b", 1)], teacher, tmp_path)
    asked = teacher.asked
    second = answers([sample("a"), sample("b", 1)], teacher, tmp_path)
    assert teacher.asked == asked > 0
    assert all((first[name].labels == second[name].labels).all() for name in "ab")
    assert all((first[name].scores == second[name].scores).all() for name in "ab")


def test_another_teacher_or_image_has_another_answer(tmp_path):
    keys = {key(sample(), Counting()), key(sample(), Counting(version="2")), key(sample(level=1), Counting())}
    assert len(keys) == 3
    answer(sample(), Counting(), tmp_path)
    other = Counting(iou=0.5, version="2")
    assert answer(sample(), other, tmp_path).scores.max() == pytest.approx(0.5)
    assert other.asked


def test_the_name_of_an_image_decides_nothing():
    assert key(sample("a"), Counting()) == key(sample("b"), Counting())


def test_an_image_without_objects_teaches_background(tmp_path):
    said = answer(
        Sample("a", "kind", np.zeros((1, 32, 32), np.uint8), np.zeros((32, 32), np.int32)), NullModel(), tmp_path
    )
    assert said.scores.tolist() == [0]
    assert not said.labels.any()
