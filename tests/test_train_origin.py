from __future__ import annotations

import pytest

from promptless.train.origin import check, origin, read, write


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name in ("images/a.png", "images/b.png", "split.json"):
        (tmp_path / "data" / name).write_text(name)
    return tmp_path / "data"


def test_what_was_written_down_is_read(data, tmp_path):
    assert read(tmp_path) is None
    check(tmp_path, data)  # begun before origins were written down
    write(tmp_path, origin(data, "data"))
    assert read(tmp_path) == origin(data, "data")


def test_an_edited_split_is_no_other_data_and_another_file_is(data, tmp_path):
    write(tmp_path, origin(data, data))
    (data / "split.json").write_text("edited")
    check(tmp_path, data)
    (data / "images" / "a.png").write_text("larger than it was")
    with pytest.raises(ValueError, match=r"began with data \(2 files, .* and data \(2 files, .* or of other sizes"):
        check(tmp_path, data)
