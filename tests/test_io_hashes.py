from __future__ import annotations

import hashlib

from promptless.io.hashes import sha256


def test_a_file_is_told_by_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"x").hexdigest()


def test_a_folder_is_told_by_the_names_and_bytes_of_all_files_below(tmp_path):
    def folder(name, files):
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return sha256(tmp_path / name)

    first = folder("one", {"a": b"x", "b/c": b"y"})
    assert folder("same", {"b/c": b"y", "a": b"x"}) == first
    others = [{"a": b"x", "b/c": b"z"}, {"a": b"x", "b/d": b"y"}, {"a": b"x"}, {"a": b"x", "b/c": b"y", "e": b""}]
    assert first not in [folder(str(i), files) for i, files in enumerate(others)]
