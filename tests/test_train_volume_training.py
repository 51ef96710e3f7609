from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from promptless.clicks import Click
from promptless.config import ModelConfig
from promptless.io.readers import memory
from promptless.loading import load
from promptless.model import PointedVoxelModel
from promptless.pipeline import segment
from promptless.runtimes.torch import TorchVoxelModel
from promptless.train.failures import NotFiniteError
from promptless.train.volume import report, training
from promptless.train.volume.cases import ready
from promptless.train.volume.measuring import found, mean_dice
from promptless.train.volume.recipe import read
from promptless.train.volume.training import train
from volumes import PARTS, RECIPE, scan_folder

LOG, SCORES = "run/train/log.csv", "run/train/scores.csv"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with scans and a recipe for a network that is trained in seconds."""
    folder = tmp_path_factory.mktemp("home")
    scan_folder(folder / "shapes")
    (folder / "shapes.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def recipe(home):
    return read(home / "shapes.toml", data=home / "shapes")


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    """A model that was trained without a disturbance, and its report."""
    folder = tmp_path_factory.mktemp("models") / "model"
    outcome = train(recipe, folder, device="cpu")
    assert (outcome.folder, outcome.refusal) == (folder, None)
    return folder, outcome.report


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder):
    return (folder / "trained.safetensors").read_bytes()


def test_training_leaves_a_model_folder_and_its_training(trained):
    folder, _ = trained
    assert {path.name for path in folder.iterdir()} == {"config.json", "trained.safetensors", "README.md", "run"}
    assert {path.name for path in (folder / "run").iterdir()} == {"cases", "train", "report"}
    assert len(rows(folder / LOG)) == 12
    assert [row["step"] for row in rows(folder / SCORES)] == ["6", "12"]
    config = ModelConfig.read(folder / "config.json")
    assert config.network["sha256"] == config.inflates.sha256
    assert len(config.inflates.sha256) == 64
    assert config.network["generator"] == "last"  # defaults are written out
    assert "shapes" in (folder / "README.md").read_text()


def test_a_crop_larger_than_memory_is_refused_before_anything_is_learned(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 2**20)
    with pytest.raises(ValueError, match=r"a training step on .* no smaller one would fit"):
        train(recipe, tmp_path / "model", device="cpu")
    assert {path.name for path in (tmp_path / "model" / "run").iterdir()} == {"cases"}


def test_the_loss_falls(trained):
    folder, _ = trained
    losses = [float(row["loss"]) for row in rows(folder / LOG)]
    assert losses[-1] < losses[0]


def test_the_model_that_is_loaded_gives_the_figures_of_the_report(trained, recipe, home, tmp_path):
    folder, told = trained
    model = load(folder, device="cpu")
    assert isinstance(model, TorchVoxelModel)
    cases = ready(home / "shapes", PARTS["dev"], recipe.model.volume, 2, tmp_path)
    truth = {case.id: case.labels for case in cases}
    answer = mean_dice(truth, {case.id: found(model, case.image, case.labels.shape) for case in cases})
    (line,) = (line for line in told.tables["dev"] if (line.structure, line.figure) == ("mean", "Dice"))
    assert answer == pytest.approx(line.value)
    assert answer > 0.1
    (looked,) = (row for row in rows(folder / SCORES) if row["step"] == "12")
    assert float(looked["mean Dice"]) == pytest.approx(line.value, abs=0.02)  # the model is rounded to half precision
    content = json.loads((folder / "run/report/report.json").read_text())
    assert {part: len(lines) for part, lines in content["figures"].items()} == {"dev": 9, "test": 9}


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the curves out, which take longer than all else."""
    monkeypatch.setattr(report, "draw_curves", lambda *_: None)


class PulledError(Exception):
    """The plug was pulled."""


@pytest.mark.parametrize("step", [2, 7])
def test_a_training_that_was_killed_and_resumed_ends_the_same(trained, recipe, tmp_path, undrawn, step):
    undisturbed, told = trained

    def pull(done, text):
        if text.startswith(f"step {step}/"):
            raise PulledError

    with pytest.raises(PulledError):
        train(recipe, tmp_path / "model", device="cpu", progress=pull)
    assert not (tmp_path / "model" / "config.json").exists()
    assert training.goes_on_at(recipe, tmp_path / "model") == f"step {step - step % 4 + 1}/12"
    resumed = train(recipe, tmp_path / "model", resume=True, device="cpu").report
    assert training.goes_on_at(recipe, tmp_path / "model") is None
    assert weights(tmp_path / "model") == weights(undisturbed)
    assert (tmp_path / "model" / LOG).read_text() == (undisturbed / LOG).read_text()
    assert (tmp_path / "model" / SCORES).read_text() == (undisturbed / SCORES).read_text()
    assert resumed.as_json() == told.as_json()


def test_a_training_goes_on_from_the_weights_of_an_earlier_one(trained, recipe, tmp_path, undrawn):
    before, _ = trained
    brief = replace(recipe, start=before, schedule=replace(recipe.schedule, steps=1, rate=1e-9, warmup=0))
    train(brief, tmp_path / "more", device="cpu")
    old, new = (load_file(folder / "trained.safetensors") for folder in (before, tmp_path / "more"))
    assert all(torch.allclose(old[name].float(), new[name].float(), atol=1e-3) for name in old)


def test_a_scan_that_is_no_number_stops_the_training_with_its_name(recipe, home, tmp_path):
    cases = ready(home / "shapes", PARTS["train"], recipe.model.volume, 2, tmp_path / "model/run/cases")
    np.lib.format.open_memmap(tmp_path / "model/run/cases/b/image.npy", mode="r+")[:] = np.nan
    assert [case.id for case in cases] == ["a", "b"]
    single = replace(recipe, schedule=replace(recipe.schedule, accumulate=2))
    with pytest.raises(NotFiniteError, match=r"the loss is nan at step 1, on patches of b; there is no checkpoint"):
        train(single, tmp_path / "model", device="cpu")
    assert not (tmp_path / "model" / "config.json").exists()


def test_a_worse_model_does_not_replace_a_better_one_unless_it_must(trained, recipe, tmp_path, undrawn):
    before, _ = trained
    folder = tmp_path / "model"
    shutil.copytree(before, folder)
    poor = replace(recipe, schedule=replace(recipe.schedule, steps=1, rate=1e-9))
    refused = train(poor, folder, device="cpu")
    assert refused.folder == folder / "run" / "refused"
    assert "is better on the same scans (2 for dev): mean Dice 0." in refused.refusal
    assert weights(folder) == weights(before) != weights(refused.folder)
    forced = train(poor, folder, resume=True, force=True, device="cpu")
    assert (forced.folder, forced.refusal) == (folder, None)
    assert weights(folder) != weights(before)
    better = train(replace(recipe, start=before, schedule=poor.schedule), folder, device="cpu")
    assert better.refusal is None  # a better one takes the place of a worse


def test_a_model_that_cannot_be_compared_in_the_end_is_told_in_the_beginning(trained, recipe, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained[0], folder)
    other = replace(recipe, model=replace(recipe.model, classes=("ball", "cone")))
    with pytest.raises(ValueError, match="tells ball, box apart, and the recipe ball, cone; choose another folder"):
        train(other, folder)
    (folder / "trained.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="could not be compared with a new one"):
        train(recipe, folder)


def test_an_interrupted_training_is_not_begun_again(recipe, tmp_path):
    (tmp_path / "run" / "train").mkdir(parents=True)
    (tmp_path / "run" / "train" / "checkpoint.pt").touch()
    with pytest.raises(FileExistsError, match="--resume goes on with it"):
        train(recipe, tmp_path)


def test_there_must_be_something_to_resume(recipe, tmp_path):
    with pytest.raises(FileNotFoundError, match="leave out --resume"):
        train(recipe, tmp_path / "model", resume=True)
    assert not (tmp_path / "model").exists()


def test_a_folder_of_other_things_is_refused(recipe, tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(FileExistsError, match="holds other things"):
        train(recipe, tmp_path)


def test_classes_must_be_those_of_the_data(recipe, tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": {"1": "Ball", "2": "cone"}}))
    with pytest.raises(ValueError, match=r"classes are ball, box, but those of .* are Ball, cone; name all of them"):
        train(replace(recipe, data=tmp_path), tmp_path / "model")


def test_dev_must_have_a_scan(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"no scan of .* is for dev"):
        train(replace(recipe, ids={**PARTS, "dev": []}), tmp_path / "model")


def test_without_a_test_part_there_are_figures_of_dev_alone(recipe, tmp_path, undrawn):
    short = replace(recipe, ids={**PARTS, "test": []}, schedule=replace(recipe.schedule, steps=1))
    assert list((told := train(short, tmp_path / "model", device="cpu").report).tables) == ["dev"]
    assert "; there are no test scans, and figures on dev flatter" in told.verdict


def test_a_rival_is_trained_alike(recipe, tmp_path, undrawn):
    pytest.importorskip("monai")
    volume = replace(recipe.model.volume, network="unet", crop=(16, 16, 16))
    model = replace(recipe.model, volume=volume, network={"features": [4, 4, 6, 6, 8, 4]})
    short = replace(recipe, model=model, schedule=replace(recipe.schedule, steps=2))
    train(short, tmp_path / "model", device="cpu")
    opened = load(tmp_path / "model", device="cpu")
    assert opened.config.inflates is None
    assert opened.logits(np.zeros((1, 1, 9, 16, 11), np.float32)).shape == (1, 3, 9, 16, 11)


def test_a_look_leaves_no_trace(recipe, home, tmp_path):
    cases = ready(home / "shapes", PARTS["dev"], recipe.model.volume, 2, tmp_path)
    whole, backbone = training.completed(recipe)
    network = training.models.begun(whole.model, backbone).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    mean = {name: value + 0.1 for name, value in training.models.learned_state(network).items()}
    drawn = torch.get_rng_state()
    training.Look(network, whole, cases, tmp_path)(6, mean, 0.5)
    assert [row["step"] for row in rows(tmp_path / "scores.csv")] == ["6"]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert torch.equal(torch.get_rng_state(), drawn)


def test_a_training_goes_on_with_clicks_and_its_model_can_be_clicked_at(trained, home, tmp_path, undrawn):
    before, _ = trained
    text = RECIPE.replace("steps = 12", "steps = 2").replace("seed = 3", f'seed = 3\nstart = "{before}"')
    (tmp_path / "clicks.toml").write_text(
        text.replace("[model]\n", "[clicks]\nshare = 1.0\n[model]\n") + "points = 3\n"
    )
    train(read(tmp_path / "clicks.toml", data=home / "shapes"), tmp_path / "model", device="cpu")
    model = load(tmp_path / "model", device="cpu")
    assert isinstance(model, PointedVoxelModel)
    assert load_file(tmp_path / "model" / "trained.safetensors")["generator.points.weight"].any()
    scan = home / "shapes" / "images" / "c.nii.gz"
    plain, clicked = (segment(scan, model, points=p, keep=["probabilities"]) for p in (None, [Click((3, 4, 5), "box")]))
    assert (plain.probabilities != clicked.probabilities).any()
    assert clicked.manifest["points"] == [{"point": [3.0, 4.0, 5.0], "class": "box"}]
    assert "points" not in plain.manifest
    assert not isinstance(load(before, device="cpu"), PointedVoxelModel)
