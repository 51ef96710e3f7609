from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptless.train.state import differences
from promptless.train.volume.clicks import Clicking
from promptless.train.volume.recipe import is_for_volumes, read
from volumes import PARTS, RECIPE

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "split.json").write_text(json.dumps(PARTS))
    (tmp_path / "shapes.toml").write_text(RECIPE)
    monkeypatch.setenv("PROMPTLESS_DATA", str(tmp_path))
    return tmp_path / "shapes.toml"


def test_a_recipe_says_everything(recipe, tmp_path):
    content = read(recipe)
    assert content.data == tmp_path / "shapes"
    assert content.ids == PARTS
    assert (content.seed, content.variety, content.mirrored) == (3, "wide", (2,))
    assert (content.schedule.steps, content.look_every) == (12, 6)
    assert content.model.volume.crop == (12, 16, 14)
    assert content.model.volume.intensity.rule == "percentiles"
    assert content.model.network["backbone"] == "nuclei"


def test_what_is_not_said_is_as_published(recipe):
    text = RECIPE.replace('variety = "wide"', "").replace('flips = "x"', "").replace("look_every = 6", "")
    recipe.write_text(text)
    content = read(recipe)
    assert (content.variety, content.mirrored, content.look_every) == ("published", (0, 1, 2), 1)


def test_other_data_and_another_backbone_may_be_named(recipe, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "split.json").write_text(json.dumps({**PARTS, "train": ["x"]}))
    recipe.write_text(RECIPE.replace('data = "shapes"', ""))
    content = read(recipe, data=other, backbone="sam_vit_b")
    assert content.ids["train"] == ["x"]
    assert content.model.network["backbone"] == "sam_vit_b"
    with pytest.raises(ValueError, match="lacks data; or say --data FOLDER"):
        read(recipe)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "seed = 3\nsource = 1", r"says source; a recipe for volumes knows"),
        ("seed = 3", "", "lacks seed"),
        ('variety = "wide"', 'variety = "near"', "variety = 'near'; it must be one of published, wide"),
        ('flips = "x"', 'flips = "xw"', "names axes out of zyx, none of them is ''"),
        ('classes = ["ball", "box"]', "", "names no classes"),
        ('backbone = "nuclei"', "", "names no backbone"),
        ("steps = 12", "steps = 12\nlook = 2", r"\[train\] says look, which promptless does not know"),
        (
            "crop = [12, 16, 14]",
            "crop = [12, 16]",
            "crop is \\(12, 16\\); it must be three lengths above 0, for z, y, x",
        ),
        ("crop = [12, 16, 14]", "crop = [12, 16.5, 14]", "it counts voxels, in whole numbers"),
        ("crop = [12, 16, 14]", "crop = [12, 16, 14]\nspacing = [-1, 1, 1]", "spacing is .* above 0"),
        ("crop = [12, 16, 14]", "crop = [12, 16, 14]\nextent = [64.0]", "extent is .* three lengths"),
        ("crop = [12, 16, 14]", "crop = 64", "crop is 64; it must be three lengths"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(recipe, old, new, message):
    recipe.write_text(RECIPE.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read(recipe)


def test_a_start_is_a_model_on_volumes(recipe, tmp_path):
    assert read(recipe).start is None
    recipe.write_text(RECIPE.replace("seed = 3", f'seed = 3\nstart = "{tmp_path}"'))
    with pytest.raises(FileNotFoundError, match=r"holds no trained\.safetensors"):
        read(recipe)
    (tmp_path / "trained.safetensors").write_bytes(b"weights")
    assert "start" in read(recipe).identity()


def test_a_rival_has_no_backbone(recipe):
    text = RECIPE[: RECIPE.index("[model.network]")].replace("[model.volume]", '[model.volume]\nnetwork = "unet"')
    recipe.write_text(text)
    assert read(recipe).model.network == {}
    with pytest.raises(ValueError, match="is for a unet, which has no backbone; leave out --backbone"):
        read(recipe, backbone="nuclei")


def test_a_recipe_is_known_by_its_output(recipe, tmp_path):
    assert is_for_volumes(recipe)
    (tmp_path / "plane.toml").write_text('seed = 1\n[model]\noutput = "semantic"\n')
    assert not is_for_volumes(tmp_path / "plane.toml")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("seed = 3", "seed = 4", "seed"),
        ("rate = 2e-2", "rate = 1e-3", "rate"),
        ("window = 4", "window = 8", "window"),
        ("crop = [12, 16, 14]", "crop = [12, 16, 16]", "crop"),
        ('flips = "x"', 'flips = ""', "flips"),
        ("low = 0.5", "low = 1.0", "low"),
    ],
)
def test_what_decides_the_weights_decides_whether_a_run_goes_on(recipe, old, new, place):
    before = read(recipe).identity()
    recipe.write_text(RECIPE.replace(old, new))
    assert [place in told for told in differences(before, read(recipe).identity())] == [True]


def test_what_only_costs_may_change(recipe):
    before = read(recipe).identity()
    recipe.write_text(RECIPE.replace("look_every = 6", "look_every = 1").replace("every = 4", "every = 1"))
    assert differences(before, read(recipe).identity()) == []


@pytest.mark.parametrize(("name", "n_classes"), [("btcv", 13), ("amos", 15), ("ct_org", 6), ("hippocampus", 2)])
def test_the_recipes_that_come_along_make_sense(tmp_path, name, n_classes):
    (tmp_path / "split.json").write_text(json.dumps(PARTS))
    content = read(RECIPES / f"autoprosam_{name}.toml", data=tmp_path)
    assert len(content.model.classes) == n_classes
    assert content.model.volume.network == "autoprosam"
    published = name != "hippocampus"
    assert (content.model.network["backbone"] == "sam_vit_b") == published
    if published:
        schedule, volume = content.schedule, content.model.volume
        assert (schedule.rate, schedule.power, schedule.clip, schedule.batch) == (5e-4, 0.9, 1.0, 1)
        assert (volume.crop, volume.overlap, volume.blend) == ((128, 128, 128), 0.25, "constant")
        assert (schedule.ramp, schedule.clipping) == ("exponential", "apart")
        assert schedule.rate_at(0) < 1e-4 * schedule.rate


CLICKED = RECIPE + "points = 3\n"


def test_a_network_with_points_is_clicked_at(recipe):
    assert read(recipe).clicks is None
    recipe.write_text(CLICKED)
    content = read(recipe)
    assert content.clicks == Clicking()
    recipe.write_text(CLICKED.replace("[model]\n", "[clicks]\nshare = 0.25\nmost = 5\n[model]\n"))
    assert read(recipe).clicks == Clicking(0.25, 5)
    assert any("clicks" in told for told in differences(content.identity(), read(recipe).identity()))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("points = 3", "points = 2", r"points = 2; there are 2 classes, .* write points = 3, or 0"),
        ("points = 3", 'points = 3\ngenerator = "none"', r"points go into the generator"),
        ("points = 3\n", "[clicks]\n", r"has \[clicks\], and its network takes none; write points = 3"),
        ("[model]\n", "[clicks]\nshare = 2\n[model]\n", r"it lies between 0 and 1"),
        ("[model]\n", "[clicks]\nshares = 2\n[model]\n", r"\[clicks\] says shares, .* did you mean share"),
        ("[model]\n", '[distill]\nteacher = "x"\n[model]\n', r"clicks are simulated by labels alone"),
    ],
)
def test_clicks_that_make_no_sense_are_refused(recipe, old, new, message):
    recipe.write_text(CLICKED.replace(old, new))
    with pytest.raises(ValueError, match=message):
        read(recipe)


def test_the_recipe_of_clicks_goes_on_from_that_without(tmp_path, monkeypatch):
    (tmp_path / "split.json").write_text(json.dumps(PARTS))
    place = tmp_path / "runs" / "autoprosam_hippocampus"
    place.mkdir(parents=True)
    (place / "trained.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    content = read(RECIPES / "autoprosam_clicks.toml", data=tmp_path)
    before = read(RECIPES / "autoprosam_hippocampus.toml", data=tmp_path)
    assert content.start == place.relative_to(tmp_path)
    assert content.model.network == {**before.model.network, "points": 3}
    assert content.model.volume == before.model.volume
