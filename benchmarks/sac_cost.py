"""What an adapter on a published backbone costs: each figure in a process of its own, which knows its peak memory.

The weights are random: time and memory do not depend on them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPTS, TOKENS, CHUNK, WINDOWS = 100, 10, 32, 48
"""Prompts of a prediction and points of each, how many are decoded at once, and prompts of a training step."""


def cost(backbone: str, threads: int) -> None:
    """Print seconds, peak memory, parameters and operations."""
    print(f"{backbone}, random weights, {threads} threads, rank 4, mask decoder trained, float32")
    for name, line in LINES.items():
        command = [sys.executable, __file__, name, backbone, str(threads)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            print(f"{name}: {found.stderr.strip().splitlines()[-1]}")
        else:
            print(line.format(**json.loads(found.stdout)), flush=True)


def adapter(backbone: str) -> Any:
    """Return a fresh adapter on a published backbone with random weights, and its configuration."""
    import torch

    from promptless.config import AdapterConfig, ModelConfig, WindowConfig
    from promptless.networks.adapted import begun
    from promptless.networks.backbones import ARCHITECTURES, skeleton

    torch.manual_seed(0)
    base = skeleton(backbone, ARCHITECTURES[backbone], "random").to_empty(device="cpu")
    for name, parameter in base.named_parameters():
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.ones_(parameter)
        else:
            torch.nn.init.normal_(parameter, std=0.02)
    window = WindowConfig(stride=base.stride)
    given = AdapterConfig(backbone, "random")
    return begun(base, ModelConfig("cost", "0", "none", window=window, input_size=base.image_size, adapter=given))


def size(backbone: str) -> dict[str, Any]:
    """Return the parameters that train, the megabytes of the adapter's files, and the operations of a look."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from promptless.networks import adapted

    network = adapter(backbone)
    with tempfile.TemporaryDirectory() as folder:
        sizes = [(Path(folder) / name).stat().st_size for name in adapted.save(network, Path(folder))]
    lora = sum(p.numel() for name, p in network.encoder.named_parameters() if "lora_" in name)
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.to("meta").backbone.encode(torch.empty(1, 3, 1024, 1024))
    generator = sum(p.numel() for p in network.generator.parameters())
    return {
        "trainable": adapted.n_trainable(network),
        "lora": lora,
        "generator": generator,
        "megabytes": sum(sizes) / 1e6,
        "tera": counter.get_total_flops() / 1e12,
    }


def predict(backbone: str) -> dict[str, Any]:
    """Return the seconds of a prediction: one look at 1024 x 1024 pixels, and 100 prompts on windows."""
    import torch

    network = adapter(backbone).eval()
    decoder = network.decoder
    image = torch.rand(1, 3, 1024, 1024)
    with torch.inference_mode():
        seconds, encoded = timed(lambda: network.encode(image))
        decoding, _ = timed(lambda: [decoder(*asked(decoder, encoded, n)) for n in chunks(PROMPTS, CHUNK)])
    return {"encode": seconds, "decode": decoding}


def step(backbone: str, memory: str) -> dict[str, Any]:
    """Return the seconds of one training step: LoRA, generator and mask decoder, one image, 48 prompts."""
    import torch

    from promptless.train import memory as savings

    network = adapter(backbone).train()
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad])
    image = torch.rand(1, 3, 1024, 1024)

    def one() -> None:
        encoded = network.encode(image)
        logits, iou = network.decoder.outputs(*asked(network.decoder, encoded, WINDOWS), multimask=False)
        ((logits**2).mean() + (iou**2).mean() + (encoded.maps**2).mean()).backward()
        optimiser.step()

    with savings.sparing(network, memory):
        seconds, _ = timed(one)
    return {"seconds": seconds}


def asked(decoder: Any, encoded: Any, n: int) -> tuple[Any, ...]:
    """Return `n` made-up prompts on windows of an embedding."""
    import torch

    starts = torch.linspace(0, encoded.embedding.shape[2] - decoder.cells, n).long().tolist()
    windows = [encoded.embedding[0, :, s : s + decoder.cells, s : s + decoder.cells] for s in starts]
    points = torch.rand(n, TOKENS, 2) * decoder.pixels, torch.ones(n, TOKENS, dtype=torch.int64)
    masks = torch.zeros(n, 1, 4 * decoder.cells, 4 * decoder.cells), torch.ones(n, dtype=torch.bool)
    return (torch.stack(windows), *points, *masks)


def chunks(n: int, most: int) -> list[int]:
    """Return `n` as numbers of at most `most`."""
    return [min(most, n - i) for i in range(0, n, most)]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that something takes, once, and what it returns."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


LINES = {
    "size": "trainable: {trainable:,} parameters, of which LoRA {lora:,} and generator {generator:,}; adapter "
    "{megabytes:.1f} MB on disk; a look takes {tera:.2f} TFLOP (peak {peak:.1f} GB to build and save)",
    "predict": "prediction, 1024 x 1024: encode {encode:.1f} s, 100 prompts on windows {decode:.1f} s, "
    "peak {peak:.1f} GB",
    "step": "training step, batch 1: {seconds:.1f} s, peak {peak:.1f} GB",
    "lean": "training step, batch 1, activations computed again: {seconds:.1f} s, peak {peak:.1f} GB",
}
FIGURES: dict[str, Callable[[str], dict[str, Any]]] = {
    "size": size,
    "predict": predict,
    "step": lambda backbone: step(backbone, "fast"),
    "lean": lambda backbone: step(backbone, "lean"),
}


def main(what: str, backbone: str, threads: str) -> None:
    """Take one figure, and print it as JSON with the peak memory of this process."""
    import torch

    torch.set_num_threads(int(threads))
    found = FIGURES[what](backbone)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps(found | {"peak": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
