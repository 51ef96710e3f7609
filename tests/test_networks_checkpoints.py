from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from promptless.networks.backbones import file_state, skeleton
from promptless.networks.checkpoints import POSITIONS, fit, read
from reference import SMALL, meta_state


class Code:
    """What `torch.load` must not build."""


@pytest.fixture(scope="module")
def published():
    return meta_state(SMALL)


def saved(content, path):
    torch.save(content, path)
    return path


def fits(state):
    return fit(state, file_state(skeleton("small", SMALL)))


def test_names_and_shapes_are_those_of_transformers(published, tmp_path):
    assert fits(read(saved(published, tmp_path / "sam.pth")).state) == ((), (), ())


@pytest.mark.parametrize(
    ("content", "left_out"),
    [
        (lambda state: state, ()),
        (lambda state: {f"module.{k}": v for k, v in state.items()}, ()),
        (lambda state: {"model": state, "optimizer": {"lr": 1}, "epoch": 3}, ("optimizer", "epoch")),
        (
            lambda state: {"model_state": {f"sam.{k}": v for k, v in state.items()}, "decoder_state": {"a": state}},
            ("decoder_state (micro-sam's instance segmentation decoder)",),
        ),
        (lambda state: {**state, "decoder_state": {"base.weight": torch.zeros(3)}}, ("decoder_state",)),
    ],
    ids=["Meta", "DataParallel", "MedSAM in training", "micro-sam, PathoSAM", "micro-sam, flat"],
)
def test_what_training_codes_put_around_the_weights_is_taken_off_and_named(published, tmp_path, content, left_out):
    found = read(saved(content(published), tmp_path / "sam.pth"))
    assert fits(found.state) == ((), (), ())
    assert all(value.startswith(start) for value, start in zip(found.left_out, left_out, strict=True))
    plain = read(saved(published, tmp_path / "plain.pth")).state
    assert all(torch.equal(found.state[name], value) for name, value in plain.items())


def test_the_layout_of_transformers_is_read_as_it_is(published, tmp_path):
    state = read(saved(published, tmp_path / "sam.pth")).state
    save_file(state, tmp_path / "once.safetensors")
    twice = {**state, "prompt_encoder.shared_embedding.positional_embedding": state[POSITIONS].clone()}
    save_file(twice, tmp_path / "twice.safetensors")
    for name in ("once", "twice"):
        again = read(tmp_path / f"{name}.safetensors").state
        assert again.keys() == state.keys()
        assert all(torch.equal(again[key], value) for key, value in state.items())


def test_two_positional_matrices_that_differ_are_refused(published, tmp_path):
    state = read(saved(published, tmp_path / "sam.pth")).state
    save_file(
        {**state, "prompt_encoder.shared_embedding.positional_embedding": state[POSITIONS] + 1},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(ValueError, match="two positional matrices"):
        read(tmp_path / "a.safetensors")


def test_half_precision_is_read_as_single(published, tmp_path):
    half = {name: value.half() for name, value in published.items()}
    assert {value.dtype for value in read(saved(half, tmp_path / "sam.pth")).state.values()} == {torch.float32}


def test_all_that_does_not_fit_is_listed(published, tmp_path):
    state = dict(published)
    del state["image_encoder.neck.0.weight"]
    state["image_encoder.adapter.weight"] = torch.zeros(1)
    state["mask_decoder.mask_tokens.weight"] = torch.zeros(9, 32)
    report = fits(read(saved(state, tmp_path / "sam.pth")).state)
    assert report.missing == ("vision_encoder.neck.conv1.weight",)
    assert report.unexpected == ("vision_encoder.adapter.weight",)
    with pytest.raises(ValueError, match=r"missing: .*conv1.*unexpected: .*adapter.*mismatched: .*\(9, 32\)"):
        report.check("sam.pth", "sam_vit_b")


def test_a_long_list_is_cut_in_the_message_and_not_in_the_value():
    report = fits({})
    assert len(report.missing) == len(meta_state(SMALL))
    with pytest.raises(ValueError, match=rf"and {len(report.missing) - 12} more$"):
        report.check("sam.pth", "sam_vit_b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Code(), "Python objects"),
        ([torch.zeros(1)], "holds a list"),
        ({"model": {"a": torch.zeros(1)}, "notes": "x"}, "also holds notes"),
        ({"a": torch.zeros(1), "b": 3}, "also holds b"),
    ],
)
def test_what_is_not_named_weights_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(saved(content, tmp_path / "sam.pth"))


@pytest.mark.parametrize("name", ["sam.pth", "sam.safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<html>please log in</html>")
    with pytest.raises(ValueError, match="damaged"):
        read(tmp_path / name)


def test_half_a_checkpoint_is_refused(published, tmp_path):
    path = saved(published, tmp_path / "sam.pth")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="damaged"):
        read(path)
