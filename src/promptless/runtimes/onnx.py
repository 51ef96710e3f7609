"""Models run by onnxruntime: small to install, quick to start, fast on a CPU."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from promptless.config import ModelConfig
from promptless.crops import filled
from promptless.image import Shape
from promptless.model import Array, Decoded, ImageEmbedding, Room, Undecoding, undecoded

ENCODE, DECODE = "encode.onnx", "decode.onnx"
NETWORK = "network.onnx"
"""The file of a model on volumes."""


class OnnxModel:
    """A model folder's ONNX files in two sessions."""

    def __init__(self, folder: Path, config: ModelConfig, threads: int | None = None) -> None:
        self.config = config
        self._encode = session(folder / ENCODE, threads)
        self._decode = session(folder / DECODE, threads)

    def encode(self, image: Array) -> ImageEmbedding:
        """Look at an image; see `promptless.model.Model`."""
        features, maps = self._encode.run(("embedding", "maps"), {"image": image[None]})
        return ImageEmbedding(np.asarray(features)[0], np.asarray(maps)[0])

    def decode(
        self,
        windows: Array,
        point_coords: Array,
        point_labels: NDArray[np.int64],
        mask_logits: Array,
        has_mask: NDArray[np.bool_],
    ) -> Decoded:
        """Answer prompts; see `promptless.model.Model`."""
        inputs = {
            "windows": windows,
            "point_coords": point_coords,
            "point_labels": point_labels,
            "mask_logits": mask_logits,
            "has_mask": has_mask,
        }
        logits, iou = self._decode.run(("low_res_logits", "iou_predictions"), inputs)
        return Decoded(np.asarray(logits), np.asarray(iou))


class OnnxVoxelModel:
    """A model on volumes in one session; see `promptless.model.VoxelModel`."""

    def __init__(self, folder: Path, config: ModelConfig, threads: int | None = None) -> None:
        if config.onnx is None:
            raise ValueError(f"{config.name} has {NETWORK}, and does not say what it takes (onnx); export it again")
        self.config, self.limits = config, config.onnx
        self._network = session(folder / NETWORK, threads)

    def logits(self, crops: Array) -> Array:
        """Return the logits of crops; see `promptless.model.VoxelModel`."""
        (logits,) = self._network.run(("logits",), {"crops": self.taken(crops)})
        answer: Array = np.asarray(logits)[(slice(None), slice(None), *(slice(n) for n in crops.shape[2:]))]
        return answer

    def taken(self, crops: Array) -> Array:
        """Return crops as the file takes them, filled up with zeros behind; raise where it does not take them."""
        shape, limits = crops.shape[2:], self.limits
        if limits.crop is not None and shape != limits.crop:
            asked, able = (" x ".join(map(str, sides)) for sides in (shape, limits.crop))
            raise ValueError(
                f"the {NETWORK} of {self.config.name} takes crops of {able} voxels alone, not of {asked}; leave the "
                "size of crops (--tile) to the model, or run it with torch"
            )
        whole = filled(shape, limits.multiple)
        behind = [(0, n - size) for size, n in zip(shape, whole, strict=True)]
        return np.ascontiguousarray(np.pad(crops, [(0, 0), (0, 0), *behind]))

    def room(self, crop: Shape) -> Room:
        """Return about what memory a crop takes; see `promptless.model.MeasuredVoxelModel`."""
        return Room(self.limits.bytes_per_voxel * prod(filled(crop, self.limits.multiple)))


class OnnxDirect(Undecoding):
    """A model folder's one ONNX file, from an image to maps."""

    def __init__(self, folder: Path, config: ModelConfig, threads: int | None = None) -> None:
        self.config = config
        self._encode = session(folder / ENCODE, threads)

    def encode(self, image: Array) -> ImageEmbedding:
        """Look at an image; see `promptless.model.Model`."""
        (maps,) = self._encode.run(("maps",), {"image": image[None]})
        return undecoded(np.asarray(maps)[0])


def session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU, with `threads` threads or as many as the process may use."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # plans memory per input size: more of it, and no faster here
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
