from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from made_up import discs, picture
from promptless import load, segment
from promptless.cli import app
from promptless.config import ModelConfig, Teacher
from promptless.data import prepared
from promptless.data.prepared import IMAGES, Facts
from promptless.data.sample import Sample
from promptless.loading import teacher_of
from promptless.networks.direct import STUDENTS, DirectSize
from promptless.registry import model_hash
from promptless.train import distill_planar
from promptless.train.distill_planar import is_distillation, read, train, unlabelled_in

RECIPE = """
source = "folder"
data = "set"
split = "split.json"
seed = 1
student = "little"
{extra}

[distill]
teacher = "{teacher}"
weight = 0.5

[sampling]
kind = 1.0

[training]
patch = 32
steps = {steps}
batch = 2
warmup = 1
{training}

[model]
name = "quick"
version = "1"
licence = "CC0-1.0"
"""
PARTS = {"train": ["a", "b"], "dev": ["c"], "test": ["d"]}


def shown(name, rng):
    places = [(12 + 24 * (i // 2), 12 + 24 * (i % 2), int(rng.integers(5, 9))) for i in range(4)]
    labels = discs((48, 48), places)
    return Sample(name, "kind", picture(labels)[None], labels)


@pytest.fixture
def data(tmp_path, rng, monkeypatch):
    """A folder with a prepared set of four images, and images without labels beside it."""
    folder = tmp_path / "set"
    folder.mkdir()
    prepared.write(folder, IMAGES, Facts("set", "CC0-1.0", "", {}), PARTS, (shown(name, rng) for name in "abcd"))
    (tmp_path / "more").mkdir()
    PillowImage.fromarray(shown("e", rng).pixels[0]).save(tmp_path / "more" / "e.png")
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path))
    monkeypatch.setitem(STUDENTS, "little", DirectSize((4, 8, 16), 2))
    return tmp_path


def recipe(data, teacher, steps=2, extra="", training=""):
    path = data / "recipe.toml"
    path.write_text(RECIPE.format(teacher=teacher, steps=steps, extra=extra, training=training))
    (data / "split.json").write_text(json.dumps(PARTS))
    return path


def test_a_student_is_trained_exported_and_finds_objects(data, tiny_folder):
    chosen = read(recipe(data, tiny_folder, extra='unlabelled = ["more"]\nevery = 2'))
    model = load(train(chosen, data / "run"), threads=1)
    config, teacher = model.config, ModelConfig.read(tiny_folder / "config.json")
    assert (config.output, config.pad, config.align) == ("direct", 8, teacher.align)
    assert config.teacher == Teacher("tiny", model_hash(teacher), 0.5)
    assert sorted(p.name for p in (data / "run" / "model").iterdir()) == [
        *("config.json", "encode.onnx", "model.safetensors")
    ]
    assert len(list((data / "run" / "taught").glob("*.npz"))) == 3
    assert segment(shown("f", np.random.default_rng(1)).pixels[0], model).n_objects == 4


def test_what_it_learned_of_does_not_include_dev_and_test(data, tiny_folder):
    chosen = read(recipe(data, tiny_folder, extra='unlabelled = ["set"]\nevery = 2'))
    assert [path.stem for path in unlabelled_in(chosen.unlabelled[0])] == PARTS["train"]
    samples, free = distill_planar.read_images(chosen)
    assert [sample.id for sample in samples] == PARTS["train"]
    assert not any(sample.labels.any() for sample in free)


def test_a_resumed_run_draws_the_same_curve(data, tiny_folder):
    whole = read(recipe(data, tiny_folder, steps=4, training="checkpoint_every = 2"))
    train(whole, data / "whole")
    stopped = []

    def stop(done, text):
        if "2/4" in text and not stopped:
            stopped.append(text)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(whole, data / "parts", progress=stop)
    train(whole, data / "parts", resume=True)
    curves = [(data / name / "student" / "log.csv").read_text() for name in ("whole", "parts")]
    assert curves[0] == curves[1]
    assert len(curves[0].splitlines()) == 5


def test_going_on_by_another_recipe_is_refused(data, tiny_folder):
    train(read(recipe(data, tiny_folder)), data / "run")
    other = read(recipe(data, tiny_folder, training="rate = 0.5"))
    with pytest.raises(ValueError, match="rate"):
        train(other, data / "run", resume=True)


def test_a_student_of_a_student_is_refused(data, student_folder):
    with pytest.raises(ValueError, match="needs a teacher of instances"):
        train(read(recipe(data, student_folder)), data / "run")


def test_a_student_that_is_too_narrow_to_inherit_starts_fresh_if_told(data, tiny_folder, monkeypatch):
    monkeypatch.setitem(STUDENTS, "little", DirectSize((4, 4), 2))
    with pytest.raises(ValueError, match="inherits = false"):
        train(read(recipe(data, tiny_folder)), data / "run")
    assert train(read(recipe(data, tiny_folder, extra="inherits = false")), data / "run").is_dir()


def test_tiles_of_a_student_must_begin_where_those_of_its_teacher_do(data, tiny_folder, monkeypatch):
    monkeypatch.setitem(STUDENTS, "little", DirectSize((4, 8), 12))
    with pytest.raises(ValueError, match="begin on multiples of 32"):
        train(read(recipe(data, tiny_folder, extra="inherits = false", training="")), data / "run")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'version = "1"',
            'version = "1"\nclasses = ["round"]',
            "tells the classes round, and its teacher tiny tells none",
        ),
        (
            'licence = "CC0-1.0"',
            'licence = "CC0-1.0"\n[model.kind]\npixel_size = 0.25',
            "are 0.25 um, .* tiny are 0.5 um",
        ),
    ],
)
def test_a_student_of_other_classes_or_pixels_than_its_teacher_is_refused(data, tiny_folder, old, new, message):
    path = recipe(data, tiny_folder)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        train(read(path), data / "run")
    assert not (data / "run").exists()


def test_patches_must_suit_the_network(data, tiny_folder):
    path = recipe(data, tiny_folder)
    path.write_text(path.read_text().replace("patch = 32", "patch = 36"))
    with pytest.raises(ValueError, match="stride 8; take a multiple"):
        train(read(path), data / "run")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("moon = 1", "moon"),
        ("every = 1", "2 at least"),
    ],
)
def test_a_recipe_that_says_nonsense_is_refused(data, extra, message):
    with pytest.raises(ValueError, match=message):
        read(recipe(data, "nuclei", extra=extra))


def test_a_planar_student_knows_no_temperature(data):
    path = recipe(data, "nuclei")
    path.write_text(path.read_text().replace("weight = 0.5", "temperature = 2.0"))
    with pytest.raises(ValueError, match="it has teacher and weight"):
        read(path)


def test_a_recipe_is_told_from_others(data):
    assert is_distillation(recipe(data, "nuclei"))
    other = data / "other.toml"
    other.write_text('student = "unet3d_s"\n[distill]\nteacher = "x"\n')
    assert not is_distillation(other)


def test_a_teacher_is_found_by_its_folder_and_must_be_the_one(student_folder, tiny_folder):
    config = ModelConfig.read(student_folder / "config.json")
    assert teacher_of(config, tiny_folder, threads=1).config.name == "tiny"
    with pytest.raises(FileNotFoundError, match="--teacher FOLDER"):
        teacher_of(config)
    another = replace(config, teacher=Teacher("nuclei", "0" * 64, 0.5))
    with pytest.raises(ValueError, match=r"the teacher of .* is nuclei .* is not"):
        teacher_of(another)


def test_the_recipe_that_makes_what_ships_can_be_read(monkeypatch, tmp_path):
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path))
    chosen = read(Path(__file__).parent.parent / "recipes" / "nuclei_fast.toml")
    assert (chosen.student, chosen.distilling.teacher, chosen.unlabelled) == ("unet2d_s", "nuclei", ())
    assert not {*chosen.ids["train"]} & {*chosen.ids["dev"], *chosen.ids["test"]}


def test_the_command_trains_students_and_refuses_what_they_have_not(data, tiny_folder):
    path = recipe(data, tiny_folder)
    answer = CliRunner().invoke(app, ["train", str(path), "-o", str(data / "run")])
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.splitlines()[-1] == str(data / "run" / "model")
    for option in (["--force"], ["--backbone", "nuclei"]):
        assert CliRunner().invoke(app, ["train", str(path), "-o", str(data / "run"), *option]).exit_code == 2


def test_a_teacher_and_a_folder_are_enough(data, tiny_folder):
    told = ["distill", str(tiny_folder), "--student", "little", "--data", str(data / "set"), "--steps", "1"]
    answer = CliRunner().invoke(app, [*told, "--unlabelled", str(data / "more"), "-o", str(data / "mine")])
    assert answer.exit_code == 0, answer.output
    model = load(data / "mine" / "model", threads=1)
    assert (model.config.name, model.config.min_score) == (
        "mine",
        ModelConfig.read(tiny_folder / "config.json").min_score,
    )
    refused = CliRunner().invoke(app, [*told, "--labelled", "1", "-o", str(data / "other")])
    assert (refused.exit_code, "is for images" in refused.output) == (2, True)
