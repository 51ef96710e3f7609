"""Adapters made by hand: on the tiny model as a small base, and on a published architecture of 60,000 weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import torch

from promptless.config import AdapterConfig, ModelConfig, WindowConfig
from promptless.io.hashes import sha256
from promptless.library import PROVENANCE, Provenance
from promptless.networks import adapted
from promptless.networks.backbones import load_promptable, load_published
from promptless.networks.checkpoints import WEIGHTS, read
from reference import SMALL, meta_state

WIDTHS = (4, 8, 16)


def small_base(folder):
    """Return the tiny model's folder as a backbone."""
    return load_promptable(folder, sha256(folder / WEIGHTS))


def published(folder):
    """Return a published backbone made in `folder`."""
    from safetensors.torch import save_file

    torch.save(meta_state(SMALL), folder / "sam.pth")
    save_file(read(folder / "sam.pth").state, folder / WEIGHTS, metadata={"format": "pt"})
    return load_published("sam_vit_b", folder, sha256(folder / WEIGHTS), SMALL)


def config_for(backbone, **adapter):
    """Return the configuration of an adapter on a backbone."""
    chosen = {"rank": 2, "generator": WIDTHS, **adapter}
    return ModelConfig(
        name="mine",
        version="1",
        licence="CC0-1.0",
        pad=16,
        align=32,
        window=WindowConfig(stride=backbone.stride, cells=8, chunk=4),
        input_size=backbone.image_size,
        adapter=AdapterConfig(backbone.name, backbone.digest, **chosen),
    )


def learned(network, seed=0):
    """Give every trainable weight a little noise, as if it had learned something; return the network, frozen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.eval().requires_grad_(False)


def write(network, config, folder):
    """Write an adapter's folder, as training does, and return it."""
    folder.mkdir(parents=True)
    names = adapted.save(network, folder)
    replace(config, files={name: sha256(folder / name) for name in names}).write(folder / "config.json")
    return folder


def keep(model_folder, home, name="tiny"):
    """Keep a model that training made as a small base in PROMPTLESS_HOME."""
    folder = home / "models" / name
    shutil.copytree(model_folder, folder)
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    values = Provenance("nuclei", "made up", "0" * 64, "CC0-1.0", (), files)
    (folder / PROVENANCE).write_text(json.dumps(asdict(values)))
    return folder
