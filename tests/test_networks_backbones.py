from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from transformers import SamModel

from promptless.networks.backbones import (
    ARCHITECTURES,
    BACKBONES,
    MEAN,
    STD,
    file_state,
    load_published,
    recognise,
    skeleton,
)
from promptless.networks.checkpoints import fit, read, translate
from promptless.registry import WEIGHTS
from reference import SMALL, meta_shapes, meta_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of the small architecture in the layout of transformers."""
    folder = tmp_path_factory.mktemp("small")
    torch.save(meta_state(SMALL), folder / "sam.pth")
    save_file(read(folder / "sam.pth").state, folder / "model.safetensors", metadata={"format": "pt"})
    SMALL.config().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def backbone(folder):
    return load_published("small", folder, "123", SMALL)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_meta_checkpoints_of_every_size_fill_every_weight(name):
    state = {
        translate(key): torch.empty(shape, device="meta") for key, shape in meta_shapes(ARCHITECTURES[name]).items()
    }
    assert fit(state, file_state(skeleton(name, ARCHITECTURES[name]))) == ((), (), ())
    assert recognise(state, "sam.pth") == name


def test_no_weight_is_random(backbone, folder):
    state = read(folder / "model.safetensors").state
    assert not any(value.is_meta for value in backbone.state_dict().values())
    assert all(torch.equal(value, state[name]) for name, value in file_state(backbone).items())


def test_a_loaded_backbone_is_frozen_and_knows_its_sizes(backbone):
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not backbone.training
    assert (backbone.embedding, backbone.patch, backbone.image_size, backbone.digest) == (32, 16, 256, "123")


def test_transformers_loads_the_same_folder(backbone, folder):
    """Its decoder normalises with another epsilon unless the configuration says otherwise."""
    theirs = SamModel.from_pretrained(folder).eval()
    image, points = torch.rand(1, 3, 256, 256), torch.rand(1, 2, 3, 2) * 256
    with torch.inference_mode():
        embedding = backbone.encode(image)
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        assert torch.allclose(embedding, theirs.get_image_embeddings((image - mean) / std), atol=1e-5)
        labels = torch.ones(1, 2, 3, dtype=torch.int64)
        expected = theirs(image_embeddings=embedding, input_points=points, input_labels=labels)
        sparse, dense = backbone.prompt_encoder(points, labels, None, None)
        position = theirs.get_image_wide_positional_embeddings()
        logits, iou = backbone.mask_decoder(embedding, position, sparse, dense, multimask_output=True)
    assert torch.allclose(logits, expected.pred_masks, atol=1e-5)
    assert torch.allclose(iou, expected.iou_scores, atol=1e-5)


def test_the_embedding_depends_on_the_image(backbone):
    one, other = (backbone.encode(torch.rand(1, 3, 256, 256)) for _ in range(2))
    assert one.shape == (1, 32, 16, 16)
    assert (one - other).abs().max() > 0.1


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    state = read(folder / "model.safetensors").state
    del state["vision_encoder.pos_embed"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: vision_encoder\.pos_embed"):
        load_published("small", tmp_path, architecture=SMALL)


def test_unknown_widths_list_the_known_ones():
    with pytest.raises(ValueError, match=r"32 wide; known are 768 \(sam_vit_b\), 1024"):
        recognise({"vision_encoder.patch_embed.projection.weight": torch.zeros(32, 3, 16, 16)}, "a.pth")
    with pytest.raises(ValueError, match="no SAM image encoder"):
        recognise({"trunk.weight": torch.zeros(1)}, "sam2.pth")


def test_the_small_base_is_a_backbone_too():
    small = BACKBONES["nuclei"](WEIGHTS / "nuclei")
    image = torch.rand(1, 3, 128, 256)
    assert small.encode(image).shape == (1, small.embedding, 128 // small.stride, 256 // small.stride)
    assert (small.embedding, small.image_size) == (128, None)
    sparse, dense = small.prompt_encoder(torch.rand(1, 1, 1, 2), torch.ones(1, 1, 1), None, None)
    assert sparse.shape[-1] == dense.shape[1] == small.embedding


@pytest.mark.parametrize(("height", "width"), [(256, 256), (64, 96), (250, 17), (1, 256)])
def test_a_smaller_image_is_padded_and_its_embedding_cut_back(backbone, height, width):
    image = torch.rand(1, 3, height, width)
    embedding = backbone.encode(image)
    mean = torch.tensor(MEAN)[:, None, None]
    whole = mean.expand(3, 256, 256).clone()[None]
    whole[:, :, :height, :width] = image
    rows, columns = -(-height // 16), -(-width // 16)
    assert embedding.shape == (1, 32, rows, columns)
    assert torch.allclose(embedding, backbone.encode(whole)[:, :, :rows, :columns], atol=1e-5)


def test_padding_is_the_mean_colour_after_the_end(backbone):
    padded = backbone.padded(torch.ones(1, 3, 200, 100))
    assert padded.shape == (1, 3, 256, 256)
    assert bool(padded[:, :, :200, :100].eq(1).all())
    assert float(padded.sum()) == 3 * 200 * 100


def test_a_larger_image_is_refused(backbone):
    with pytest.raises(ValueError, match="up to 256 x 256 pixels, but this one has 256 x 272; take smaller tiles"):
        backbone.encode(torch.rand(1, 3, 256, 272))
