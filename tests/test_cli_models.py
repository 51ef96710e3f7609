from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from promptless import registry
from promptless.cli import app
from promptless.networks import backbones
from promptless.published import PUBLISHED
from reference import SMALL, meta_state


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMPTLESS_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(backbones.ARCHITECTURES, "sam_vit_b", SMALL)
    return tmp_path / "home"


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({"model_state": meta_state(SMALL), "decoder_state": {}}, tmp_path / "lm.pt")
    return tmp_path / "lm.pt"


def run(*arguments):
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def test_what_ships_what_is_here_and_what_is_published_are_listed(checkpoint):
    assert run("import", checkpoint, "--name", "mine", "--licence", "CC-BY-4.0").exit_code == 0
    rows = {row["name"]: row for row in map(json.loads, run("list", "--json").stdout.splitlines())}
    assert rows["nuclei"]["where"] == "ships"
    assert rows["mine"] == {
        "name": "mine",
        "where": "here",
        "megabytes": rows["mine"]["megabytes"],
        "licence": "CC-BY-4.0",
        "about": "sam_vit_b from lm.pt",
    }
    assert {name for name, row in rows.items() if row["where"] == "published"} == set(PUBLISHED)
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "WHERE", "SIZE", "LICENCE", "ABOUT"]
    assert len(lines) == 1 + len(rows)
    assert any(line.split()[:4] == ["sam_vit_b", "published", "375", "MB"] for line in lines)


def test_listing_does_not_wait_for_torch():
    script = "import sys; from promptless.cli import app\ntry: app(['models', 'list'])\nexcept SystemExit: pass\n"
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def test_what_was_not_imported_is_said(checkpoint, home):
    result = run("import", checkpoint, "--name", "mine")
    assert "not imported: decoder_state (micro-sam's instance segmentation decoder)" in result.stderr
    assert "mine is a sam_vit_b" in result.stderr
    assert result.stdout == f"{home / 'models/mine'}\n"


def test_verifying_tells_good_from_bad(checkpoint, home):
    run("import", checkpoint, "--name", "mine")
    result = run("verify")
    shipped = "".join(f"{name}: good\n" for name in registry.names())
    assert (result.exit_code, result.stdout) == (0, f"{shipped}mine: good\n")
    (home / "models/mine/config.json").write_text("{}")
    result = run("verify")
    assert (result.exit_code, result.stdout) == (3, shipped)
    assert "mine: " in result.stderr
    assert run("verify", "mine").exit_code == 1


def test_an_unknown_name_is_one_line():
    result = run("pull", "sam_vit_x")
    assert result.exit_code == 1
    assert result.stderr.startswith("promptless: 'sam_vit_x' is not published; sam_vit_b")


def test_offline_the_way_out_is_said():
    result = run("pull", "sam_vit_b", "--offline")
    assert result.exit_code == 1
    assert "import FILE --name sam_vit_b" in result.stderr


@pytest.mark.parametrize("arguments", [("pull", "sam_vit_b"), ("import", "a.pth", "--name", "a")])
def test_without_torch_nothing_is_fetched(monkeypatch, arguments):
    monkeypatch.setattr(
        sys.modules["promptless.cli.models"], "find_spec", lambda name: None if name == "torch" else name
    )
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr == "promptless: backbones need torch: pip install 'promptless[sam]'\n"
