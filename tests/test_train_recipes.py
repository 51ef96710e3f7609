from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from typer.testing import CliRunner

from made_up import discs, picture
from promptless.cli import app
from promptless.config import AdapterConfig
from promptless.loading import load
from promptless.pipeline import segment
from promptless.train import devices
from promptless.train.recipes import Phase, data_folder, identity, reached, read, train, variety_of
from promptless.train.sac import MaskLoss
from promptless.train.state import differences

NUCLEI = Path(__file__).parent.parent / "recipes" / "nuclei.toml"

PHASE = "\npatch = 32\nsteps = 2\nbatch = 2\nwarmup = 1\n"
TINY = f"""
source = "dsb2018"
split = "split.json"
seed = 3
[sampling]
grey = 1.0
[network]
generator = [4, 8, 8]
encoder = "both"
cells = 8
[network.sam]
embedding = 32
patch = 8
width = 16
layers = 1
heads = 2
window = 4
mlp = 32
decoder_heads = 2
[generator]{PHASE}
[decoder]{PHASE}per_image = 2
[joint]{PHASE}per_image = 2
[model]
name = "baby"
version = "1"
licence = "CC0-1.0"
pad = 8
align = 32
[model.window]
cells = 8
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe for a network that is trained in a second, with its two images."""
    data = tmp_path / "data" / "dsb2018"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
    for i, name in enumerate("ab"):
        labels = discs((40, 40), [(12, 12 + i, 7), (28, 26, 6)])
        PillowImage.fromarray(picture(labels)).save(data / "images" / f"{name}.png")
        PillowImage.fromarray(labels.astype(np.uint16)).save(data / "masks" / f"{name}.png")
    (data / "index.json").write_text(json.dumps([{"id": name, "category": "grey"} for name in "ab"]))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["a", "b"], "dev": [], "test": []}))
    (tmp_path / "tiny.toml").write_text(TINY)
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path / "data"))
    return tmp_path / "tiny.toml"


def test_a_recipe_says_everything(recipe):
    content = read(recipe)
    assert (content.source, content.seed, content.ids["train"]) == ("dsb2018", 3, ["a", "b"])
    assert content.network.sam.embedding == 32
    assert content.model.window.cells == content.network.cells == 8
    assert (
        content.phases["generator"].schedule.steps,
        content.phases["decoder"].per_image,
        content.phases["joint"].patch,
    ) == (2, 2, 32)


def test_the_recipe_that_ships_can_be_read(monkeypatch):
    monkeypatch.setenv("PROMPTLESS_DATA", "/nowhere")
    content = read(NUCLEI)
    assert content.data == Path("/nowhere/dsb2018")
    assert content.model.name == "nuclei"
    assert sum(content.sampling.values()) == pytest.approx(1)
    assert content.network.cells == content.model.window.cells


def test_training_yields_a_model_folder_and_resumes_to_the_same(recipe, tmp_path):
    told = []
    folder = train(read(recipe), tmp_path / "run", progress=lambda done, name: told.append((done, name)))
    assert folder == tmp_path / "run" / "model"
    assert load(folder, threads=1).encode(np.zeros((3, 32, 32), np.float32)).maps.shape == (2, 32, 32)
    assert [round(done * 6) for done, _ in told] == [1, 2, 3, 4, 5, 6]
    assert all((tmp_path / "run" / phase / "log.csv").is_file() for phase in ("generator", "decoder", "joint"))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    (tmp_path / "run" / "joint" / "checkpoint.pt").unlink()  # as if it had been killed there
    train(read(recipe), tmp_path / "run", resume=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "seed = ", "not valid TOML"),
        ("seed = 3", "", "lacks seed"),
        ('"dsb2018"', '"imagenet"', "'imagenet'; there are dsb2018"),
        ("[generator]", "[generator]\nstepz = 3", r"tiny.toml, \[generator\] says stepz, .* did you mean steps\?"),
        ("[network]", "[networks]", r"networks, which no recipe knows"),
        ("mlp = 32", "mpl = 32", "says mpl"),
        ('encoder = "both"', 'encoder = "all"', "one of unet, vit, both"),
        ("[joint]", "[jiont]", "says jiont, which no recipe knows"),
        ("[joint]", "[sac]", r"has \[sac\]; a model whose output is instances learns in \[generator\], \[decoder\]"),
        ('licence = "CC0-1.0"', 'licence = "CC0-1.0"\noutput = "semantic"', r"has \[decoder\], \[joint\]; .* semantic"),
        (TINY[TINY.index("[generator]") : TINY.index("[model]")], "", "has no phase"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused_with_the_place(recipe, old, new, message):
    recipe.write_text(TINY.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read(recipe)


def test_an_image_in_two_parts_of_a_split_is_refused(recipe):
    (recipe.parent / "split.json").write_text(json.dumps({"train": ["a", "b"], "dev": [], "test": ["b"]}))
    with pytest.raises(ValueError, match=r"split.json names b twice \(1 in all\); each image is for one part"):
        read(recipe)


def test_a_recipe_may_name_the_folder_of_its_data(recipe, tmp_path):
    text = recipe.read_text()
    recipe.write_text(text.replace('source = "dsb2018"', 'source = "folder"\ndata = "mine"', 1))
    assert read(recipe).data == tmp_path / "data" / "mine"


def test_the_command_line_trains_and_prints_the_model_folder(recipe, tmp_path):
    answer = CliRunner().invoke(app, ["train", str(recipe), "-o", str(tmp_path / "run"), "-q"])
    assert (answer.exit_code, answer.stdout) == (0, f"{tmp_path / 'run' / 'model'}\n")
    assert load(tmp_path / "run" / "model", threads=1).config.name == "baby"


def test_a_recipe_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no recipe"):
        read(tmp_path / "no.toml")


def test_the_place_of_the_data_must_be_set(monkeypatch):
    monkeypatch.delenv("PROMPTLESS_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set PROMPTLESS_DATA to the folder that holds dsb2018"):
        data_folder("dsb2018")


def test_a_recipe_may_start_from_a_model_and_name_only_some_phases(recipe, tmp_path):
    first = train(read(recipe), tmp_path / "first")
    text = recipe.read_text()
    begin, end = text.index("[generator]"), text.index("[model]")
    more = recipe.with_name("more.toml")
    more.write_text(f'start = "{first.as_posix()}"\n{text[:begin]}{text[end:]}')
    again = train(read(more), tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()


def test_the_recipe_that_goes_on_fits_the_one_that_ships(monkeypatch):
    monkeypatch.setenv("PROMPTLESS_DATA", "/nowhere")
    ships, more = read(NUCLEI), read(NUCLEI.with_name("nuclei_more.toml"))
    assert (more.start, list(more.phases)) == ("nuclei", ["generator", "joint"])
    assert (more.network, more.model, more.sampling) == (ships.network, ships.model, ships.sampling)


@pytest.fixture
def told(recipe, tmp_path):
    """The recipe for a model that tells two classes, and its data, where one object is of each."""
    data = tmp_path / "data" / "dsb2018"
    (data / "classes").mkdir()
    for name in "ab":
        (data / "classes" / f"{name}.csv").write_text("label,class\n1,2\n2,1\n")
    (data / "dataset.json").write_text(json.dumps({"classes": {"1": "Flat", "2": "Round"}}))
    recipe.write_text(recipe.read_text().replace('name = "baby"', 'name = "baby"\nclasses = ["flat", "round"]'))
    return recipe


def test_a_model_learns_the_classes_that_its_data_has(told, tmp_path):
    model = load(train(read(told), tmp_path / "run"), threads=1)
    assert model.config.classes == ("flat", "round")
    assert model.encode(np.zeros((3, 32, 32), np.float32)).maps.shape == (5, 32, 32)
    logged = {
        phase: (tmp_path / "run" / phase / "log.csv").read_text().splitlines()[0] for phase in ("generator", "joint")
    }
    assert "classes" in logged["generator"].split(",")
    assert "generator_classes" in logged["joint"].split(",")
    result = segment(picture(discs((64, 64), [(30, 30, 9)])), model, min_score=0)
    assert result.class_names == ("flat", "round")
    assert set(result.masks.classes) <= {1, 2}


def test_a_model_with_classes_may_start_from_one_without(recipe, told, tmp_path):
    text = told.read_text()
    plain = told.with_name("plain.toml")
    plain.write_text(text.replace('classes = ["flat", "round"]', ""))
    first = train(read(plain), tmp_path / "first")
    told.write_text(
        f'start = "{first.as_posix()}"\n' + text[: text.index("[generator]")] + text[text.index("[model]") :]
    )
    again = load(train(read(told), tmp_path / "again"), threads=1)
    image = np.linspace(0, 1, 3 * 32 * 32, dtype=np.float32).reshape(3, 32, 32)
    assert np.array_equal(again.encode(image).maps[:2], load(first, threads=1).encode(image).maps)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["flat", "round"]', '["flat"]', "classes are flat, but those of .*dataset.json are Flat, Round"),
        ('["flat", "round"]', '["round", "flat"]', "round, flat, but those of .* are Flat, Round; name all"),
    ],
)
def test_other_classes_than_those_of_the_data_are_refused(told, tmp_path, old, new, message):
    told.write_text(told.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        train(read(told), tmp_path / "run")


def test_a_class_out_of_range_is_refused_with_its_image(told, tmp_path):
    (tmp_path / "data" / "dsb2018" / "classes" / "b.csv").write_text("label,class\n1,3\n")
    with pytest.raises(ValueError, match=r"b: object 1 is of class 3, .* 1 flat, 2 round"):
        train(read(told), tmp_path / "run")


def test_classes_need_data_that_has_them(told, tmp_path):
    for path in (tmp_path / "data" / "dsb2018" / "classes").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"no training image has a file in .*classes; leave `classes` out"):
        train(read(told), tmp_path / "run")


def test_a_run_goes_on_only_with_the_recipe_that_it_began_with(recipe, tmp_path):
    train(read(recipe), tmp_path / "run")
    (tmp_path / "run" / "joint" / "checkpoint.pt").unlink()
    other = recipe.read_text().replace("seed = 3", "seed = 4", 1).replace("steps = 2", "steps = 3", 1)
    recipe.write_text(other)
    answer = CliRunner().invoke(app, ["train", str(recipe), "-o", str(tmp_path / "run"), "--resume"])
    assert answer.exit_code == 1
    assert "generator/checkpoint.pt is of another recipe: seed was 3 and is 4; [generator] steps was 2 and is 3" in (
        " ".join(answer.stderr.split())
    )


def test_a_run_says_where_it_goes_on(recipe, tmp_path):
    content, folder = read(recipe), tmp_path / "run"
    assert reached(content, folder) == "generator, step 1/2"
    train(content, folder)
    assert reached(content, folder) is None
    (folder / "joint" / "checkpoint.pt").unlink()
    assert reached(content, folder) == "joint, step 1/2"
    answer = CliRunner().invoke(app, ["train", str(recipe), "-o", str(folder), "--resume", "--device", "cpu"])
    assert "going on at joint, step 1/2" in answer.stderr


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("patch = 32\nsteps", "patch = 64\nsteps", "phase.patch was 32 and is 64"),
        ("grey = 1.0", "grey = 0.5", "sampling.grey was 1.0 and is 0.5"),
        ("layers = 1", "layers = 2", "network.sam.layers was 1 and is 2"),
        ("cells = 8\n[network.sam]", "cells = 4\n[network.sam]", "network.cells was 8 and is 4"),
        ('"split.json"', '"other.json"', 'train[1] was "b" and is not said'),
    ],
)
def test_whatever_decides_a_phase_is_in_its_identity(recipe, tmp_path, old, new, told):
    (tmp_path / "other.json").write_text(json.dumps({"train": ["a"], "dev": [], "test": []}))
    before = read(recipe)
    recipe.write_text(TINY.replace(old, new, 1))
    now = read(recipe)
    both = (json.loads(json.dumps({name: identity(r, name) for name in r.phases})) for r in (before, now))
    assert any(line.endswith(told) for line in differences(*both))


def test_the_command_line_says_which_device_it_took_unless_it_was_told(recipe, tmp_path):
    where = devices.find("auto")
    command = ["train", str(recipe), "-o", str(tmp_path / "run")]
    assert f"training on {where}; --device takes another" in CliRunner().invoke(app, command).stderr
    again = CliRunner().invoke(app, [*command, "--resume", "--device", "cpu"])
    assert (again.exit_code, again.stderr) == (0, "")


def test_a_device_that_is_not_there_is_refused_before_anything_is_read(tmp_path):
    answer = CliRunner().invoke(app, ["train", "no.toml", "-o", str(tmp_path / "run"), "--device", "cuda:99"])
    assert answer.exit_code == 1
    assert answer.stderr.startswith("promptless: device is 'cuda:99', but torch")


def test_a_phase_names_its_loss():
    values = {"steps": 2, "batch": 1, "loss": {"kind": "focal_dice", "weights": [10.0, 1.0], "gamma": 1.5}}
    assert Phase.from_dict(values, "recipe").loss == MaskLoss("focal_dice", (10.0, 1.0), gamma=1.5)
    with pytest.raises(ValueError, match="recipe, loss says gama"):
        Phase.from_dict({"steps": 2, "batch": 1, "loss": {"gama": 1}}, "recipe")


def test_the_generator_alone_knows_of_no_prompt_and_no_lora(recipe):
    content = read(recipe)
    small, large = (replace(content, adapter=AdapterConfig("nuclei", "abc", rank=rank)) for rank in (2, 8))
    for phase, same in (("generator", True), ("joint", False)):
        one, other = (identity(r, phase) for r in (small, large))
        assert (one == other) == same


def test_patches_vary_widely_unless_the_recipe_is_of_an_adapter_or_says_else(recipe):
    assert read(recipe).variety == "wide"
    assert variety_of({"adapter": {}}, "recipe") == "near"
    assert variety_of({"adapter": {}, "variety": "wide"}, "recipe") == "wide"
    with pytest.raises(ValueError, match="variety = 'wild'; it must be one of wide, near"):
        variety_of({"variety": "wild"}, "recipe")


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"say --data {tmp_path}"):
        read(tmp_path)


def test_a_recipe_has_a_network_or_is_for_an_adapter(tmp_path):
    (tmp_path / "neither.toml").write_text("seed = 1\n[model]\n")
    with pytest.raises(ValueError, match=r"lacks \[adapter\] .* or \[network\]"):
        read(tmp_path / "neither.toml", data=tmp_path)


def test_other_classes_are_another_training(told):
    one = read(told)
    other = replace(one, model=replace(one.model, classes=("round", "flat")))
    assert identity(one, "generator") != identity(other, "generator")
