from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from promptless.metrics import overlaps as module
from promptless.metrics.overlaps import overlaps

TRUTH = np.array([[0, 7, 7], [2, 2, 0]], np.uint8)
PREDICTED = np.array([[5, 5, 0], [0, 3, 3]], np.int32)


def as_dict(found):
    """Return the shared pixels by pair of labels."""
    keys = zip(found.true_ids[found.row].tolist(), found.predicted_ids[found.column].tolist(), strict=True)
    return dict(zip(keys, found.shared.tolist(), strict=True))


def test_every_pair_of_labels_is_counted():
    found = overlaps(TRUTH, PREDICTED)
    assert as_dict(found) == {(0, 3): 1, (0, 5): 1, (2, 0): 1, (2, 3): 1, (7, 0): 1, (7, 5): 1}
    assert found.true_ids.tolist() == [0, 2, 7]
    assert found.area_true.tolist() == found.area_predicted.tolist() == [2, 2, 2]


def test_objects_leave_the_background_out_and_keep_their_areas():
    found = overlaps(TRUTH, PREDICTED).objects
    assert as_dict(found) == {(2, 3): 1, (7, 5): 1}
    assert found.area_true.tolist() == [2, 2]
    assert found.iou.tolist() == [1 / 3, 1 / 3]


def test_an_image_without_background_keeps_all_its_objects():
    found = overlaps(TRUTH + np.uint8(1), PREDICTED + 1)
    assert not found.has_background
    assert (found.objects.n_true, found.objects.n_predicted) == (3, 3)


@pytest.mark.parametrize("shape", [(40,), (13, 17), (5, 6, 7)])
def test_blocks_add_up_to_the_plain_count(shape, rng, monkeypatch):
    truth, predicted = rng.integers(0, 5, (2, *shape))
    monkeypatch.setattr(module, "BLOCK", 20)
    expected = {(i, j): int(n) for i in range(5) for j in range(5) if (n := ((truth == i) & (predicted == j)).sum())}
    assert as_dict(overlaps(truth, predicted)) == expected


def test_labels_may_be_as_large_as_integers_are():
    big = np.array([0, 2**62, 2**62])
    assert as_dict(overlaps(big, big)) == {(0, 0): 1, (2**62, 2**62): 2}


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"\(2, 3\) and \(3, 2\)"),
        (np.zeros((0, 3), int), np.zeros((0, 3), int), "no pixels"),
        (np.array([1, -1]), np.array([1, 1]), "the truth has the label -1"),
    ],
)
def test_what_cannot_be_compared_is_refused(truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        overlaps(truth, predicted)


class Made:
    """A label image of 64-pixel squares that is made as it is read."""

    shape = (20_000, 4_000)
    dtype = np.dtype(np.uint16)

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(self.shape[0])
        squares = np.arange(start, stop)[:, None] // 64 * 63 + np.arange(self.shape[1]) // 64 + 1
        return squares.astype(self.dtype)


def test_memory_does_not_grow_with_the_image():
    tracemalloc.start()
    found = overlaps(Made(), Made())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.area_true.sum() == 20_000 * 4_000
    assert peak < 150e6  # one of the images alone would take 160 MB
