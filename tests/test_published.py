from __future__ import annotations

import pytest

from promptless import library
from promptless.networks.backbones import ARCHITECTURES
from promptless.published import PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_is_fully_described(name):
    published = PUBLISHED[name]
    assert published.backbone in ARCHITECTURES
    assert published.size > 300e6
    assert published.url.startswith(("https://", "hf://"))
    assert published.page.startswith("https://")
    assert published.licence
    assert published.sha256 is None or len(bytes.fromhex(published.sha256)) == 32
    assert library.place(name)


def test_a_place_on_the_hub_has_a_repository_and_a_file():
    assert PUBLISHED["hub_sam_vit_b"].hub_file == ("facebook/sam-vit-base", "model.safetensors")
    assert PUBLISHED["sam_vit_b"].hub_file is None
