from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from promptless import library, planar_export, registry
from promptless.cli import app
from promptless.networks import backbones
from reference import SMALL, meta_state


def card(name):
    answer = CliRunner().invoke(app, ["models", "card", str(name)])
    assert answer.exit_code == 0, answer.output
    return answer.stdout


@pytest.mark.parametrize("name", registry.names())
def test_what_ships_has_a_card_without_settings_and_says_what_is_in_its_folder(name):
    lines = card(name).splitlines()
    assert lines[0] == f"# {name}"
    assert any(line.startswith(f"{name} ") and "licence" in line for line in lines)
    assert any(line.split()[:1] == ["files"] and line.endswith(" MB") for line in lines)


def test_a_folder_without_a_card_tells_of_itself(student_folder):
    lines = card(student_folder).splitlines()
    assert lines[0] == "quick 1, licence CC0-1.0"
    assert [line.split()[0] for line in lines[1:]] == ["for", "gives", "taught", "ONNX", "files"]
    assert "tiny (hash" in lines[3]


def test_an_exported_folder_tells_how_near_it_is(tiny_folder, tmp_path):
    planar_export.export(tiny_folder, tmp_path / "light")
    *_, onnx, files, parity = card(tmp_path / "light").splitlines()
    assert onnx.split(maxsplit=1)[1] == "opset 17, float32, any size"
    assert files.split()[1::3] == ["encode.onnx", "decode.onnx"]
    told = json.loads((tmp_path / "light/parity.json").read_text())
    assert f"ap90 {told['ap90']:.4g}, dice {told['dice']:.4g}" in parity


def test_backbones_that_are_here_or_published_are_told_of(tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("PROMPTLESS_HOME", str(tmp_path))
    monkeypatch.setitem(backbones.ARCHITECTURES, "sam_vit_b", SMALL)
    torch.save(meta_state(SMALL), tmp_path / "sam.pth")
    library.add(tmp_path / "sam.pth", "mine", licence="CC0-1.0")
    assert card("mine").startswith("mine, licence CC0-1.0\n  is         a sam_vit_b, ")
    assert "promptless models pull medsam_vit_b fetches 375 MB" in card("medsam_vit_b")


def test_an_unknown_name_is_one_line():
    answer = CliRunner().invoke(app, ["models", "card", "nothing"])
    assert (answer.exit_code, "there is no model 'nothing'" in answer.output) == (1, True)
