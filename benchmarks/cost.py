"""Seconds, memory and megabytes of a model."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from images import embedded, samples, timed
from promptless import load, propose, segment
from promptless.image import Image
from promptless.model import Model
from promptless.prompts import Prompts
from promptless.windows import decode


def cost(model_name: str) -> None:
    """Print seconds, memory and megabytes."""
    model = load(model_name)
    image, n_objects = hundred_nuclei()
    print(f"image: 512 x 512, {n_objects} nuclei in the truth; {len(os.sched_getaffinity(0))} cores; medians of 7")
    warm(model, image)
    fresh(model_name, image)
    per_object(model)
    whole_against_windows(model_name, image)
    print(f"core install: {install_size():.0f} MB")


def hundred_nuclei() -> tuple[Image, int]:
    """Return the 512 x 512 corner of the dev image whose number of nuclei is nearest to 100."""
    large = [s for s in samples("dev") if min(s.labels.shape) >= 512]
    counts = [len(np.unique(s.labels[:512, :512])) - 1 for s in large]
    best = int(np.argmin([abs(n - 100) for n in counts]))
    return Image(large[best].pixels[:, :512, :512]), counts[best]


def warm(model: Model, image: Image) -> None:
    """Print the time of `segment` in a process that is running, and of its steps."""
    result = segment(image, model)
    print(f"segment, warm: {timed(lambda: segment(image, model)):.3f} s for {result.n_objects} objects")
    print(f"  steps: {segment(image, model).manifest['seconds']}")
    with tempfile.TemporaryDirectory() as folder:
        print(f"  and saving all outputs: {timed(lambda: replace(result).save(folder), 3):.3f} s")


def fresh(model_name: str, image: Image) -> None:
    """Print the time and the peak memory of the command on one image, everything included."""
    folder = Path(tempfile.mkdtemp())
    PillowImage.fromarray(image.data[0]).save(folder / "image.png")
    command = [sys.executable, "-m", "promptless.cli", "segment", str(folder / "image.png"), "-m", model_name]
    command += ["-o", str(folder / "out"), "--overwrite", "-q"]
    seconds = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"fresh process, all outputs: {seconds:.2f} s, peak memory {peak:.0f} MB")
    shutil.rmtree(folder)


def per_object(model: Model) -> None:
    """Print the time per object with 100 and with 1,000 objects."""
    disc = np.hypot(*(np.indices((1024, 1024)) % 32 - 16)) < 9
    _, (features, maps) = embedded(Image(disc[None].astype(np.uint8) * 200), model)
    prompts = propose.propose(maps, model.config.proposals)
    rounds = -(-1000 // max(1, len(prompts)))
    items = (prompts.items * rounds)[:1000]
    if len(items) < 1000:
        print("per object: the generator saw nothing in the drawn discs")
        return
    each = {
        n: timed(lambda n=n: decode(model, features, Prompts(prompts.shape, items[:n])), 5) / n for n in (100, 1000)
    }
    print(f"decoding per object: {each[100] * 1e3:.2f} ms of 100, {each[1000] * 1e3:.2f} ms of 1,000: ", end="")
    print(f"ratio {each[1000] / each[100]:.2f}")


def whole_against_windows(model_name: str, image: Image, n: int = 20) -> None:
    """Print how much longer a prompt takes on the whole embedding than on its window, both under torch.

    The cost of a prompt does not depend on how many others there are, so `n` stand for 500.
    """
    import torch

    from promptless.networks.promptable import PromptableSize
    from promptless.networks.sam import PromptDecoder

    model = load(model_name, runtime="torch")
    features = embedded(image, model)[1].features
    size = PromptableSize.from_dict(model.config.network)
    window, tokens = model.config.window, model.config.window.points + 2
    seconds = {}
    for name, cells in (("whole", features.shape[-1]), ("window", window.cells)):
        decoder = PromptDecoder.fresh(size.sam, window.stride, cells)
        decoder.load_state_dict(model.network.decoder.state_dict())
        part = torch.from_numpy(features[None, :, :cells, :cells]).expand(n, -1, -1, -1)
        pixels = cells * window.stride
        inputs = torch.rand(n, tokens, 2) * pixels, torch.ones(n, tokens, dtype=torch.int64)
        masks = torch.zeros(n, 1, pixels, pixels), torch.zeros(n, dtype=torch.bool)
        with torch.inference_mode():
            seconds[name] = timed(lambda d=decoder, p=part, i=inputs, m=masks: d.outputs(p, *i, *m, multimask=False), 3)
    ratio = seconds["whole"] / seconds["window"]
    print(f"whole embedding against windows, 500 prompts: {ratio:.1f} x (torch, {n} prompts each)")


def install_size() -> float:
    """Return the megabytes of promptless and all that its core requires, without pip."""
    todo, seen = ["promptless"], set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            needs = [r for r in metadata.requires(name) or [] if "extra ==" not in r]
            todo += [canonical(re.split(r"[^\w.-]", need)[0]) for need in needs if installed(need)]
    files = {Path(str(f.locate())) for name in seen for f in metadata.files(name) or []}
    own = Path(sys.modules["promptless"].__file__ or "").parent
    files |= {path for path in own.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def canonical(name: str) -> str:
    """Return a package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(requirement: str) -> bool:
    """Return whether a requirement's package is here; one for other platforms is not."""
    try:
        metadata.version(canonical(re.split(r"[^\w.-]", requirement)[0]))
    except metadata.PackageNotFoundError:
        return False
    return True
