from __future__ import annotations

import numpy as np
import pytest

from promptless.data import prepared
from promptless.data.preparation import prepare
from promptless.data.sources.pannuke import CLASSES, read


def masks():
    """Two images: instance 7 in two classes, which share a row; and none."""
    found = np.zeros((2, 16, 16, 6))
    found[0, 2:6, 2:6, 0] = 7
    found[0, 5:9, 2:6, 1] = 7
    found[0, 12:14, 2:6, 4] = 9
    found[..., 5] = found[..., :5].sum(axis=-1) == 0
    return found


@pytest.fixture
def folder(tmp_path):
    """Three folds as they come out of the archives, the second one flat."""
    for n in (1, 2, 3):
        for kind, content in (
            ("images", np.full((2, 16, 16, 3), 40.0 * n)),
            ("masks", masks()),
            ("types", np.array(["Breast", "Colon"])),
        ):
            inner = "masks" if kind == "masks" else "images"
            place = tmp_path / "fold2" if n == 2 else tmp_path / f"Fold {n}" / inner / f"fold{n}"
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{kind}.npy", content)
    return tmp_path


def test_classes_keep_their_instances_apart_and_the_first_keeps_what_two_share(folder):
    sample = read(folder).load("fold1_0000")
    expected = np.zeros((16, 16), np.int32)
    expected[2:6, 2:6], expected[6:9, 2:6], expected[12:14, 2:6] = 1, 2, 3
    assert np.array_equal(sample.labels, expected)
    assert sample.classes == {1: 1, 2: 2, 3: 5}
    assert (sample.category, sample.mpp, sample.pixels.dtype) == ("Breast", 0.25, np.uint8)


def test_an_image_without_nuclei_is_one_too(folder):
    sample = read(folder).load("fold3_0001")
    assert (sample.n_objects, sample.classes, sample.category) == (0, {}, "Colon")
    assert (sample.pixels == 120).all()


def test_the_folds_are_the_parts(folder):
    source = read(folder)
    assert source.official == {
        f"fold{n}_000{i}": part for n, part in ((1, "train"), (2, "dev"), (3, "test")) for i in (0, 1)
    }


def test_nothing_is_read_before_it_is_asked_for(folder):
    fold, _ = read(folder).load.args[0]["fold1_0000"]
    assert all(isinstance(array, np.memmap) for array in fold.values())


def test_masks_of_other_classes_are_refused(folder):
    np.save(folder / "fold2" / "masks.npy", masks()[..., :5])
    with pytest.raises(ValueError, match=r"\(2, 16, 16, 5\); masks are \(n, y, x, 6\): Neoplastic"):
        read(folder)


def test_arrays_whose_lengths_differ_are_refused(folder):
    np.save(folder / "fold2" / "types.npy", np.array(["Breast"]))
    with pytest.raises(ValueError, match=r"fold 2 has .*'types': 1"):
        read(folder)


def test_a_fold_without_masks_is_refused(folder):
    (folder / "fold2" / "masks.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"fold 2 lacks masks\.npy"):
        read(folder)


def test_probabilities_are_no_instances(folder):
    np.save(folder / "fold2" / "masks.npy", masks() / 2)
    with pytest.raises(ValueError, match=r"fold2_0000: the masks of Neoplastic .* fractions"):
        read(folder).load("fold2_0000")


def test_a_fold_that_is_there_twice_is_refused(folder):
    (folder / "fold2" / "again").mkdir()
    np.save(folder / "fold2" / "again" / "types.npy", np.array(["Breast"]))
    with pytest.raises(ValueError, match="both the types of fold 2"):
        read(folder)


def test_what_is_prepared_trains_with_its_classes(folder, tmp_path):
    generator = pytest.importorskip("promptless.train.generator")
    parts = prepare(read(folder), tmp_path / "out").parts
    assert prepared.class_names(tmp_path / "out") == CLASSES
    samples = list(prepared.read(tmp_path / "out", parts["train"]))
    patches = generator.Patches(samples, {"Breast": 1.0, "Colon": 0.0}, 32, 5)
    assert np.flatnonzero(patches.class_weights).tolist() == [0, 1, 2, 5]
    seen = [patches[i] for i in range(8)]
    assert {int(value) for patch in seen for value in patch["classes"].unique()} == {0, 1, 2, 5}
    assert all(((patch["classes"] > 0) == (patch["labels"] > 0)).all() for patch in seen)
