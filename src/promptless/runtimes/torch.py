"""Models run by torch: what training made, before or without export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptless.config import ModelConfig
from promptless.image import Shape
from promptless.model import Array, Decoded, ImageEmbedding, Room, Undecoding, VoxelAnswer, undecoded
from promptless.networks import devices
from promptless.networks.adapted import Adapted
from promptless.networks.checkpoints import WEIGHTS
from promptless.networks.direct import Direct
from promptless.networks.footprint import peak_bytes
from promptless.networks.promptable import Promptable
from promptless.networks.volume.autoprosam import Answer, AutoProSam
from promptless.networks.volume.generator import of_classes
from promptless.prompts import Points

N = TypeVar("N", bound=nn.Module)


class Placed(Generic[N]):
    """A network with its configuration, on a device: the one that is named, else where the network is."""

    def __init__(self, network: N, config: ModelConfig, threads: int | None = None, device: str | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.config = config
        self.device = next(network.parameters()).device if device is None else devices.find(device)
        self.network = network.eval().to(self.device)

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """Return an array as a tensor on the model's device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


class TorchModel(Placed[Promptable | Adapted]):
    """A promptable network; see `promptless.model.Model`."""

    @classmethod
    def load(
        cls, folder: Path, config: ModelConfig, threads: int | None = None, device: str = devices.AUTO
    ) -> TorchModel:
        """Load the network in a model folder."""
        return cls(Promptable.load(config.network, folder / WEIGHTS), config, threads, device)

    @torch.inference_mode()
    def encode(self, image: Array) -> ImageEmbedding:
        """Look at an image; see `promptless.model.Model`."""
        encoded = self.network.encode(self.tensor(image)[None])
        return ImageEmbedding(encoded.embedding[0].cpu().numpy(), encoded.maps[0].cpu().numpy())

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
        arrays: tuple[NDArray[Any], ...] = (windows, point_coords, point_labels, mask_logits, has_mask)
        logits, iou = self.network.decoder(*(self.tensor(array) for array in arrays))
        return Decoded(logits.cpu().numpy(), iou.cpu().numpy())

    @torch.inference_mode()
    def whole(self, features: Array, point_coords: Array, point_labels: NDArray[np.int64]) -> Array:
        """Answer one set of points with one mask; see `promptless.model.SemanticModel`."""
        arrays: tuple[NDArray[Any], ...] = (features, point_coords, point_labels)
        logits = self.network.decoder.whole(*(self.tensor(array)[None] for array in arrays))
        answer: Array = logits[0].cpu().numpy()
        return answer


class TorchDirect(Placed[Direct], Undecoding):
    """A network that finds its objects in one pass; see `promptless.model.Model`."""

    @classmethod
    def load(
        cls, folder: Path, config: ModelConfig, threads: int | None = None, device: str = devices.AUTO
    ) -> TorchDirect:
        """Load the network in a model folder."""
        return cls(Direct.load(config.network, folder / WEIGHTS), config, threads, device)

    @torch.inference_mode()
    def encode(self, image: Array) -> ImageEmbedding:
        """Look at an image; see `promptless.model.Model`."""
        return undecoded(self.network(self.tensor(image)[None])[0].cpu().numpy())


class TorchVoxelModel(Placed[nn.Module]):
    """A network on volumes; see `promptless.model.VoxelModel`."""

    @torch.inference_mode()
    def logits(self, crops: Array) -> Array:
        """Return the logits of crops; see `promptless.model.VoxelModel`."""
        answer: Array = self.network(self.tensor(crops)).float().cpu().numpy()
        return answer

    def room(self, crop: Shape) -> Room:
        """Return about what memory a crop takes; see `promptless.model.MeasuredVoxelModel`."""
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else None
        return Room(peak_bytes(self.network, (1, 1, *crop)), free)


class TorchPromptedVoxelModel(TorchVoxelModel):
    """An AutoProSAM that prompts itself; see `promptless.model.PromptedVoxelModel`."""

    network: AutoProSam

    @torch.inference_mode()
    def answer(self, crops: Array) -> VoxelAnswer:
        """Return the logits of crops, and the length of the dense prompt at each of its cells."""
        return told(self.network.answer(self.tensor(crops)))


class TorchPointedVoxelModel(TorchPromptedVoxelModel):
    """An AutoProSAM that a user can click at; see `promptless.model.PointedVoxelModel`."""

    @torch.inference_mode()
    def corrected(self, crops: Array, points: Points) -> VoxelAnswer:
        """Return the answer to a crop, told the classes at some points."""
        places, classes = (self.tensor(array[None]) for array in (points.coords, points.labels))
        given = of_classes(places, classes, self.network.config.points)
        return told(self.network.answer(self.tensor(crops), given))


def told(answer: Answer) -> VoxelAnswer:
    """Return what a network that prompts itself answers as arrays, of its prompt the length."""
    assert answer.prompt is not None
    return VoxelAnswer(answer.logits.float().cpu().numpy(), answer.prompt.float().norm(dim=1).cpu().numpy())


def voxel_model(
    network: nn.Module, config: ModelConfig, threads: int | None = None, device: str | None = None
) -> TorchVoxelModel:
    """Return a network on volumes as a model, one that shows its prompt, or can be clicked at, where that is so."""
    if not isinstance(network, AutoProSam) or network.generator is None:
        return TorchVoxelModel(network, config, threads, device)
    pointed = network.config.points == network.config.classes
    return (TorchPointedVoxelModel if pointed else TorchPromptedVoxelModel)(network, config, threads, device)
