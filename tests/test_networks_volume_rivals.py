from __future__ import annotations

import sys

import pytest
import torch

from promptless.networks.volume import rivals
from promptless.networks.volume.rivals import SwinUnetrSizes, UnetSizes
from volumes import random_crop


@pytest.mark.parametrize(
    ("build", "sizes"), [(rivals.unet, UnetSizes((4, 4, 6, 6, 8, 4))), (rivals.swin_unetr, SwinUnetrSizes())]
)
def test_a_rival_takes_crops_of_any_size(build, sizes):
    pytest.importorskip("monai")
    network = build(sizes, 3)
    assert network(random_crop(5, 17, 9)).shape == (1, 3, 5, 17, 9)


def test_the_small_swin_unetr_is_that_of_the_paper():
    pytest.importorskip("monai")
    assert sum(p.numel() for p in rivals.swin_unetr(SwinUnetrSizes(), 14).parameters()) == pytest.approx(
        4.08e6, rel=0.01
    )


def test_what_fits_is_not_padded():
    class Seen(torch.nn.Module):
        def forward(self, crop):
            self.shape = tuple(crop.shape[2:])
            return crop

    seen = Seen()
    crop = random_crop(16, 8, 24)
    assert torch.equal(rivals.AnySize(seen, 4)(crop), crop)
    assert seen.shape == (16, 8, 24)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(ImportError, match=r"pip install 'promptless\[train-volume\]'"):
        rivals.unet(UnetSizes(), 3)
