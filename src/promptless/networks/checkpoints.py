"""Checkpoints of the SAM family: Meta's layout and that of `transformers`, read into the names of the latter."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = "model.safetensors"
SHOWN = 12
"""How many names of a kind a message lists; `Fit` has them all."""
POSITIONS = "shared_image_embedding.positional_embedding"
"""The positional matrix, which SAM uses twice; files hold it once, under this name."""

HOLDERS = ("model_state", "model", "state_dict")
"""Where training codes keep the weights in a checkpoint: torch-em (micro-sam, PathoSAM), MedSAM, Lightning."""
PREFIXES = ("module.", "sam.")
"""What wrappers put before every name: DataParallel, micro-sam."""
EXTRAS = {
    "decoder_state": "micro-sam's instance segmentation decoder",
    "optimizer_state": "optimiser",
    "optimizer": "optimiser",
    "scheduler_state": "schedule",
    "scaler_state": "loss scale",
    "epoch": "progress",
    "iteration": "progress",
    "best_epoch": "progress",
    "best_metric": "progress",
    "current_metric": "progress",
    "train_time": "progress",
    "timestamp": "progress",
}
"""What checkpoints hold besides SAM. It is not imported, and named to whoever imports."""

SEQUENCES = {
    "image_encoder.neck": ("vision_encoder.neck", {0: "conv1", 1: "layer_norm1", 2: "conv2", 3: "layer_norm2"}),
    "prompt_encoder.mask_downscaling": (
        "prompt_encoder.mask_embed",
        {0: "conv1", 1: "layer_norm1", 3: "conv2", 4: "layer_norm2", 6: "conv3"},
    ),
    "mask_decoder.output_upscaling": (
        "mask_decoder",
        {0: "upscale_conv1", 1: "upscale_layer_norm", 3: "upscale_conv2"},
    ),
}
"""Meta numbers the layers of a sequence, activations included; `transformers` names them."""
RENAMES = (
    *(
        (rf"{re.escape(meta)}\.{number}\.", f"{holder}.{name}.")
        for meta, (holder, names) in SEQUENCES.items()
        for number, name in names.items()
    ),
    (r"image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"image_encoder\.", "vision_encoder."),
    (r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", POSITIONS),
    (r"prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"mask_decoder\.transformer\.layers\.(\d+)\.norm(\d)\.", r"mask_decoder.transformer.layers.\1.layer_norm\2."),
    (r"mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.0\.", r"\1.proj_in."),
    (r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.1\.", r"\1.layers.0."),
    (r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.2\.", r"\1.proj_out."),
)
"""How a name of Meta's begins, and what `transformers` has in its place; the first that fits counts."""


class Checkpoint(NamedTuple):
    """The weights in a file, named as in `transformers`, and what else the file holds."""

    state: dict[str, Tensor]
    left_out: tuple[str, ...]


class Fit(NamedTuple):
    """How the weights of a file and the network they are for agree."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    def check(self, source: str, network: str) -> None:
        """Raise, with all that is wrong, unless the file has every weight of the network and no other."""
        wrong = [f"{what}: {listing(names)}" for what, names in self._asdict().items() if names]
        if wrong:
            raise ValueError(f"{source} does not hold the weights of {network}; nothing was loaded. {'; '.join(wrong)}")


def listing(names: tuple[str, ...]) -> str:
    """Return names for a message, so many that it can be read."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def read(path: Path) -> Checkpoint:
    """Read a checkpoint (.safetensors, or a .pth without code in it) in single precision."""
    state, left_out = unwrap(tensors(path), path)
    if any(name.startswith("image_encoder.") for name in state):
        named = {translate(name): value for name, value in state.items()}
        if len(named) < len(state):
            raise ValueError(f"{path} has weights both in Meta's layout and in that of transformers; keep one of them")
    else:
        named = one_positional_matrix(state, path)
    return Checkpoint(single(named), left_out)


def tensors(path: Path) -> Mapping[str, Any]:
    """Return what a file holds; code in it is never run."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read as weights: it is damaged, or holds Python objects, which are not loaded because "
            "they can run any code; in the program that wrote it, save the state_dict alone"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not named weights; save a state_dict")
    return content


def unwrap(content: Mapping[str, Any], path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the weights in a checkpoint without what training codes put around them, and what else there is."""
    holder = next((name for name in HOLDERS if isinstance(content.get(name), Mapping)), None)
    held = content if holder is None else content[holder]
    left_out = tuple(f"{name} ({what})" for name, what in EXTRAS.items() if name in content)
    state = {name: value for name, value in held.items() if name not in EXTRAS}
    around = [] if holder is None else [name for name in content if name != holder and name not in EXTRAS]
    strange = around + [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(
            f"{path} also holds {', '.join(strange)}, which promptless does not know; save the weights alone"
        )
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state, left_out


def translate(name: str) -> str:
    """Return what `transformers` calls the weight that Meta calls `name`."""
    for pattern, replacement in RENAMES:
        renamed, n = re.subn(rf"^{pattern}", replacement, name)
        if n:
            return renamed
    return name


def one_positional_matrix(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return a state in the layout of `transformers` with the positional matrix in it once."""
    twin = "prompt_encoder.shared_embedding.positional_embedding"
    if twin not in state:
        return state
    if not torch.equal(state.get(POSITIONS, state[twin]), state[twin]):
        raise ValueError(f"{path} has two positional matrices that differ; SAM has one")
    return {name: value for name, value in state.items() if name != twin} | {POSITIONS: state[twin]}


def fit(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> Fit:
    """Compare the names and shapes of weights with those of a network."""
    return Fit(
        missing=tuple(name for name in network if name not in state),
        unexpected=tuple(name for name in state if name not in network),
        mismatched=tuple(
            f"{name} is {tuple(value.shape)} in the file and {tuple(network[name].shape)} in the network"
            for name, value in state.items()
            if name in network and value.shape != network[name].shape
        ),
    )


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state on the CPU with floating-point values in half precision, ready to be written."""
    values = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    return {name: value.detach().cpu().contiguous().clone() for name, value in values.items()}


def single(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a network's state with floating-point values in single precision."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
