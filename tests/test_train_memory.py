from __future__ import annotations

import torch
from torch import nn

from promptless.networks import sam
from promptless.networks.sam import SamSize
from promptless.train.memory import sparing, transformer_layers

SIZE = SamSize(embedding=16, patch=8, width=16, layers=3, heads=2, window=4, mlp=32, decoder_heads=2)


class Inside(nn.Module):
    """An image encoder somewhere in a module."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({"encoder": sam.vision_encoder(SIZE)})

    def forward(self, image):
        return sam.encode(self.parts["encoder"], image)


def learned(module, memory):
    """Return the loss, the gradients, and the values that are kept for them."""
    kept = []
    image = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    with sparing(module, memory):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            loss = module(image).square().mean()
        names = list(module.state_dict())
        loss.backward()
    return loss.detach(), {name: p.grad for name, p in module.named_parameters()}, sum(kept), names


def test_lean_memory_gives_the_same_losses_and_gradients():
    (loss, gradients, kept, names), (lean_loss, lean_gradients, lean_kept, lean_names) = (
        learned(Inside(), memory) for memory in ("fast", "lean")
    )
    assert torch.equal(loss, lean_loss)
    assert all(torch.equal(value, lean_gradients[name]) for name, value in gradients.items())
    assert names == lean_names
    assert lean_kept < kept / 2


def test_half_frozen_layers_learn_the_same():
    fast, lean = Inside(), Inside()
    for module, memory in ((fast, "fast"), (lean, "lean")):
        module.requires_grad_(False)
        for layer in transformer_layers(module):
            layer.attn.qkv.requires_grad_(True)
        learned(module, memory)
    for a, b in zip(transformer_layers(fast), transformer_layers(lean), strict=True):
        assert a.attn.qkv.weight.grad.abs().sum() > 0
        assert torch.equal(a.attn.qkv.weight.grad, b.attn.qkv.weight.grad)


def test_after_training_the_layers_are_as_they_were():
    module = Inside()
    before = [dict(layer.__dict__) for layer in transformer_layers(module)]
    with sparing(module, "lean"):
        assert all("forward" in vars(layer) for layer in transformer_layers(module))
    assert [set(layer.__dict__) for layer in transformer_layers(module)] == [set(d) for d in before]


def test_where_nothing_can_be_spared_that_is_said(caplog):
    with sparing(nn.Linear(1, 1), "lean"):
        pass
    assert "no layers of a SAM image encoder" in caplog.text
