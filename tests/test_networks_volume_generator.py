from __future__ import annotations

import pytest
import torch

from promptless.networks.volume.generator import DenseGenerator, Points, spots

WIDTHS = (16, 32, 64, 128, 160)


def generator(points=0):
    torch.manual_seed(0)
    return DenseGenerator(6, (4, 6, 8), points)


def test_at_published_widths_it_has_the_published_size():
    with torch.device("meta"):
        made = DenseGenerator(256, WIDTHS)
        prompt = made(torch.empty(1, 256, 32, 32, 32))
    assert sum(p.numel() for p in made.parameters()) == 4_255_232
    assert prompt.shape == (1, 256, 32, 32, 32)
    assert [up[0][0].in_channels for up in made.up] == [48, 96, 192, 288]


@pytest.mark.parametrize("grid", [(8, 8, 8), (5, 7, 3), (1, 1, 1), (1, 9, 2)])
def test_grids_of_any_shape_have_a_prompt(grid):
    features = torch.randn(2, 6, *grid)
    with torch.inference_mode():
        prompt = generator()(features)
        assert prompt.shape == features.shape
        assert prompt.isfinite().all()
        apart = torch.cat([generator()(item[None]) for item in features])
    assert not torch.equal(prompt[0], prompt[1])
    assert torch.allclose(prompt, apart, atol=1e-5)


def test_without_points_nothing_changes_and_fresh_points_change_nothing():
    plain, asked = generator(), generator(points=2)
    asked.load_state_dict(plain.state_dict(), strict=False)
    features, drawn = torch.randn(1, 6, 5, 5, 5), torch.rand(1, 2, 5, 5, 5)
    with torch.inference_mode():
        expected = plain(features)
        assert torch.equal(asked(features), expected)
        assert torch.equal(asked(features, drawn), expected)
        torch.nn.init.normal_(asked.points.weight)
        assert torch.equal(asked(features), expected)
        assert torch.equal(asked(features, torch.zeros_like(drawn)), expected)
        assert (asked(features, drawn) - expected).abs().max() > 1e-3


def test_the_weights_of_points_learn_from_the_start():
    made = generator(points=1)
    made(torch.randn(1, 6, 4, 4, 4), torch.rand(1, 1, 4, 4, 4)).square().sum().backward()
    assert made.points.weight.grad.abs().sum() > 0


def test_points_for_a_model_without_them_are_refused():
    with pytest.raises(ValueError, match="made without user points"):
        generator()(torch.randn(1, 6, 4, 4, 4), torch.rand(1, 1, 4, 4, 4))


@pytest.mark.parametrize("shape", [(5,), (4, 7), (4, 7, 3)])
def test_a_spot_is_brightest_at_its_cell(shape):
    cell = tuple(n // 2 for n in shape)
    coords = torch.tensor([[[4 * i + 1.5 for i in cell], [0.0] * len(shape)]])  # the middle of a cell of four voxels
    drawn = spots(Points(coords, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])), shape, stride=4)
    assert drawn.shape == (1, 2, *shape)
    assert drawn[0, 0][cell] == 1
    assert (drawn[0, 0] == 1).sum() == 1
    assert not drawn[0, 1].any()
    beside = (cell[0] - 1, *cell[1:])
    assert torch.isclose(drawn[0, 0][beside], torch.tensor(-0.5).exp())


def test_a_point_against_something_is_negative():
    drawn = spots(Points(torch.tensor([[[1.5]]]), torch.tensor([[[-1.0]]])), (3,), stride=4)
    assert drawn.min() == drawn[0, 0, 0] == -1
