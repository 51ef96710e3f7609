from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from promptless.config import AdapterConfig, ModelConfig
from promptless.data.prepared import Facts
from promptless.data.sample import Sample
from promptless.io import overlay
from promptless.train.card import card
from promptless.train.choosing import Choice
from promptless.train.measuring import Line
from promptless.train.report import HEADER, Report, smoothed, write

NAN = float("nan")
CONFIG = ModelConfig("mine", "1", "CC0-1.0", adapter=AdapterConfig("nuclei", "abc"))


DICE = Line("pixel Dice, image mean", 2, 0.5, 0.6, 0.1, 0.05, 0.15)


@pytest.fixture
def report():
    lines = [Line("mSA", 2, 0.5, 0.625, 0.125, 0.1, 0.15), Line("AJI+", 2, NAN, 0.5, NAN, NAN, NAN)]
    ids = {"train": ["t"], "dev": ["a", "b"], "test": []}
    facts = Facts("cells", "CC-BY-4.0", "https://example.org", {})
    return Report(CONFIG, facts, ids, 30, 1000, ("generator",), Choice(0.5, 0.4, 0.62), {"dev": lines})


@pytest.fixture
def run(tmp_path):
    (tmp_path / "generator").mkdir()
    (tmp_path / "generator" / "log.csv").write_text("step,rate,loss,dice\n1,0.1,2,1\n2,0.1,1,0.5\n")
    (tmp_path / "generator" / "scores.csv").write_text("step,mSA\n0,0.4\n2,0.5\n")
    return tmp_path


@pytest.fixture
def samples(blobs):
    image, labels = blobs
    return [Sample(name, "grey", image[None], labels) for name in "ab"]


def test_what_is_told_is_in_the_table_the_json_and_the_card(report):
    assert report.rows()[0] == ("dev (2)", "mSA", "0.500", "0.625", "+0.125 [+0.100, +0.150]")
    assert report.rows()[1][2:] == ("-", "0.500", "-")
    assert all(len(row) == len(HEADER) for row in report.rows())
    assert report.score == 0.625
    text = card(report)
    assert "+0.125 [+0.100, +0.150]" in text
    assert all(word in text for word in ("CC-BY-4.0", "CC0-1.0", "nuclei, sha256 abc", "--model", "train 1, dev 2"))


def test_a_card_names_the_thresholds_that_matter(report):
    assert "foreground 0.5, min_score 0.5, chosen on dev" in card(report)
    semantic = replace(report, config=replace(CONFIG, output="semantic"), tables={"dev": [DICE]})
    assert "probability is above 0.5, the mask where its own is above 0.5, chosen on dev" in card(semantic)


def test_everything_is_written_and_the_worst_image_comes_first(report, run, samples, blobs):
    found = {"a": blobs[1], "b": np.zeros_like(blobs[1])}
    assert write(report, run, samples, found) == []
    folder = run / "report"
    assert sorted(path.name for path in folder.iterdir()) == ["curves.png", "report.json", "worst"]
    assert sorted(path.name for path in (folder / "worst").iterdir()) == ["1_b.png", "2_a.png"]
    assert PillowImage.open(folder / "curves.png").size[0] > 500
    content = json.loads((folder / "report.json").read_text())
    assert content["chosen_on_dev"] == {"foreground": 0.5, "min_score": 0.4, "score": 0.62}
    assert content["figures"]["dev"][1]["before"] is None
    assert content["split"]["dev"] == ["a", "b"]


def test_without_matplotlib_all_else_is_written_and_a_line_says_how_to_get_it(report, run, samples, blobs, monkeypatch):
    def missing():
        raise ImportError("a plot needs matplotlib: pip install 'promptless[plots]'")

    monkeypatch.setattr("promptless.train.report.figure_with_canvas", missing)
    (line,) = write(report, run, samples, dict.fromkeys("ab", blobs[1]))
    assert line == "curves.png was not drawn: a plot needs matplotlib: pip install 'promptless[plots]'"
    assert (run / "report" / "report.json").is_file()
    assert not (run / "report" / "curves.png").exists()


def test_smoothing_is_the_mean_of_what_came_before():
    values = np.arange(200.0)
    assert smoothed(values)[:4] == pytest.approx([0, 0.5, 1, 1.5])
    assert smoothed(values)[100] == pytest.approx(np.mean(values[97:101]))
    assert np.array_equal(smoothed(values[:40]), values[:40])


def test_a_comparison_shows_what_is_true_what_was_found_and_what_is_both(blobs):
    from promptless.image import Image

    image, labels = blobs
    found = np.where(labels == 1, 0, labels)
    moved = np.roll(labels == 1, 40, axis=0) & (labels == 0)
    found = np.where(moved, 99, found).astype(np.int32)
    picture = overlay.comparison(Image(image[None]), labels, found, "a title")
    colours = {tuple(colour) for colour in picture[overlay.HEADLINE :].reshape(-1, 3).tolist()}
    assert {overlay.TRUE, overlay.FOUND, overlay.BOTH} <= colours
    assert picture[: overlay.HEADLINE].any()


@pytest.mark.parametrize(
    ("n", "low", "high", "word"),
    [
        (6, 0.01, 0.2, "the 6 test images the adapter is better than nuclei: mSA 0.400 against 0.300"),
        (6, -0.2, -0.01, "the 6 test images the adapter is WORSE than nuclei"),
        (6, -0.1, 0.1, "the 6 test images the adapter is not shown to differ from nuclei"),
        (6, NAN, NAN, "not shown to differ"),
        (1, 0.1, 0.1, "the one test image, which shows little, the adapter is not shown to differ from"),
    ],
)
def test_one_line_says_whether_it_is_better(report, n, low, high, word):
    test = [Line("mSA", n, 0.3, 0.4, 0.1, low, high)]
    told = replace(report, tables={**report.tables, "test": test})
    assert told.verdict.startswith("on ")
    assert word in told.verdict
    assert "flatter" not in told.verdict
    assert f"O{told.verdict[1:]}." in card(told)


def test_without_test_images_the_line_says_that_figures_flatter(report):
    assert "on the 2 dev images the adapter is better than nuclei" in report.verdict
    assert report.verdict.endswith("there are no test images, and figures on dev flatter")
