"""Weights that others have published, and where: nothing here ships with promptless."""

from __future__ import annotations

import re
from dataclasses import dataclass

SAM_PAGE = "https://github.com/facebookresearch/segment-anything#model-checkpoints"
MICRO_SAM_PAGE = "https://computational-cell-analytics.github.io/micro-sam/micro_sam.html#finetuned-models"
PATHO_SAM_PAGE = "https://github.com/computational-cell-analytics/patho-sam"
HUB = "hf://"
UNSTATED = "see its page"


@dataclass(frozen=True)
class Published:
    """A file of weights. Where `sha256` is not known to us, the first pull pins it, and `size` is approximate.

    `url` is http(s), or hf://OWNER/REPOSITORY/FILE on the Hugging Face hub.
    """

    backbone: str
    url: str
    size: int  # bytes
    licence: str
    page: str
    about: str
    sha256: str | None = None

    @property
    def hub_file(self) -> tuple[str, str] | None:
        """Repository and file name on the Hugging Face hub, None for other places."""
        if not self.url.startswith(HUB):
            return None
        owner, repository, name = self.url.removeprefix(HUB).split("/", 2)
        return f"{owner}/{repository}", name


def on_hub(text: str) -> Published | None:
    """Return what OWNER/NAME is on the Hugging Face hub, in the layout of `transformers`; None for other texts."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", text):
        return None
    return Published("", f"{HUB}{text}/model.safetensors", 0, UNSTATED, f"https://huggingface.co/{text}", "")


PUBLISHED: dict[str, Published] = {
    "sam_vit_b": Published(
        backbone="sam_vit_b",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        size=375_042_383,
        licence="Apache-2.0",
        page=SAM_PAGE,
        about="Segment Anything, ViT-B",
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "sam_vit_l": Published(
        backbone="sam_vit_l",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth",
        size=1_249_524_607,
        licence="Apache-2.0",
        page=SAM_PAGE,
        about="Segment Anything, ViT-L",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "sam_vit_h": Published(
        backbone="sam_vit_h",
        url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
        size=2_564_550_879,
        licence="Apache-2.0",
        page=SAM_PAGE,
        about="Segment Anything, ViT-H",
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "hub_sam_vit_b": Published(
        backbone="sam_vit_b",
        url="hf://facebook/sam-vit-base/model.safetensors",
        size=375_000_000,
        licence="Apache-2.0",
        page="https://huggingface.co/facebook/sam-vit-base",
        about="Segment Anything, ViT-B, from the Hugging Face hub",
    ),
    "hub_sam_vit_l": Published(
        backbone="sam_vit_l",
        url="hf://facebook/sam-vit-large/model.safetensors",
        size=1_249_000_000,
        licence="Apache-2.0",
        page="https://huggingface.co/facebook/sam-vit-large",
        about="Segment Anything, ViT-L, from the Hugging Face hub",
    ),
    "hub_sam_vit_h": Published(
        backbone="sam_vit_h",
        url="hf://facebook/sam-vit-huge/model.safetensors",
        size=2_564_000_000,
        licence="Apache-2.0",
        page="https://huggingface.co/facebook/sam-vit-huge",
        about="Segment Anything, ViT-H, from the Hugging Face hub",
    ),
    "medsam_vit_b": Published(
        backbone="sam_vit_b",
        url="https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        size=375_049_145,
        licence="Apache-2.0",
        page="https://github.com/bowang-lab/MedSAM",
        about="MedSAM: medical images of many kinds, prompted with boxes",
        sha256="34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
    ),
    "vit_b_lm": Published(
        backbone="sam_vit_b",
        url="https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/diplomatic-bug/1.2/files/vit_b.pt",
        size=375_000_000,
        licence=UNSTATED,
        page=MICRO_SAM_PAGE,
        about="micro-sam: cells and nuclei in light microscopy",
    ),
    "vit_l_lm": Published(
        backbone="sam_vit_l",
        url="https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io/idealistic-rat/1.2/files/vit_l.pt",
        size=1_249_000_000,
        licence=UNSTATED,
        page=MICRO_SAM_PAGE,
        about="micro-sam: cells and nuclei in light microscopy",
    ),
    "vit_b_histopathology": Published(
        backbone="sam_vit_b",
        url="https://owncloud.gwdg.de/index.php/s/sBB4H8CTmIoBZsQ/download",
        size=375_000_000,
        licence=UNSTATED,
        page=PATHO_SAM_PAGE,
        about="PathoSAM: nuclei in stained tissue",
    ),
    "vit_l_histopathology": Published(
        backbone="sam_vit_l",
        url="https://owncloud.gwdg.de/index.php/s/IZgnn1cpBq2PHod/download",
        size=1_249_000_000,
        licence=UNSTATED,
        page=PATHO_SAM_PAGE,
        about="PathoSAM: nuclei in stained tissue",
    ),
    "vit_h_histopathology": Published(
        backbone="sam_vit_h",
        url="https://owncloud.gwdg.de/index.php/s/L7AcvVz7DoWJ2RZ/download",
        size=2_564_000_000,
        licence=UNSTATED,
        page=PATHO_SAM_PAGE,
        about="PathoSAM: nuclei in stained tissue",
    ),
}
