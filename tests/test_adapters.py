from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image as PillowImage
from transformers import SamModel
from typer.testing import CliRunner

from adapting import config_for, keep, learned, published, small_base, write
from made_up import same_partition
from promptless import adapters, library, planar_export
from promptless.cli import app
from promptless.config import SEMANTIC, ModelConfig, OnnxConfig, ProposalConfig
from promptless.export import OPSET
from promptless.image import Image
from promptless.loading import load
from promptless.networks import backbones
from promptless.networks.adapted import TRAINED, begun
from promptless.networks.sam import PromptDecoder
from promptless.pipeline import segment
from reference import SMALL


@pytest.fixture
def home(tiny_folder, tmp_path, monkeypatch):
    """A PROMPTLESS_HOME with the tiny model in it as a small base, and where ViT-B is a network of 60,000 weights."""
    monkeypatch.setenv("PROMPTLESS_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(backbones.ARCHITECTURES, "sam_vit_b", SMALL)
    keep(tiny_folder, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(params=["generator"])
def small(request, home, tiny_folder, tmp_path):
    """An adapter on the small base, whose decoder still finds discs."""
    base = small_base(tiny_folder)
    config = replace(config_for(base, features=request.param), min_score=0.2)
    network = begun(base, config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.05)
            elif "mask_decoder" in name and parameter.requires_grad:
                parameter.mul_(1.01)
    return write(network.eval(), config, tmp_path / "adapter")


@pytest.fixture
def large(home, tmp_path):
    """An adapter on a published backbone."""
    (tmp_path / "sam").mkdir()
    backbone = published(tmp_path / "sam")
    library.add(tmp_path / "sam" / "sam.pth", "base", licence="CC0-1.0")
    backbone.name, backbone.digest = "base", library.weights_hash("base")
    config = config_for(backbone)
    return write(learned(begun(backbone, config)), config, tmp_path / "large")


def run(*arguments):
    return CliRunner().invoke(app, ["adapter", *map(str, arguments)])


def test_info_needs_no_torch_and_says_what_an_adapter_is(small):
    (small / "README.md").write_text("# mine\n\n## Figures\n\nDice .80\n\n## Limits\n\nnone\n")
    found = adapters.info(str(small))
    network = load(small).network
    expected = {"generator": network.generator, "mask_decoder": network.backbone.mask_decoder}
    for name, part in expected.items():
        numbers = [v for v in part.state_dict().values() if v.is_floating_point()]
        assert found.parts[name].parameters == sum(v.numel() for v in numbers)
    assert found.parts["lora"].bytes == 4 * found.parts["lora"].parameters == 4 * 4 * 2 * 16
    assert found.bytes == sum(path.stat().st_size for path in small.iterdir())
    assert (found.backbone_here, found.figures) == ("tiny", "Dice .80")
    lines = run("info", small).stdout
    assert all(text in lines for text in ("mine 1", "tiny, which takes the generator's", "rank 2", "Dice .80", "here"))
    content = json.loads(run("info", small, "--json").stdout)
    assert content["adapter"]["sha256"] == found.adapter.sha256
    assert content["parts"]["lora"]["parameters"] == found.parts["lora"].parameters
    script = "import sys; from promptless import adapters; from pathlib import Path; adapters.info(Path(sys.argv[1]));"
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script, small], check=False).returncode == 0


def test_what_is_no_adapter_is_said(tiny_folder, tmp_path):
    result = run("info", tmp_path)
    assert (result.exit_code, "holds no adapter" in result.stderr) == (1, True)
    result = run("check", tiny_folder)
    assert (result.exit_code, "stands alone; it is no adapter" in result.stderr) == (1, True)


def test_check_says_ok(small, large):
    for folder, tiles in ((small, "1024 pixels per side with 128"), (large, "192 pixels per side with 32")):
        result = run("check", folder)
        assert (result.exit_code, result.stdout[:12]) == (0, "OK: 4 files,"), result.stderr
        assert tiles in result.stdout


def test_check_asks_a_semantic_adapter_for_its_mask(home, tiny_folder, tmp_path, monkeypatch):
    base = small_base(tiny_folder)
    config = replace(config_for(base), output=SEMANTIC)
    folder = write(begun(base, config), config, tmp_path / "semantic")
    assert run("check", folder).exit_code == 0
    monkeypatch.setattr(PromptDecoder, "whole", lambda self, embedding, *points: embedding * float("nan"))
    result = run("check", folder)
    assert (result.exit_code, "no numbers; train it again" in result.stderr) == (1, True)


def test_check_says_what_is_wrong(small, home):
    whole = (small / TRAINED).read_bytes()
    (small / TRAINED).write_bytes(whole[:-2])
    result = run("check", small)
    assert (result.exit_code, "trained.safetensors is not the file" in result.stderr) == (1, True)
    (small / TRAINED).write_bytes(whole)
    weights = home / "models/tiny/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2])
    result = run("check", small)
    assert (result.exit_code, "missing or has changed" in result.stderr) == (1, True)
    (home / "models/tiny/provenance.json").unlink()
    result = run("check", small)
    assert (result.exit_code, "needs the backbone tiny" in result.stderr) == (1, True)


def test_check_finds_weights_that_are_no_numbers(home, tiny_folder, tmp_path):
    base = small_base(tiny_folder)
    config = config_for(base)
    network = begun(base, config)
    with torch.no_grad():
        network.backbone.mask_decoder.iou_token.weight.fill_(float("nan"))
    result = run("check", write(network, config, tmp_path / "bad"))
    assert (result.exit_code, "no numbers; train it again" in result.stderr) == (1, True)


@pytest.mark.parametrize("small", ["generator", "backbone"], indirect=True)
def test_a_merged_adapter_gives_the_same_labels_without_torch(small, blobs, tmp_path):
    result = run("merge", small, "-o", tmp_path / "model")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "decode.onnx",
        "encode.onnx",
        "parity.json",
    ]
    expected = segment(blobs[0], load(small))
    assert expected.n_objects >= 8
    merged = segment(blobs[0], load(tmp_path / "model", threads=1))
    assert same_partition(merged.labels, expected.labels)
    PillowImage.fromarray(blobs[0]).save(tmp_path / "a.png")
    script = "import sys; from promptless.cli import app\n"
    script += "try: app(sys.argv[1:])\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", script, "segment", tmp_path / "a.png", "-m", tmp_path / "model", "-o", tmp_path]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert (tmp_path / "a_labels.tif").is_file()


def test_a_merged_model_has_no_place_of_this_machine_in_it(small, tmp_path):
    adapters.merge(small, tmp_path / "model")
    places = [str(tmp_path).encode(), str(small).encode(), b"site-packages", b"/home", b"/usr"]
    for path in (tmp_path / "model").iterdir():
        assert [place for place in places if place in path.read_bytes()] == []


def test_a_merged_model_keeps_what_the_adapter_was_told(small, tmp_path):
    before = ModelConfig.read(small / "config.json")
    changed = replace(before, min_score=0.7, proposals=ProposalConfig(foreground=0.3))
    changed.write(small / "config.json")
    adapters.merge(small, tmp_path / "model")
    after = ModelConfig.read(tmp_path / "model/config.json")
    assert after.onnx == OnnxConfig(OPSET, None, changed.pad)
    assert replace(after, files={}, onnx=None) == replace(changed, adapter=None, files={})


def test_the_card_of_an_adapter_goes_with_it(small, tmp_path):
    (small / "README.md").write_text("# mine\n\nDice .80\n")
    adapters.merge(small, tmp_path / "model")
    card = (tmp_path / "model/README.md").read_text()
    assert card.startswith("# mine\n\nDice .80\n\n## Merged\n\nThis is the model mine as ONNX")


def test_an_adapter_is_exported_in_8_bits_and_refused_when_altered(small, tmp_path, blobs):
    calibrate = [Image.from_array(np.rot90(blobs[0], turns).copy()) for turns in range(4)]
    parity = planar_export.export(small, tmp_path / "model", calibrate, calibrate[:1])
    model = load(tmp_path / "model", threads=1)
    assert (model.config.adapter, model.config.version, model.config.onnx.arithmetic) == (None, "1-int8", "int8")
    assert (parity.images, parity.dice > 0.95) == (1, True)
    assert segment(blobs[0], model).n_objects == segment(blobs[0], load(small)).n_objects
    kinds = {node.op_type for node in onnx.load(tmp_path / "model/encode.onnx").graph.node}
    assert "QuantizeLinear" in kinds
    for path in (tmp_path / "model").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    with (tmp_path / "model/decode.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"decode\.onnx is not the file .* sha256 differs.*; .*export the model again"):
        load(tmp_path / "model")


def test_onnx_is_not_for_adapters_on_published_backbones(large, tmp_path):
    with pytest.raises(ValueError, match=r"mine is an adapter on base, .*`promptless adapter merge` writes it"):
        planar_export.export(large, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_nothing_is_replaced_by_a_merge(small, tmp_path):
    (tmp_path / "model").mkdir()
    result = run("merge", small, "-o", tmp_path / "model")
    assert (result.exit_code, "is there; delete it" in result.stderr) == (1, True)


def test_semantic_output_has_no_onnx_form_yet(home, tiny_folder, tmp_path):
    base = small_base(tiny_folder)
    config = replace(config_for(base), output=SEMANTIC)
    folder = write(begun(base, config), config, tmp_path / "semantic")
    result = run("merge", folder, "-o", tmp_path / "model")
    assert (result.exit_code, "semantic output, which has no ONNX form yet" in result.stderr) == (1, True)
    assert not (tmp_path / "model").exists()


def test_a_merged_published_backbone_is_a_backbone(large, tmp_path):
    result = run("merge", large, "-o", tmp_path / "merged")
    assert (result.exit_code, "ONNX is for the small base only" in result.stdout) == (0, True), result.stderr
    library.add(tmp_path / "merged/model.safetensors", "again", licence="CC0-1.0")
    image = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        expected = load(large).network.encode(image).embedding
        assert torch.allclose(library.load("again").encode(image), expected, atol=1e-4)
        mean, std = (torch.tensor(v)[:, None, None] for v in (backbones.MEAN, backbones.STD))
        theirs = SamModel.from_pretrained(tmp_path / "merged").eval().get_image_embeddings((image - mean) / std)
    assert torch.allclose(theirs, expected, atol=1e-4)
    assert str(tmp_path).encode() not in (tmp_path / "merged/config.json").read_bytes()


def test_an_adapter_on_a_published_backbone_segments_in_tiles_that_fit(large, rng):
    picture = rng.integers(0, 255, (300, 280)).astype(np.uint8)
    result = segment(picture, load(large))
    assert (result.manifest["arguments"]["tile"], result.manifest["arguments"]["halo"]) == (192, 32)
    assert result.manifest["tiles"] == 4
    with pytest.raises(ValueError, match=r"tiles of 1024 pixels with 32 around them.* make 1088 .* at most 256"):
        segment(picture, load(large), tile=1024)
