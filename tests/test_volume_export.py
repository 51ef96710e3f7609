from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from adapting import learned
from promptless import export as planar
from promptless.config import ModelConfig, OnnxConfig
from promptless.image import Image
from promptless.io.hashes import sha256
from promptless.loading import load
from promptless.networks.volume import models, rivals
from promptless.runtimes.onnx import OnnxVoxelModel
from promptless.runtimes.torch import TorchVoxelModel
from promptless.volume_export import export
from scans import nifti
from volumes import both_backbones, random_crop, shapes, voxel_config

TORCHLESS = """
import sys
for name in ("torch", "transformers", "monai", "onnx"):
    sys.modules[name] = None
from promptless.cli import app
app(sys.argv[1:], standalone_mode=False)
"""


def folder_of(config, backbone, folder):
    """Return the folder of a model that has learned something."""
    folder.mkdir()
    models.save(learned(models.begun(config, backbone)), folder)
    files = {models.TRAINED: sha256(folder / models.TRAINED)}
    replace(config, network=models.sizes_of(config), files=files).write(folder / "config.json")
    (folder / "README.md").write_text("# shapes\n")
    return folder


@pytest.fixture(scope="module")
def compact(tmp_path_factory):
    """A small U-Net's folder, and its export's."""
    place = tmp_path_factory.mktemp("compact")
    config = voxel_config(network="compact", sizes={"widths": [4, 6]}, crop=(16, 12, 16))
    source = folder_of(config, None, place / "source")
    return source, place / "made", export(source, place / "made")


def test_an_export_is_a_model_that_runs_on_onnxruntime(compact):
    source, made, parity = compact
    model, original = load(made), load(source, device="cpu")
    assert (type(model), type(original)) == (OnnxVoxelModel, TorchVoxelModel)
    assert (model.config.onnx.opset, model.config.onnx.multiple, model.config.onnx.crop) == (planar.OPSET, 4, None)
    assert {path.name for path in made.iterdir()} == {"config.json", "network.onnx", "parity.json", "README.md"}
    assert json.loads((made / "parity.json").read_text())["mean_dice"] == parity.mean_dice > 0.999
    assert parity.largest_difference < 1e-4 * parity.largest_logit
    assert model.room((16, 16, 16)).needed == pytest.approx(original.room((16, 16, 16)).needed, rel=0.3)


@pytest.mark.parametrize(("n", "shape"), [(1, (16, 12, 16)), (2, (16, 16, 16)), (1, (9, 20, 7)), (3, (1, 5, 8))])
def test_crops_of_any_size_and_number_have_the_answers_of_torch(compact, n, shape):
    source, made, _ = compact
    crops = torch.cat([random_crop(*shape, seed=i) for i in range(n)]).numpy()
    assert load(made).logits(crops) == pytest.approx(load(source, device="cpu").logits(crops), abs=1e-4)


def test_weights_are_stored_in_half_precision_and_nothing_of_this_machine_is(compact):
    _, made, _ = compact
    content = (made / "network.onnx").read_bytes()
    places = [b"/home", b"/usr", b"/tmp", b"site-packages", b".py", str(Path(__file__).parent.parent).encode()]
    assert [place for place in places if place in content] == []
    large = [c for c in onnx.load(made / "network.onnx").graph.initializer if np.prod(c.dims) >= planar.LARGE]
    assert {c.data_type for c in large} == {onnx.TensorProto.FLOAT16}


def test_an_altered_file_is_refused(compact, tmp_path):
    _, made, _ = compact
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "network.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"network\.onnx is not the file that config\.json names"):
        load(tmp_path)


def test_a_network_with_windows_takes_crops_of_one_size(tiny_folder, tmp_path, monkeypatch):
    backbone = both_backbones(tiny_folder, tmp_path)["small"]
    monkeypatch.setattr("promptless.library.under", lambda needed: None)
    monkeypatch.setattr("promptless.library.load", lambda name: backbone)
    config = voxel_config(backbone, crop=(12, 16, 8), sizes={"slices": "y"})
    source = folder_of(config, backbone, tmp_path / "source")
    parity = export(source, tmp_path / "made")
    assert parity.mean_dice > 0.999
    monkeypatch.setattr("promptless.library.load", lambda name: pytest.fail("the backbone is in the file"))
    model = load(tmp_path / "made")
    assert model.config.onnx.crop == (12, 16, 8)
    assert model.logits(np.zeros((2, 1, 12, 16, 8), np.float32)).shape == (2, 3, 12, 16, 8)
    (told,) = onnx.load(tmp_path / "made" / "network.onnx").graph.output
    assert [axis.dim_param or axis.dim_value for axis in told.type.tensor_type.shape.dim] == ["n", 3, 12, 16, 8]
    with pytest.raises(ValueError, match="takes crops of 12 x 16 x 8 voxels alone, not of 12 x 12 x 8"):
        model.logits(np.zeros((1, 1, 12, 12, 8), np.float32))


def test_a_swin_unetr_is_exported(tmp_path, monkeypatch):
    whole = rivals.monai
    monkeypatch.setattr(rivals, "monai", lambda name: partial(whole(name), depths=(2, 1, 1, 1)))  # fewer layers, sooner
    config = voxel_config(network="swin_unetr", sizes={"feature_size": 12}, crop=(32, 32, 32))
    parity = export(folder_of(config, None, tmp_path / "source"), tmp_path / "made")
    assert ModelConfig.read(tmp_path / "made/config.json").onnx.crop == (32, 32, 32)
    assert parity.mean_dice > 0.999
    assert parity.largest_difference < 1e-3 * parity.largest_logit


def test_eight_bits_come_near(compact, tmp_path):
    source, _, _ = compact
    scans = [Image(shapes(seed)[0][None], (1.0, 1.0, 1.0), "mm") for seed in range(2)]
    parity = export(source, tmp_path / "made", [("a", scans[0])], scans[1:])
    model = load(tmp_path / "made")
    assert model.config.onnx.arithmetic == "int8"
    assert model.config.files == {"network.onnx": sha256(tmp_path / "made" / "network.onnx")}
    assert parity.largest_difference < 0.25 * parity.largest_logit
    assert parity.scans == ("a",)
    graph = onnx.load(tmp_path / "made" / "network.onnx").graph
    kinds = {c.data_type for c in graph.initializer if np.prod(c.dims) >= planar.LARGE}
    assert onnx.TensorProto.INT8 in kinds


def strange(crop):
    """An operation that ONNX has none for."""
    return torch.special.bessel_j0(crop)


def flat_grid(crop):
    """An operation that ONNX has for planes alone, in this opset."""
    return nn.functional.grid_sample(crop, crop.new_zeros(1, 2, 2, 2, 3), align_corners=False)


class Through(nn.Module):
    """A network of one operation."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, crop):
        return self.operation(crop)


@pytest.mark.parametrize(
    ("operation", "name"), [(strange, "aten::special_bessel_j0"), (flat_grid, "GridSample with 5D")]
)
def test_an_operation_that_onnx_lacks_is_named_and_no_result_is_printed(tmp_path, capfd, operation, name):
    with pytest.raises(ValueError, match=rf"an operation that opset 17 of ONNX lacks, .*{name}"):
        planar.trace(Through(operation), tmp_path / "a.onnx", (torch.zeros(1, 1, 4, 4, 4),), ["crops"], ["logits"], {})
    assert capfd.readouterr().out == ""


def test_a_model_with_such_an_operation_leaves_nothing(compact, tmp_path, monkeypatch):
    monkeypatch.setattr("promptless.volume_export.within", lambda net, config: (Through(strange), OnnxConfig(17)))
    with pytest.raises(ValueError, match="aten::special_bessel_j0"):
        export(compact[0], tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(compact, tiny_folder, tmp_path):
    source, made, _ = compact
    with pytest.raises(ValueError, match="tiny is a model on planes"):
        export(tiny_folder, tmp_path / "made")
    with pytest.raises(FileExistsError, match="is there; choose another folder with -o"):
        export(source, made)
    with pytest.raises(ValueError, match="shapes is ONNX already"):
        export(made, tmp_path / "again")


def test_a_gpu_is_refused_and_torch_asks_for_its_weights(compact):
    _, made, _ = compact
    with pytest.raises(ValueError, match="on the processor here, not on 'cuda'"):
        load(made, device="cuda")
    with pytest.raises(ValueError, match=r"no hash for trained\.safetensors"):
        load(made, runtime="torch")


def test_a_scan_is_segmented_without_torch(compact, tmp_path):
    source, made, _ = compact
    scan = nifti(tmp_path / "scan.nii.gz", shapes(3)[0].T, np.eye(4))
    ModelConfig.read(made / "config.json")
    command = [sys.executable, "-c", TORCHLESS, "segment", scan, "-o", tmp_path / "out", "--model", made, "-q"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    told = json.loads((tmp_path / "out/scan_manifest.json").read_text())
    assert told["model"]["name"] == "shapes"
    assert (tmp_path / "out/scan_labels.nii.gz").is_file()
    assert ModelConfig.read(source / "config.json").onnx is None
