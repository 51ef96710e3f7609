"""From a crop to tokens: upsampling, 2D patch embedding and slice embedding, folded into one convolution.

AutoProSAM upsamples a crop of 128^3 to 512^3 by trilinear interpolation, repeats it to three channels, embeds every
slice of it in patches of 16 x 16, and sums 16 slices per token by a depth-wise convolution. All of this is linear,
and a token depends on the few voxels beneath it: for 4 voxels per token on 4 + 2 of them. So it is one convolution of
the crop itself, with a kernel of 6^3 and a stride of 4. Interpolation clamps at the border, which is the same as
repeating the border voxels once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from promptless.networks.volume.layers import grid_of, replicated, shared

STARTS = ("published", "sam")
"""How the slice embedding starts: as `torch` makes it, or as the mean of its slices."""


class PatchEmbedding(nn.Module):
    """Tokens of a crop (batch, 1, *spatial) whose last axis counts the slices.

    `weight` and `bias` are the backbone's 2D patch embedding, whose memory they share, frozen unless told otherwise;
    `slices` is new. The kernel is computed from both at every pass, so that both can learn.
    """

    def __init__(self, projection: nn.Conv2d, upsampling: int, start: str = "published") -> None:
        super().__init__()
        width, self.patch = int(projection.out_channels), int(projection.kernel_size[0])
        if self.patch % upsampling:
            raise ValueError(
                f"upsampling is {upsampling}, which does not divide patches of {self.patch} pixels: "
                "a token must begin at a voxel; take a divisor"
            )
        self.upsampling, self.stride = upsampling, self.patch // upsampling
        self.weight, self.bias = shared(projection.weight), shared(bias_of(projection))
        self.slices = nn.Conv3d(width, width, (1, 1, self.patch), (1, 1, self.patch), groups=width)
        if start == "sam":
            nn.init.constant_(self.slices.weight, 1 / self.patch)
            nn.init.zeros_(bias_of(self.slices))

    def forward(self, crop: Tensor) -> Tensor:
        """Return tokens (batch, *spatial / stride, channel); a last, incomplete token sees the border repeated."""
        shape = crop.shape[2:]
        missing = (self.stride * cells - n for n, cells in zip(shape, grid_of(shape, self.stride), strict=True))
        around = replicated(crop, (1,) * len(shape), tuple(1 + n for n in missing))
        kernel, bias = self.folded()
        return functional.conv3d(around, kernel, bias, stride=self.stride).movedim(1, -1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return the kernel (channel, 1, *(stride + 2)) and the bias (channel) of the convolution that does it all."""
        response = impulse_response(self.patch, self.upsampling).to(self.weight)  # (patch, stride + 2)
        plane = torch.einsum("cyx,yi,xj->cij", self.weight.sum(1), response, response)  # all channels see the same
        line = self.slices.weight[:, 0, 0, 0] @ response  # (channel, stride + 2)
        bias = self.bias * self.slices.weight.flatten(1).sum(1) + bias_of(self.slices)
        return (plane[..., None] * line[:, None, None])[:, None], bias


def bias_of(layer: nn.Conv2d | nn.Conv3d) -> Tensor:
    """Return the bias of a layer that has one, as SAM's embeddings do."""
    assert layer.bias is not None
    return layer.bias


def impulse_response(patch: int, upsampling: int) -> Tensor:
    """Return what each voxel beneath a token contributes to each upsampled pixel of it: (patch, stride + 2).

    The interpolation itself says so, when it is given one impulse after the other.
    """
    impulses = torch.eye(patch // upsampling + 2)[:, None]
    lines = functional.interpolate(impulses, scale_factor=float(upsampling), mode="linear", align_corners=False)
    return lines[:, 0, upsampling : upsampling + patch].T
