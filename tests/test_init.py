from __future__ import annotations

import subprocess
import sys

import pytest

import promptless


def test_every_public_name_can_be_imported():
    assert [getattr(promptless, name).__name__ for name in promptless.__all__] == promptless.__all__


def test_an_unknown_name_lists_the_public_ones():
    with pytest.raises(AttributeError, match=r"segmentt.*load, prompt, segment"):
        promptless.segmentt  # noqa: B018


def test_importing_promptless_imports_nothing_heavy():
    code = "import sys, promptless; print([m for m in ('numpy', 'scipy', 'torch', 'skimage') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_segmenting_does_not_import_torch(tiny_folder):
    code = f"""
import sys
import numpy as np
import promptless
image = np.zeros((64, 64), np.uint8)
image[10:22, 10:22] = image[40:50, 30:44] = 255
found = promptless.segment(image, {str(tiny_folder)!r}, min_score=0)
heavy = [m for m in ("torch", "transformers", "onnx", "pandas", "safetensors") if m in sys.modules]
print(found.n_objects, heavy)
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "2 []\n"
