"""Models run by onnxruntime: small to install, quick to start, fast on a CPU."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from promptless.config import ModelConfig
from promptless.model import Array, Decoded, ImageEmbedding

ENCODE, DECODE = "encode.onnx", "decode.onnx"


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
