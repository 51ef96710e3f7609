from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from promptless.config import Needed
from promptless.data.prepared import Facts
from promptless.io.label_files import LabelImage
from promptless.train.schedule import Schedule
from promptless.train.volume import report
from promptless.train.volume.measuring import measured, table
from promptless.train.volume.report import HEADER, Report, card, scores, write
from volumes import SIZES, shapes, voxel_config

FACTS = Facts("shapes", "CC0-1.0", "made up", {1: "ball", 2: "box"})
SCHEDULE = Schedule(steps=3, batch=1)


@pytest.fixture
def told():
    truth = {name: LabelImage(shapes(i)[1], (1.0, 1.0, 1.0)) for i, name in enumerate("ab")}
    truth["b"].labels[truth["b"].labels == 2] = 0
    evaluation = measured(truth, {name: each.labels for name, each in truth.items()})
    config = replace(voxel_config(), network={"backbone": "nuclei", "sha256": "f" * 64, **SIZES})
    ids = {"train": ["x", "y"], "dev": ["a", "b"], "test": []}
    tables = {"dev": table(evaluation, config.classes)}
    return report.Told(Report(config, FACTS, ids, 1234, SCHEDULE, tables), {"dev": evaluation})


@pytest.fixture
def run(tmp_path):
    """The folder of a training of two steps."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "log.csv").write_text("step,rate,loss\n1,0.1,0.5\n2,0.1,0.4\n")
    return tmp_path


def test_a_row_for_every_class_and_the_mean_of_every_part(told):
    rows = told.report.rows()
    assert [row[:2] for row in rows] == [("dev (2)", "ball"), ("dev (2)", "box"), ("dev (2)", "mean")]
    assert all(len(row) == len(HEADER) for row in rows)
    assert rows[0][2] == "1.000 [1.000, 1.000]"


def test_the_report_is_json_and_has_every_number(told, run):
    notes = write(told, run)
    content = json.loads((run / "report" / "report.json").read_text())
    assert content["trainable_parameters"] == 1234
    assert content["model"]["volume"]["crop"] == [16, 16, 16]
    assert content["split"]["train"] == ["x", "y"]
    assert [line["structure"] for line in content["figures"]["dev"]][-1] == "mean"
    assert notes or (run / "report" / "curves.png").is_file()


def test_what_is_infinite_is_null(told):
    """A class that was not found at all has an infinite distance, which JSON does not know."""
    (first, *rest) = told.report.tables["dev"]
    tables = {"dev": [replace(first, value=math.inf, low=math.nan), *rest]}
    content = replace(told.report, tables=tables).as_json()
    json.dumps(content, allow_nan=False)
    assert (content["figures"]["dev"][0]["value"], content["figures"]["dev"][0]["high"]) == (None, 1)


def test_every_scan_has_its_scores_and_what_is_not_defined_is_not_a_number(told, run):
    rows = list(scores(told))
    assert [row[:3] for row in rows] == [("dev", name, kind) for name in "ab" for kind in ("ball", "box")]
    assert rows[0][3:] == (1, 1, 0)
    assert np.isnan(rows[3][3])  # there is no box in b, neither true nor found
    write(told, run)
    with (run / "report" / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4


def test_the_card_says_what_the_model_is_made_of_and_for(told):
    text = card(told.report)
    assert f"autoprosam on nuclei, sha256 {'f' * 64}" in text
    assert "gives a class to every voxel of a scan: ball, box" in text
    assert "| voxels | as they are |" in text
    assert "| made for | scans of any size |" in text
    assert "| dev (2) | ball | 1.000 [1.000, 1.000] |" in text
    volume = replace(told.report.config.volume, spacing=(3.0, 0.75, 0.75), extent=(64.0, 80.0, 64.0))
    text = card(replace(told.report, config=replace(told.report.config, volume=volume)))
    assert "3 x 0.75 x 0.75 mm (z, y, x)" in text
    assert "boxes of at most 64 x 80 x 64 mm" in text


def test_a_rival_stands_alone_on_its_card(told):
    config = voxel_config(network="unet")
    assert config.inflates is None
    assert told.report.config.inflates == Needed("nuclei", "f" * 64)
    assert "| network | unet |" in card(replace(told.report, config=config))
