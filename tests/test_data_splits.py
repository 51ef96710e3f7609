from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from promptless.data.splits import split, split_for_training

IDS = [f"patient{i // 5}-{i}" for i in range(1000)]


def patient(name):
    return name.split("-")[0]


def part_of(parts):
    return {name: part for part, names in parts.items() for name in names}


def test_about_a_tenth_is_for_dev_and_a_tenth_for_test():
    parts = split(IDS, str, {}, {})
    assert 70 < len(parts["dev"]) < 130
    assert 70 < len(parts["test"]) < 130
    assert sum(map(len, parts.values())) == 1000


def test_the_split_is_always_the_same():
    parts = split([f"TCGA-{i}" for i in range(12)], str, {}, {})
    assert (parts["dev"], parts["test"]) == (["TCGA-2", "TCGA-4"], ["TCGA-0", "TCGA-3", "TCGA-5"])


def test_a_patient_is_in_one_part():
    parts = split(IDS, patient, {}, {})
    patients = [{patient(name) for name in names} for names in parts.values()]
    assert sum(map(len, patients)) == 200


def test_where_the_publisher_names_test_images_no_others_are():
    parts = split(IDS, str, {IDS[0]: "test"}, {})
    assert parts["test"] == IDS[:1]
    assert len(parts["dev"]) > 70


def test_an_official_test_image_does_not_take_its_patient_along():
    official = dict.fromkeys(IDS[::5], "test")
    parts = split(IDS, patient, official, {})
    assert parts["test"] == IDS[::5]


def test_what_was_split_before_stays_and_so_does_its_patient():
    kept = {IDS[0]: "dev", IDS[5]: "test", IDS[10]: "train"}
    parts = part_of(split(IDS, patient, {}, kept))
    assert [parts[name] for name in IDS[:15]] == ["dev"] * 5 + ["test"] * 5 + ["train"] * 5


def test_what_was_split_before_and_is_gone_is_left_out():
    assert split(["a"], str, {}, {"b": "dev"}) == {"train": ["a"], "dev": [], "test": []}


def test_an_only_image_is_for_training():
    assert all(split([name], str, {}, {})["train"] == [name] for name in IDS[:50])


@given(st.integers(1, 40), st.integers(0, 50))
def test_a_split_for_training_lacks_no_part_that_it_need_not_lack(n, offset):
    names = [f"image-{offset}-{i}" for i in range(n)]
    parts = split_for_training(names, str, {}, {})
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    assert parts["train"]
    assert bool(parts["dev"]) == (n >= 2)
    assert parts["test"] or n < 5


@given(st.integers(1, 12), st.integers(1, 30))
def test_what_was_for_training_or_dev_stays_there_when_images_are_added(first, more):
    names = [f"{i}" for i in range(first + more)]
    before = part_of(split_for_training(names[:first], str, {}, {}))
    after = part_of(split_for_training(names, str, {}, before))
    moved = [name for name, part in before.items() if after[name] != part]
    assert not moved or (first == 1 and more < 4) or len(moved) == 1


def test_a_split_for_training_leaves_whole_what_is_whole_and_cases_together():
    assert split_for_training(IDS, patient, {}, {}) == {k: sorted(v) for k, v in split(IDS, patient, {}, {}).items()}
    parts = split_for_training(["a-1", "a-2", "b-1"], lambda name: name[0], {}, {})
    assert {name[0] for name in parts["train"]} & {name[0] for name in parts["dev"]} == set()
    assert parts["train"]
    assert parts["dev"]


@given(st.integers(0, 500))
def test_of_two_images_one_is_for_training_and_one_for_dev(offset):
    parts = split_for_training([f"{offset}-a", f"{offset}-b"], str, {}, {})
    assert [len(parts[part]) for part in ("train", "dev", "test")] == [1, 1, 0]


def test_a_test_set_that_was_left_empty_stays_empty_until_there_are_new_images():
    edited = {**dict.fromkeys("abcd", "train"), "e": "dev"}
    assert part_of(split_for_training("abcde", str, {}, edited)) == edited
    assert len(split_for_training("abcdef", str, {}, edited)["test"]) == 1
