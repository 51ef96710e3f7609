from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import settings

from made_up import NullModel, discs, picture, scattered
from promptless.config import Kind, ModelConfig, ProposalConfig, Teacher, WindowConfig
from promptless.export import export, export_direct
from promptless.networks.direct import Direct, DirectSize, inherited
from promptless.networks.promptable import Promptable, PromptableSize
from promptless.networks.sam import SamSize
from promptless.registry import model_hash
from promptless.train.decoder import DecoderTask

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, max_examples=60, derandomize=True, database=None)
settings.load_profile("suite")

SIZE = PromptableSize(
    generator=(4, 8, 16),
    sam=SamSize(embedding=32, patch=8, width=16, layers=1, heads=2, window=4, mlp=64, decoder_heads=2),
    cells=8,
)
STUDENT = DirectSize(widths=(6, 8, 16), fold=2)
CONFIG = ModelConfig(
    name="tiny",
    version="1",
    licence="CC0-1.0",
    kind=Kind(object_px=(6.0, 24.0)),
    pad=8,
    align=32,
    window=WindowConfig(stride=4, cells=8, chunk=4),
    proposals=ProposalConfig(),
    min_score=0.3,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def null_model():
    return NullModel()


@pytest.fixture(scope="session")
def blobs():
    """A grey image (uint8) with nine discs, and its labels, in reading order."""
    places = [(8, 10, 6), (9, 40, 5), (12, 70, 8), (13, 100, 5), (40, 20, 10), (45, 60, 9), (44, 95, 7)]
    labels = discs((80, 112), [*places, (72, 30, 5), (73, 80, 4)])
    return picture(labels), labels


@pytest.fixture(scope="session")
def tiny():
    """A promptable network of 70,000 parameters that knows discs: its generator thresholds the image by hand-made
    weights, its decoder has learned for a few seconds."""
    torch.manual_seed(0)
    network = Promptable(SIZE)
    threshold_the_image(network.generator)
    task = DecoderTask(network, CONFIG.window, CONFIG.proposals, per_image=8, seed=0)
    weights = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=3e-3)
    rng = np.random.default_rng(0)
    for step in range(110):
        losses = task(disc_batch(step, rng))
        optimiser.zero_grad()
        losses["loss"].backward()
        optimiser.step()
    return network.eval()


@pytest.fixture(scope="session")
def tiny_folder(tiny, tmp_path_factory):
    """The model folder of `tiny`."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    export(tiny, CONFIG, folder)
    return folder


@pytest.fixture(scope="session")
def student(tiny):
    """A network of one pass that begins as the prompt generator of `tiny` on half the grid, so it knows discs."""
    torch.manual_seed(0)
    network = Direct(STUDENT)
    network.load_state_dict(inherited(network, tiny.generator))
    return network.eval()


@pytest.fixture(scope="session")
def student_folder(student, tiny_folder, tmp_path_factory):
    """The model folder of `student`, whose teacher is `tiny`."""
    folder = tmp_path_factory.mktemp("students") / "quick"
    teacher = Teacher("tiny", model_hash(ModelConfig.read(tiny_folder / "config.json")), 0.5)
    config = replace(CONFIG, name="quick", output="direct", pad=student.stride, teacher=teacher)
    export_direct(student, config, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_size():
    return SIZE


@pytest.fixture(scope="session")
def tiny_config():
    return CONFIG


def threshold_the_image(generator):
    """Make a U-Net's finest level pass the image on, and its head map brightness 0.5 to a logit of 0."""
    with torch.no_grad():
        for block in (*generator.stem, *generator.up[0]):
            weight = block[0].weight.zero_()
            for channel in range(len(weight)):
                sources = slice(None) if weight.shape[1] == 3 else slice(channel, channel + 1)
                weight[channel, sources, 1, 1] = 1 / 3 if weight.shape[1] == 3 else 1
        generator.lateral[0].weight.zero_()
        generator.head.weight.fill_(20 / generator.head.weight.shape[1])
        generator.head.bias.fill_(-10)


def disc_batch(step, rng, n=4, side=64):
    """Return a batch of noisy pictures of discs with their labels."""
    labels = np.stack([scattered((side, side), (4, 9), 8, rng, gap=2) for _ in range(n)])
    images = np.where(labels > 0, 0.9, 0.1) + rng.normal(0, 0.05, labels.shape)
    return {
        "image": torch.from_numpy(np.repeat(images[:, None], 3, axis=1).astype(np.float32)),
        "labels": torch.from_numpy(labels),
        "index": torch.arange(n) + n * step,
    }
