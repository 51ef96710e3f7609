from __future__ import annotations

import pytest

from promptless.io.hashes import sha256
from promptless.io.manifests import read, vouches, written


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    path = tmp_path / "a_manifest.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a_manifest\.json is"):
        read(path)


def test_it_vouches_for_the_very_file_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("as it was")
    record = {"outputs": {"text": {"file": "a.txt", "sha256": sha256(path)}}}
    assert vouches(record, "text", path)
    assert not vouches(record, "table", path)
    path.write_text("changed")
    assert not vouches(record, "text", path)
    assert written(record, tmp_path) == {"text": path}


def test_names_do_not_lead_out_of_the_folder(tmp_path):
    assert written({"outputs": {"text": {"file": "../../a.txt"}}}, tmp_path) == {"text": tmp_path / "a.txt"}
