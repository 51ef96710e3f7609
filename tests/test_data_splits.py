from __future__ import annotations

from promptless.data.splits import split

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
