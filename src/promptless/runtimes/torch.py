"""Models run by torch: what training made, before or without export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from promptless.config import ModelConfig
from promptless.model import Array, Decoded, ImageEmbedding
from promptless.networks.adapted import Adapted
from promptless.networks.checkpoints import WEIGHTS
from promptless.networks.promptable import Promptable


class TorchModel:
    """A network with its configuration."""

    def __init__(self, network: Promptable | Adapted, config: ModelConfig, threads: int | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.config = config
        self.network = network.eval()

    @classmethod
    def load(cls, folder: Path, config: ModelConfig, threads: int | None = None) -> TorchModel:
        """Load the network in a model folder."""
        return cls(Promptable.load(config.network, folder / WEIGHTS), config, threads)

    @torch.inference_mode()
    def encode(self, image: Array) -> ImageEmbedding:
        """Look at an image; see `promptless.model.Model`."""
        encoded = self.network.encode(torch.from_numpy(image)[None])
        return ImageEmbedding(encoded.embedding[0].numpy(), encoded.maps[0].numpy())

    @torch.inference_mode()
    def decode(
        self,
        windows: Array,
        point_coords: Array,
        point_labels: NDArray[np.int64],
        mask_logits: Array,
        has_mask: NDArray[np.bool_],
    ) -> Decoded:
        """Answer prompts; see `promptless.model.Model`."""
        arrays = (windows, point_coords, point_labels, mask_logits, has_mask)
        logits, iou = self.network.decoder(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))
        return Decoded(logits.numpy(), iou.numpy())

    @torch.inference_mode()
    def whole(self, features: Array, point_coords: Array, point_labels: NDArray[np.int64]) -> Array:
        """Answer one set of points with one mask; see `promptless.model.SemanticModel`."""
        arrays = (features, point_coords, point_labels)
        logits = self.network.decoder.whole(*(torch.from_numpy(np.ascontiguousarray(a))[None] for a in arrays))
        answer: Array = logits[0].numpy()
        return answer
