from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from promptless.config import ModelConfig
from promptless.loading import load
from promptless.networks.volume import models
from promptless.registry import model_hash
from promptless.train import answers
from promptless.train.answers import Answers
from promptless.train.distill import Distilling
from promptless.train.volume import lessons, students, teachers, training
from promptless.train.volume.cases import of, ready
from promptless.train.volume.crops import take
from promptless.train.volume.lessons import Taught, answered
from promptless.train.volume.recipe import distilled, read
from promptless.train.volume.training import train
from promptless.train.volume.variety import VARIETIES
from scans import nifti
from volumes import RECIPE, random_crop, scan_folder, shapes, voxel_config
from voxel_models import Seeing

PLAIN = RECIPE[: RECIPE.index("[model.network]")].replace("[model.volume]", '[model.volume]\nnetwork = "compact"')
SMALL = PLAIN + "[model.network]\nwidths = [4, 6]\n"
TEACHER = RECIPE.replace("steps = 12", "steps = 8")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with scans, a teacher that has learned from them, and the recipe of a student."""
    folder = tmp_path_factory.mktemp("home")
    scan_folder(folder / "shapes")
    (folder / "teacher.toml").write_text(TEACHER)
    (folder / "student.toml").write_text(SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promptless.train.volume.report.draw_curves", lambda *_: None)
        train(read(folder / "teacher.toml", data=folder / "shapes"), folder / "teacher", device="cpu")
    return folder


@pytest.fixture(autouse=True)
def quiet(home, monkeypatch):
    """Leave the curves out, which take longer than all else, and keep answers apart from the user's."""
    monkeypatch.setattr("promptless.train.volume.report.draw_curves", lambda *_: None)
    monkeypatch.setattr(answers, "place", lambda: home / "answers")


def plain(home, steps=4):
    recipe = read(home / "student.toml", data=home / "shapes")
    return replace(recipe, schedule=replace(recipe.schedule, steps=steps), look_every=steps)


def student(home, unlabelled=None, **how):
    return distilled(plain(home), Distilling(str(home / "teacher"), **how), unlabelled, "the test")


def weights(folder):
    return (folder / "trained.safetensors").read_bytes()


def test_a_teacher_without_weight_changes_nothing(home, tmp_path):
    train(plain(home), tmp_path / "plain", device="cpu")
    train(student(home, weight=0.0), tmp_path / "taught", device="cpu")
    assert weights(tmp_path / "plain") == weights(tmp_path / "taught")


def test_a_student_is_a_model_that_names_its_teacher(home, tmp_path):
    train(plain(home), tmp_path / "plain", device="cpu")
    made = train(student(home, labelled=1), tmp_path / "student", device="cpu")
    config = load(tmp_path / "student", device="cpu").config
    assert config.teacher.name == "shapes"
    assert config.teacher.sha256 == model_hash(ModelConfig.read(home / "teacher" / "config.json"))
    assert config.teacher.weight == 0.5
    assert ModelConfig.read(tmp_path / "student" / "config.json") == config
    assert config.teacher.sha256 in (tmp_path / "student" / "README.md").read_text()
    assert "teacher" not in (tmp_path / "plain" / "README.md").read_text()
    assert weights(tmp_path / "plain") != weights(tmp_path / "student")
    assert len(made.report.ids["train"]) == 1


def test_a_distillation_that_was_killed_and_resumed_ends_the_same(home, tmp_path):
    recipe = student(home, labelled=1, on="softmax", temperature=2.0)
    train(recipe, tmp_path / "undisturbed", device="cpu")

    def pull(done, text):
        if text.startswith("step 2/"):
            raise KeyboardInterrupt

    recipe = replace(recipe, schedule=replace(recipe.schedule, checkpoint_every=1))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "killed", device="cpu", progress=pull)
    train(recipe, tmp_path / "killed", device="cpu", resume=True)
    assert weights(tmp_path / "undisturbed") == weights(tmp_path / "killed")


def test_another_teacher_is_another_recipe(home):
    identity = student(home).identity()
    assert identity["distill"]["teacher"] == model_hash(ModelConfig.read(home / "teacher" / "config.json"))
    assert "distill" not in plain(home).identity()
    assert student(home, weight=0.25).identity() != identity


def test_hints_train_and_are_forgotten(home, tmp_path):
    train(student(home, features=0.1), tmp_path / "student", device="cpu")
    header = (tmp_path / "student/run/train/log.csv").read_text().splitlines()[0]
    assert header.split(",")[-2:] == ["teacher", "features"]
    names = models.load(tmp_path / "student", load(tmp_path / "student").config, None).state_dict()
    assert not any("hint" in name for name in names)


def test_scans_without_labels_are_seen_through_the_teacher_alone(home, tmp_path, monkeypatch):
    other = tmp_path / "others"
    other.mkdir()
    nifti(other / "z.nii.gz", shapes(9)[0].T, np.eye(4))
    (home / "shapes/labels/a.nii.gz").rename(tmp_path / "a.nii.gz")  # nobody needs it
    try:
        recipe = student(home, unlabelled=other, labelled=1)
        alone = [path.name for path in recipe.scans]
        assert recipe.ids["train"] == ["b"]  # the first by hash
        assert alone == ["a.nii.gz", "z.nii.gz"]
        network = models.begun(recipe.model, None)
        seen = ready(recipe.data, recipe.ids["train"], recipe.model.volume, 2, tmp_path / "cases")
        task, turns = lessons.begun(recipe, network, seen, tmp_path / "run", "cpu", lambda done, text: None)
    finally:
        (tmp_path / "a.nii.gz").rename(home / "shapes/labels/a.nii.gz")
    assert turns.names([0, 1, 2, 3]) in (["b", "a", "b", "z"], ["b", "z", "b", "a"])
    items = [turns[i] for i in range(2)]
    assert [bool(item["labelled"]) for item in items] == [True, False]
    assert [int(item["index"]) for item in items] == [0, 1]
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    losses = task({**batch, "step": torch.tensor(0)})
    assert losses["loss"].item() == pytest.approx(
        0.5 * (0.5 * losses["dice"] + 0.5 * losses["entropy"] + losses["teacher"]).item(), rel=1e-5
    )
    case = turns.sources[1].cases[0]
    assert np.array_equal(case.labels, case.answer.argmax(0))


def test_scans_without_labels_that_have_changed_are_looked_at_again(home, tmp_path):
    other = tmp_path / "others"
    other.mkdir()
    seen = []
    for seed in (8, 8, 9):
        nifti(other / "z.nii.gz", shapes(seed)[0].T, np.eye(4))
        recipe = student(home, unlabelled=other)
        teacher = load(str(home / "teacher"))
        kept = Answers(tmp_path / "kept", 1.0)
        (case,) = lessons.alone(recipe, teacher, kept, tmp_path / "run", lambda done, text: None)
        seen.append(np.array(case.image))
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_an_answer_is_cut_and_turned_as_its_scan_is():
    """Where the answer is the scan itself, the crops of both are the same, whatever the crop."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(9, 11, 10)).astype(np.float32)
    scan = of("a", image, (image > 0).astype(np.uint8))
    case = Taught(scan.id, scan.image, scan.labels, scan.foreground, np.stack([image, -image]))
    for i, variety in enumerate(VARIETIES.values()):
        matrix, middle = variety.turn((0, 1, 2), rng), np.array([4.0, 5.0 + i, 4.5])
        crop, _ = take(case, middle, matrix, (6, 12, 8))
        answer = answered(case, middle, matrix, (6, 12, 8))["teacher"]
        assert torch.equal(answer[0], crop)
        assert torch.equal(answer[1], -crop)


def test_the_teacher_is_asked_as_segmenting_does():
    """Crops that overlap are averaged: the likeliest class is that of `found`."""
    model = Seeing(crop=(8, 8, 8))
    image = np.random.default_rng(0).uniform(0, 250, (13, 9, 17)).astype(np.float32)
    logits = teachers.asked(model, image)
    assert logits.shape == (3, 13, 9, 17)
    assert np.array_equal(logits.argmax(0), training.found(model, image, image.shape))


def test_what_a_teacher_said_is_not_asked_again(home, tmp_path, monkeypatch):
    recipe = student(home)
    seen = ready(recipe.data, recipe.ids["train"], recipe.model.volume, 2, tmp_path)
    teacher = load(home / "teacher", device="cpu")
    first = [case.answer.copy() for case in lessons.taught(seen, teacher, Answers(tmp_path / "kept", 1), silent)]
    monkeypatch.setattr(teachers, "asked", lambda *_: pytest.fail("asked again"))
    again = list(lessons.taught(seen, teacher, Answers(tmp_path / "kept", 1), silent))
    assert all(np.array_equal(a, b.answer) for a, b in zip(first, again, strict=True))


def silent(done, text):
    """Tell nothing."""


@pytest.mark.parametrize("name", ["unet3d_s", "unet3d_m", "swinunetr_tiny"])
def test_a_student_by_name_looks_at_scans_as_its_teacher_does(home, name):
    how = Distilling(str(home / "teacher"), labelled=1)
    recipe = students.recipe_for(how, name, home / "shapes", "mine")
    told, teacher = recipe.model, teachers.config_of(str(home / "teacher"))
    assert replace(told.volume, network="autoprosam", mirrored="x") == teacher.volume
    assert told.volume.mirrored == ""
    assert (told.name, told.classes, told.files) == ("mine", teacher.classes, {})
    assert recipe.ids == {"train": ["b"], "unlabelled": ["a"], "dev": ["c", "d"], "test": ["e"]}
    if name == "unet3d_s":
        network = models.begun(told, None)
        assert sum(p.numel() for p in network.parameters()) < 1e6
        assert network(random_crop(9, 16, 11)).shape == (1, 3, 9, 16, 11)


def test_a_recipe_may_have_a_teacher(home):
    table = f'\n[distill]\nteacher = "{home / "teacher"}"\nweight = 0.25\nlabelled = 1\n'
    (home / "taught.toml").write_text(SMALL + table)
    recipe = read(home / "taught.toml", data=home / "shapes")
    assert (recipe.distill.weight, recipe.model.teacher.weight) == (0.25, 0.25)
    assert recipe.ids["unlabelled"] == ["a"]
    (home / "taught.toml").write_text(SMALL + table.replace("weight", "wieght"))
    with pytest.raises(ValueError, match=r"\[distill\] says wieght, .* did you mean weight"):
        read(home / "taught.toml", data=home / "shapes")


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (
            {"spacing": (1.0, 1.0, 1.0)},
            "the student's spacing is 1.0, 1.0, 1.0, that of its teacher shapes is as it is",
        ),
        ({"intensity": None}, "the student's intensity is"),
    ],
)
def test_a_teacher_that_looks_otherwise_is_refused(volume, message):
    teacher = voxel_config(network="compact")
    changed = {**volume, **({"intensity": replace(teacher.volume.intensity, low=0)} if "intensity" in volume else {})}
    with pytest.raises(ValueError, match=message):
        teachers.check(replace(teacher, volume=replace(teacher.volume, **changed)), teacher)


def test_a_teacher_of_other_classes_or_of_planes_is_refused(home, tiny_config):
    own = voxel_config(network="compact")
    with pytest.raises(ValueError, match="the student's classes is ball, that of its teacher shapes is ball, box"):
        teachers.check(replace(own, classes=("ball",)), own)
    with pytest.raises(ValueError, match="tiny is a model on planes, and the student is one on volumes"):
        teachers.check(own, tiny_config)
    with pytest.raises(ValueError, match="shapes is a model on volumes, and the student is one on planes"):
        teachers.check(tiny_config, own)
    with pytest.raises(ValueError, match=r"nuclei is a model on planes, and students on volumes \(unet3d_s"):
        students.recipe_for(Distilling("nuclei"), "unet3d_s", home / "shapes", "mine")
    with pytest.raises(ValueError, match="there is no student 'unet4d'; there are unet2d_s for images, unet3d_s"):
        students.recipe_for(Distilling("nuclei"), "unet4d", home / "shapes", "mine")


def test_what_cannot_be_learned_from_is_refused(home, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="gives the teacher a weight of 0, and scans without labels"):
        student(home, weight=0.0, labelled=1)
    with pytest.raises(ValueError, match="labelled is 3, and there are 2 scans"):
        student(home, labelled=3)
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere, which the test names"):
        student(home, unlabelled=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="names scans without labels, and no teacher"):
        distilled(plain(home), None, tmp_path, "the test")
    odd = replace(plain(home), schedule=replace(plain(home).schedule, batch=3))
    with pytest.raises(ValueError, match="take turns, so each micro-batch must be even"):
        distilled(odd, Distilling(str(home / "teacher"), labelled=1), None, "the test")
    two = replace(plain(home), schedule=replace(plain(home).schedule, batch=2))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="batch = 2, accumulate = 1, of which each of 2 processes takes its share"):
        distilled(two, Distilling(str(home / "teacher"), labelled=1), None, "the test")
