from __future__ import annotations

import pytest

from made_up import NullModel
from promptless.pipeline import segment


@pytest.fixture
def result(blobs):
    return segment(blobs[0], NullModel())


def test_the_table_is_a_mapping_of_columns(result):
    objects = result.objects
    assert len(objects) == len(list(objects))
    assert objects.n_objects == 9
    assert len(objects["area"]) == 9


def test_rows_hold_plain_values(result):
    rows = list(result.objects.rows())
    assert [row["label"] for row in rows] == list(range(1, 10))
    assert {type(v) for row in rows for v in row.values()} <= {int, float, bool}


def test_the_table_becomes_a_data_frame(result):
    frame = result.objects.to_pandas()
    assert list(frame.columns) == list(result.objects)
    assert frame["area"].sum() == (result.labels > 0).sum()


def test_an_unknown_column_lists_the_known_ones(result):
    with pytest.raises(KeyError, match="no column 'size'; there are label, area"):
        result.objects["size"]


def test_the_table_is_measured_once(result):
    assert result.objects is result.objects


def test_what_is_shown_says_how_many(result):
    assert repr(result) == "Segmentation(9 objects in 80 x 112 pixels)"
    assert repr(result.objects).startswith("Objects(9 objects: label, area")


def test_saving_returns_the_paths(result, tmp_path):
    paths = result.save(tmp_path / "new", "blobs")
    assert {p.name for p in (tmp_path / "new").iterdir()} == {p.name for p in paths.values()}
