from __future__ import annotations

import pytest

from promptless.io.label_classes import beside


def table(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_table_of_a_run_tells_classes(tmp_path):
    table(tmp_path / "a_objects.csv", "label,area,class,class_name\n3,9,2,round\n5,9,0,\n")
    assert beside(tmp_path / "a_labels.tif") == {3: 2}


def test_a_prepared_folder_tells_classes(tmp_path):
    table(tmp_path / "classes" / "a.csv", "label,class\n1,2\n")
    assert beside(tmp_path / "masks" / "a.png") == {1: 2}
    assert beside(tmp_path / "masks" / "a_masks.png") == {1: 2}


def test_without_a_table_or_its_column_no_class_is_known(tmp_path):
    table(tmp_path / "a_objects.csv", "label,area\n3,9\n")
    assert beside(tmp_path / "a_labels.tif") == beside(tmp_path / "b_labels.tif") == {}


def test_what_is_no_number_is_refused_by_name(tmp_path):
    table(tmp_path / "a_objects.csv", "label,class\n3,round\n")
    with pytest.raises(ValueError, match=r"a_objects\.csv holds .* no whole numbers"):
        beside(tmp_path / "a_labels.tif")
