from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from made_up import discs, picture
from promptless.config import AdapterConfig, Kind, ModelConfig
from promptless.data.prepared import Facts
from promptless.data.sample import Sample
from promptless.loading import load
from promptless.networks.adapted import files
from promptless.pipeline import segment
from promptless.train import adapters
from promptless.train.adapters import RECIPE, check, fitted, kept, outsized, train, unsized
from promptless.train.choosing import Choice
from promptless.train.keeping import CANDIDATE, REFUSED, RUN
from promptless.train.measuring import Line
from promptless.train.recipes import read
from promptless.train.report import Report

PHASE = "\npatch = 64\nsteps = 2\nbatch = 1\nwarmup = 1\ncheckpoint_every = 1\n"
TINY = f"""
seed = 3
[adapter]
backbone = "nuclei"
rank = 2
[generator]{PHASE}
[decoder]{PHASE}per_image = 2
[joint]{PHASE}per_image = 2
[model]
name = "mine"
version = "1"
licence = "unknown"
"""


def prepared_folder(folder, n=4, mpp=0.25):
    """Make a prepared data set of `n` images: one for dev, one for test where there are more than two."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    names = "abcdefgh"[:n]
    for i, name in enumerate(names):
        labels = discs((96, 96), [(24, 24 + i, 11), (66, 60, 12), (30, 70, 10)])
        PillowImage.fromarray(picture(labels)).save(folder / "images" / f"{name}.png")
        PillowImage.fromarray(labels.astype(np.uint16)).save(folder / "masks" / f"{name}.png")
    entries = [{"id": name, "category": "grey", "mpp": mpp} for name in names]
    (folder / "index.json").write_text(json.dumps(entries))
    parts = {"train": list(names[:-2]) or [names[0]], "dev": [names[-1]], "test": [names[-2]] if n > 2 else []}
    (folder / "split.json").write_text(json.dumps(parts))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "tiny.toml").write_text(TINY)
    return folder / "tiny.toml"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepared_folder(tmp_path_factory.mktemp("data") / "cells")


@pytest.fixture(scope="module")
def outcome(recipe, data, tmp_path_factory):
    """What a training of a few steps came to."""
    return train(read(recipe, data=data), tmp_path_factory.mktemp("adapters") / "mine")


@pytest.fixture
def adapter(outcome):
    return outcome.folder


def test_a_recipe_with_a_backbone_and_data_yields_an_adapter(adapter, blobs):
    config = ModelConfig.read(adapter / "config.json")
    assert config.adapter.sha256 == load("nuclei").config.files["model.safetensors"]
    assert (config.adapter.backbone, config.adapter.rank, config.window.stride) == ("nuclei", 2, 4)
    assert (config.kind.pixel_size, config.input_size) == (0.25, None)
    assert set(config.files) == set(files(config.adapter))
    assert segment(blobs[0], adapter).labels.max() > 3


def test_its_folder_has_the_adapter_on_top_and_the_training_within(adapter):
    config = ModelConfig.read(adapter / "config.json")
    assert {path.name for path in adapter.iterdir()} == {*config.files, "config.json", "README.md", "run"}
    assert {path.name for path in (adapter / RUN).iterdir()} == {
        *("generator", "decoder", "joint", "report", "split.json", "origin.json"),
    }
    for phase in ("generator", "decoder", "joint"):
        assert {path.name for path in (adapter / RUN / phase).iterdir()} == {"checkpoint.pt", "log.csv", "scores.csv"}
    assert json.loads((adapter / RUN / "split.json").read_text()) == {"train": ["a", "b"], "dev": ["d"], "test": ["c"]}


def test_checkpoints_hold_what_trains(adapter):
    parts = torch.load(adapter / RUN / "decoder" / "checkpoint.pt", weights_only=True)
    names = parts["mean"].keys()
    assert names == parts["module"].keys()
    assert all(".lora_" in name or "mask_decoder" in name for name in names)
    assert sum(value.numel() for value in parts["mean"].values()) < 1e6


def test_its_figures_are_of_the_files_that_were_written(outcome, data):
    config = ModelConfig.read(outcome.folder / "config.json")
    assert outcome.report.config == config
    assert (outcome.report.choice.foreground, outcome.report.choice.min_score) == (
        config.proposals.foreground,
        config.min_score,
    )
    assert list(outcome.report.tables) == ["dev", "test"]
    assert outcome.refusal is None
    assert "| test (1) | mSA |" in (outcome.folder / "README.md").read_text()


def test_the_images_say_what_the_model_is_for():
    labels = discs((60, 60), [(15, 15, 5), (40, 40, 10)])
    samples = [Sample(str(mpp), "grey", picture(labels)[None], labels, mpp) for mpp in (0.2, 0.3, None)]
    kind = fitted(Kind(), frozenset(), samples)
    assert kind.pixel_size == pytest.approx(0.25)
    assert 9 < kind.object_px[0] < kind.object_px[1] < 22
    assert fitted(Kind(), frozenset({"pixel_size", "object_px"}), samples) == Kind()
    assert fitted(Kind(), frozenset(), samples[2:]).pixel_size == Kind().pixel_size


def test_images_of_unknown_pixel_size_are_told_of(recipe, data, tmp_path):
    known, unknown = read(recipe, data=data), read(recipe, data=prepared_folder(tmp_path / "cells", mpp=None))
    assert "takes it for 0.5 um" in unsized(unknown)[0]
    assert unsized(known) == unsized(replace(unknown, said={"pixel_size"})) == []


def test_objects_that_training_does_not_show_as_they_are_are_told_of():
    places = {"usual": [(150, 150, 40)], "huge": [(150, 150, 70)], "tiny": [(150, 150, 2)], "none": []}
    samples = [Sample(name, "grey", np.zeros((1, 300, 300)), discs((300, 300), at)) for name, at in places.items()]
    assert outsized([samples[0], samples[3]]) == []
    assert "in 2 of 4 images for train are outside 8 to 100 pixels across (huge: 140)" in outsized(samples)[0]


def test_the_recipe_that_ships_needs_data_only(data):
    content = read(RECIPE, data=data)
    assert content.adapter == AdapterConfig("nuclei", "")
    assert list(content.phases) == ["generator", "joint"]
    assert read(RECIPE, data=data, backbone="sam_vit_b").adapter.backbone == "sam_vit_b"
    with pytest.raises(ValueError, match="lacks source, split; --data FOLDER gives them"):
        read(RECIPE)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rank = 2", "rang = 2", "says rang"),
        ("rank = 2", "rank = -1", "rank is -1; it must be at least 1"),
        ('backbone = "nuclei"', "", "names no backbone in .adapter.; write one there, or name it with --backbone"),
        ("[adapter]", "[network]\n[adapter]", "has .adapter. and network; an adapter's network is its backbone's"),
    ],
)
def test_an_adapter_that_makes_no_sense_is_refused(recipe, data, tmp_path, old, new, message):
    (tmp_path / "wrong.toml").write_text(TINY.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "wrong.toml", data=data)


def test_a_backbone_is_for_adapters(data, tmp_path):
    (tmp_path / "whole.toml").write_text("seed = 1\n[network]\n[sampling]\n[model]\n")
    with pytest.raises(ValueError, match=r"has no .adapter., so there is no backbone to choose"):
        read(tmp_path / "whole.toml", data=data, backbone="nuclei")


def test_categories_that_are_not_named_weigh_as_many_images_as_they_have(recipe, data):
    from promptless.train.recipes import weights

    samples = [Sample(str(i), c, np.zeros((1, 8, 8)), np.zeros((8, 8), np.int32)) for i, c in enumerate("aab")]
    content = read(recipe, data=data)
    assert weights(content, samples) == {"a": 2, "b": 1}
    assert weights(replace(content, sampling={"b": 9.0}), samples) == {"a": 2, "b": 9.0}


# What is in the folder already.


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other things than an adapter; choose another folder"):
        check(tmp_path, resume=False)


def test_a_training_that_was_interrupted_is_not_begun_anew_unasked(tmp_path):
    (tmp_path / RUN / "generator").mkdir(parents=True)
    (tmp_path / RUN / "split.json").touch()
    check(tmp_path, resume=False)  # killed before there was anything to go on from
    (tmp_path / RUN / "generator" / "checkpoint.pt").touch()
    with pytest.raises(FileExistsError, match="has a training that was interrupted; --resume goes on with it"):
        check(tmp_path, resume=False)
    check(tmp_path, resume=True)


def test_an_adapter_that_could_not_be_compared_is_told_before_training(tmp_path):
    adapter = AdapterConfig("nuclei", "0" * 64, generator=(4,))
    ModelConfig("old", "1", "CC0-1.0", adapter=adapter).write(tmp_path / "config.json")
    with pytest.raises(ValueError, match=r"could not be compared with a new one: .* or choose another folder with -o"):
        check(tmp_path, resume=False)


def test_the_recipe_of_the_docs_trains(data, tmp_path):
    text = (Path(__file__).parent.parent / "docs" / "sac.md").read_text()
    words = text[text.index("```toml") + 8 :].split("```")[0]
    for old, new in (("256", "64"), ("1000", "1"), ("batch = 8", "batch = 1"), ("batch = 4", "batch = 1")):
        words = words.replace(old, new)
    (tmp_path / "sac.toml").write_text(words)
    assert train(read(tmp_path / "sac.toml", data=data), tmp_path / "mine").report.config.output == "semantic"


def test_there_must_be_a_training_to_go_on_with(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no training in .* to go on with; leave out --resume"):
        check(tmp_path, resume=True)


def told(score, config):
    lines = [Line("mSA", 1, 0.1, score, score - 0.1, 0.0, 0.1)]
    ids = {"train": ["a"], "dev": ["d"], "test": []}
    return Report(config, Facts("", "", "", {}), ids, 1, 1, (), Choice(0.5, 0.5, score), {"dev": lines})


@pytest.fixture
def place(tmp_path):
    """A folder with an adapter and a candidate for its place, as files without weights."""
    config = ModelConfig("old", "1", "CC0-1.0", adapter=AdapterConfig("nuclei", "abc"), files={"old": "1", "both": "2"})
    (tmp_path / RUN / CANDIDATE).mkdir(parents=True)
    for folder, name, own in ((tmp_path, "old", "old"), (tmp_path / RUN / CANDIDATE, "new", "new")):
        replace(config, name=name, files={own: "1", "both": "2"}).write(folder / "config.json")
        for file in (own, "both", "README.md"):
            (folder / file).write_text(name)
    return tmp_path


@pytest.fixture
def there(monkeypatch):
    """Let the adapter that is there score 0.5."""

    class Model:
        config = ModelConfig("old", "1", "CC0-1.0")

    monkeypatch.setattr(adapters, "load", lambda folder, device: Model)
    monkeypatch.setattr(adapters, "segmented", lambda model, samples: {})
    monkeypatch.setattr(adapters, "score", lambda config, samples, found: 0.5)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix != ".json"}


def test_a_worse_adapter_is_kept_beside_the_better_one(place, there):
    before = content(place)
    outcome = kept(told(0.4, ModelConfig("new", "1", "")), (), place, [1], force=False)
    assert content(place) == before
    assert outcome.folder == place / RUN / REFUSED
    assert content(place / RUN / REFUSED) == dict.fromkeys(("new", "both", "README.md"), "new")
    assert "is better on the same images (1 for dev): mSA 0.500, the new one 0.400" in outcome.refusal
    assert "--resume --force takes it" in outcome.refusal


@pytest.mark.parametrize(("score", "force"), [(0.5, False), (0.6, False), (0.4, True)])
def test_one_that_is_no_worse_takes_its_place_and_so_does_any_by_force(place, there, score, force):
    outcome = kept(told(score, ModelConfig("new", "1", "")), (), place, [1], force=force)
    assert (outcome.folder, outcome.refusal) == (place, None)
    assert content(place) == dict.fromkeys(("new", "both", "README.md"), "new")
    assert ModelConfig.read(place / "config.json").name == "new"
    assert not (place / RUN / CANDIDATE).exists()


def test_an_adapter_of_another_kind_is_not_replaced_unasked(place, there):
    outcome = kept(told(0.9, ModelConfig("new", "1", "", output="semantic")), (), place, [1], force=False)
    assert "gives instances, the new one semantic" in outcome.refusal


# Killed and resumed.


def command(recipe, data, folder, *more):
    line = [sys.executable, "-m", "promptless", "train", recipe, "--data", data, "-o", folder, "-q", *more]
    return [str(word) for word in line]


def test_a_training_that_was_killed_ends_as_one_that_was_not(outcome, recipe, data, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(command(recipe, data, tmp_path / "mine"), env=environment) as process:
        wait_for(tmp_path / "mine" / RUN / "decoder" / "checkpoint.pt", process)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "mine" / "config.json").exists()
    done = subprocess.run(command(recipe, data, tmp_path / "mine", "--resume"), env=environment, check=False)
    assert done.returncode == 0
    for name in (*ModelConfig.read(outcome.folder / "config.json").files, "config.json", "run/joint/log.csv"):
        assert (tmp_path / "mine" / name).read_bytes() == (outcome.folder / name).read_bytes(), name


def wait_for(path, process):
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, "it ended too early"
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")
