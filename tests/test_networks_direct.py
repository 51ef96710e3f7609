from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from promptless.networks.direct import Direct, DirectSize, grown, inherited
from promptless.networks.unet import UNet


def generator(widths=(4, 8, 16)):
    torch.manual_seed(1)
    network = UNet(widths, 2).train()
    network(torch.rand(4, 3, 32, 32))  # so that its norms have something to forget
    return network.eval()


def begun(size, taught):
    torch.manual_seed(2)
    student = Direct(size)
    student.load_state_dict(inherited(student, taught))
    return student.eval()


@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize("widths", [(4, 8, 16), (6, 8, 20)])
def test_a_student_begins_as_the_generator_sees_the_shrunk_image(fold, widths):
    taught, image = generator(), torch.rand(2, 3, 24 * fold, 16 * fold)
    maps = begun(DirectSize(widths, fold), taught)(image)
    shrunk = taught(functional.avg_pool2d(image, fold)).maps
    wanted = shrunk.repeat_interleave(fold, 2).repeat_interleave(fold, 3)
    assert torch.allclose(maps[:, :2], wanted, atol=1e-4)
    assert torch.allclose(maps[:, 2], wanted[:, 0], atol=1e-4)


def test_what_is_new_learns_all_the_same():
    student = begun(DirectSize((6, 8, 16), 2), generator()).train()
    student(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in student.parameters())
    assert student.unet.head.weight.grad[:, 4:].abs().sum() > 0


def test_old_values_stand_in_the_corner_and_hear_nothing_new():
    values = grown(torch.ones(3, 3), torch.full((2, 2), 5.0))
    assert values.tolist() == [[5, 5, 0], [5, 5, 0], [1, 1, 1]]
    assert grown(torch.ones(3), torch.full((2,), 5.0)).tolist() == [5, 5, 1]


@pytest.mark.parametrize("widths", [(2, 8, 16), (4, 8), (4, 8, 16, 32)])
def test_a_narrower_or_another_network_is_refused(widths):
    with pytest.raises(ValueError, match="inherits = false"):
        inherited(Direct(DirectSize(widths)), generator())


@pytest.mark.parametrize(("widths", "fold"), [((4,), 2), ((4, 0), 2), ((4, 8), 0)])
def test_impossible_sizes_are_refused(widths, fold):
    with pytest.raises(ValueError, match="a U-Net has two levels at least"):
        DirectSize(widths, fold)


def test_sides_are_multiples_of_the_stride():
    student = Direct(DirectSize((4, 8, 16), 2)).eval()
    assert student.stride == 8
    assert student(torch.rand(1, 3, 8, 24)).shape == (1, 3, 8, 24)
