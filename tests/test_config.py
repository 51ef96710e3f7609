from __future__ import annotations

import json
from dataclasses import replace

import pytest

from promptless.config import VOXELS, AdapterConfig, Intensity, ModelConfig, VolumeConfig, WindowConfig, from_dict


def test_a_configuration_survives_writing_and_reading(tmp_path, tiny_config):
    tiny_config.write(tmp_path / "config.json")
    assert ModelConfig.read(tmp_path / "config.json") == tiny_config


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"here says celsl, .* did you mean cells.*'cells'"):
        from_dict(WindowConfig, {"celsl": 8}, "here")


def test_a_nested_unknown_name_is_refused(tmp_path, tiny_config):
    path = tmp_path / "config.json"
    tiny_config.write(path)
    content = json.loads(path.read_text())
    content["window"]["celsl"] = 8
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="celsl"):
        ModelConfig.read(path)


def test_what_is_not_json_is_refused_with_its_name(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        ModelConfig.read(path)


def test_a_window_has_stride_times_cells_pixels():
    assert WindowConfig(stride=4, cells=8).size == 32


@pytest.mark.parametrize(("wrong", "message"), [({"alpha": 0}, "at least 1"), ({"dropout": 1.0}, "below 1")])
def test_an_adapter_scales_and_drops_within_reason(wrong, message):
    with pytest.raises(ValueError, match=message):
        AdapterConfig("base", "abc", **wrong)


def test_a_configuration_for_scans_survives_writing_and_reading(tmp_path, tiny_config):
    volume = VolumeConfig(spacing=(3.0, 1.5, 1.5), crop=(32, 48, 48), intensity=Intensity("percentiles", 2, 98))
    scans = replace(tiny_config, output=VOXELS, volume=volume, classes=("liver", "spleen"))
    scans.write(tmp_path / "config.json")
    assert ModelConfig.read(tmp_path / "config.json") == scans


def test_only_a_model_for_scans_looks_at_scans(tiny_config):
    with pytest.raises(ValueError, match="belong together"):
        replace(tiny_config, output=VOXELS)
    with pytest.raises(ValueError, match="belong together"):
        replace(tiny_config, volume=VolumeConfig())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"blend": "square"}, "gaussian or constant"),
        ({"overlap": 1.0}, "below 1"),
        ({"crop": (64,)}, "three"),
    ],
)
def test_a_look_at_a_scan_is_within_reason(wrong, message):
    with pytest.raises(ValueError, match=message):
        VolumeConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"rule": "histogram"}, "or percentiles"), ({"low": 5, "high": 5}, "below the second")],
)
def test_intensities_are_within_reason(wrong, message):
    with pytest.raises(ValueError, match=message):
        Intensity(**wrong)
