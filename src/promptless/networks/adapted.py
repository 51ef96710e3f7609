"""A frozen backbone with what an adapter adds: LoRA, a prompt generator, a mask decoder of its own (SAC)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from promptless.config import SEMANTIC, AdapterConfig, ModelConfig
from promptless.networks import lora
from promptless.networks.backbones import Backbone
from promptless.networks.checkpoints import fit, half, single
from promptless.networks.promptable import Encoded
from promptless.networks.sam import PromptDecoder
from promptless.networks.unet import UNet, fitted_heads

GENERATOR, TRAINED = "generator.safetensors", "trained.safetensors"


class Adapted(nn.Module):
    """Segment Any Cell's network (arXiv 2401.13220); images are (batch, 3, *spatial) in [0, 1].

    What trains: the prompt generator, LoRA on q and v of every attention layer of the image encoder, and the parts
    of the backbone that the configuration names, which then have memory of their own. All else is the backbone's.
    """

    def __init__(self, backbone: Backbone, generator: UNet, config: ModelConfig) -> None:
        super().__init__()
        if config.adapter is None:
            raise ValueError(f"{config.name} is no adapter")
        self.config, self.output = config.adapter, config.output
        check(backbone, generator, config, self.config)
        self.generator = generator
        self.encoder = encoder(backbone, self.config)
        for part in self.trained().values():
            own_memory(part)
        window = config.window
        parts = self.backbone.prompt_encoder, self.backbone.mask_decoder
        self.decoder = PromptDecoder(*parts, window.stride, window.cells)

    @property
    def backbone(self) -> Backbone:
        """The backbone with its LoRA."""
        if isinstance(self.encoder, PeftModel):
            return cast(Backbone, self.encoder.base_model.model)
        return self.encoder

    def trained(self) -> dict[str, nn.Module]:
        """Return the parts of the backbone that are trained whole, by name."""
        return {name: part_of(self.backbone, name) for name in self.config.trained}

    def train(self, mode: bool = True) -> Adapted:
        """Set the training mode of the generator; what is frozen never drops out, nor counts batch statistics."""
        super().train(mode)
        self.encoder.eval()
        return self

    def encode(self, image: Tensor) -> Encoded:
        """Return the image embedding, for semantic output with that of the padding, and the generator's maps."""
        features = self.generator(image)
        shared = features.embedding if self.config.features == "generator" else None
        look = self.backbone.encode_padded if self.output == SEMANTIC else self.backbone.encode
        return Encoded(look(image, shared), features.maps)


def encoder(backbone: Backbone, config: AdapterConfig) -> PeftModel | Backbone:
    """Return a backbone with LoRA in its image encoder, where the rank is not 0."""
    if not config.rank:
        return lora.sharing(backbone)
    return lora.adapt(backbone, config.rank, config.alpha, config.dropout)


def check(backbone: Backbone, generator: UNet, model: ModelConfig, config: AdapterConfig) -> None:
    """Raise where an adapter does not go with a backbone."""
    if backbone.digest != config.sha256:
        raise ValueError(
            f"the adapter is for {config.backbone} (sha256 {config.sha256}), "
            f"not for {backbone.name} (sha256 {backbone.digest}); load the backbone that it was trained on"
        )
    if model.window.stride != backbone.stride:
        raise ValueError(
            f"window.stride is {model.window.stride}, but a cell of {backbone.name}'s embedding has "
            f"{backbone.stride} pixels per side"
        )
    if backbone.image_size is not None and (model.input_size or 0) > backbone.image_size:
        raise ValueError(
            f"{model.name} has an input size of {model.input_size}, but {backbone.name} takes at most "
            f"{backbone.image_size} pixels per side: set input_size to this"
        )
    if config.features == "generator":
        if backbone.trunk is None:
            raise ValueError(f'features = "generator" is for our small base; {backbone.name} has no place for them')
        if backbone.trunk.widths[2] != generator.widths[2]:
            raise ValueError(f"the generator must be as wide as {backbone.name}'s own for its features to be shared")


def part_of(backbone: Backbone, name: str) -> nn.Module:
    """Return a part of a backbone by the name that `AdapterConfig.trained` has for it."""
    parts: dict[str, nn.Module | None] = {
        "mask_decoder": backbone.mask_decoder,
        "prompt_encoder": backbone.prompt_encoder,
        "neck": backbone.image_encoder.neck,
        "image_encoder": backbone.image_encoder,
        "project": backbone.project,
    }
    part = parts[name]
    if part is None:
        raise ValueError(f"{backbone.name} has no {name!r} to train")
    return part


def own_memory(part: nn.Module) -> None:
    """Let a part train, without touching whoever shares its weights."""
    for parameter in part.parameters():
        parameter.data = parameter.detach().clone()
        parameter.requires_grad_(True)


def save(network: Adapted, folder: Path) -> tuple[str, ...]:
    """Write an adapter's weights: LoRA in PEFT's layout, all else in half precision; return the names of the files."""
    if isinstance(network.encoder, PeftModel):
        lora.save(network.encoder, folder)
    save_file(half(network.generator.state_dict()), folder / GENERATOR)
    save_file(half(trained_state(network)), folder / TRAINED)
    return files(network.config)


def files(config: AdapterConfig) -> tuple[str, ...]:
    """Return the names of the files that hold an adapter's weights."""
    return (*((lora.WEIGHTS, lora.CONFIG) if config.rank else ()), GENERATOR, TRAINED)


def load(backbone: Backbone, folder: Path, config: ModelConfig) -> Adapted:
    """Return the adapter in a folder on the backbone that it was trained on, frozen, for `config` read from there."""
    if config.adapter is None:
        raise ValueError(f"{folder} holds no adapter")
    network = Adapted(backbone, UNet(config.adapter.generator, config.maps), config)
    network.generator.load_state_dict(whole(folder / GENERATOR, network.generator.state_dict()))
    state = whole(folder / TRAINED, trained_state(network))
    for name, part in network.trained().items():
        part.load_state_dict({key: state[f"{name}.{key}"] for key in part.state_dict()})
    if isinstance(network.encoder, PeftModel):
        lora.fill(network.encoder, folder)
    return network.eval().requires_grad_(False)


def trained_state(network: Adapted) -> dict[str, Tensor]:
    """Return the weights of the trained parts, each under the part's name."""
    return {f"{name}.{key}": v for name, part in network.trained().items() for key, v in part.state_dict().items()}


def whole(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights in a file, which must be those that are wanted, in single precision."""
    state = single(load_file(path))
    fit(state, wanted).check(str(path), "the adapter that its config.json describes")
    return state


def merged(network: Adapted) -> Backbone:
    """Return the backbone with everything that was trained in its weights."""
    if isinstance(network.encoder, PeftModel):
        return lora.merge(network.encoder)
    return lora.sharing(network.encoder)


def plain(network: Adapted, config: ModelConfig) -> Adapted:
    """Return the same network, frozen, with its LoRA in the weights; `config` is the adapter's."""
    if config.adapter is None:
        raise ValueError(f"{config.name} is no adapter")
    without = replace(config, adapter=replace(config.adapter, rank=0))
    generator = lora.sharing(network.generator)
    return Adapted(merged(network), generator, without).eval().requires_grad_(False)


def n_trainable(network: nn.Module) -> int:
    """Return how many parameters train."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def begun(backbone: Backbone, config: ModelConfig) -> Adapted:
    """Return a fresh adapter: it answers as the backbone does, whose own U-Net, if it is as wide, is the generator."""
    if config.adapter is None:
        raise ValueError(f"{config.name} is no adapter")
    generator = UNet(config.adapter.generator, config.maps)
    if backbone.trunk is not None and backbone.trunk.widths == generator.widths:
        inherit(generator, backbone.trunk)
    return Adapted(backbone, generator, config)


def inherit(generator: UNet, trunk: UNet) -> None:
    """Give a generator the weights of another of the same widths; of the maps, those that both have."""
    generator.load_state_dict(fitted_heads(trunk.state_dict(), generator.state_dict()))
