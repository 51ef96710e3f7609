from __future__ import annotations

import json

import numpy as np
import pytest

from made_up import NullModel
from promptless.io import outputs
from promptless.pipeline import segment

pandas = pytest.importorskip("pandas")
reader = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def result(blobs):
    return segment(blobs[0], NullModel(), mpp=0.5)


@pytest.fixture
def saved(result, tmp_path):
    return outputs.save(result, tmp_path, "a", outputs.wanted(["parquet"]))


def test_the_table_is_that_of_the_csv(saved):
    table, text = pandas.read_parquet(saved["parquet"]), pandas.read_csv(saved["objects"])
    assert list(table.columns) == list(text.columns)
    assert len(table) == 9
    for name in table.columns:
        assert table[name].to_numpy() == pytest.approx(text[name].to_numpy(), rel=1e-6), name


def test_columns_keep_their_types(result, saved):
    schema = reader.read_schema(saved["parquet"])
    assert {name: np.dtype(schema.field(name).type.to_pandas_dtype()) for name in schema.names} == {
        name: values.dtype for name, values in result.objects.items()
    }


def test_the_metadata_names_the_model(result, saved):
    metadata = reader.read_schema(saved["parquet"]).metadata
    assert json.loads(metadata[b"promptless"])["model"] == result.manifest["model"]


def test_no_objects_give_a_table_with_the_same_columns(saved, tmp_path):
    empty = segment(np.zeros((20, 30), np.uint8), NullModel(), mpp=0.5)
    path = outputs.save(empty, tmp_path, "b", outputs.wanted(["parquet"]))["parquet"]
    assert len(pandas.read_parquet(path)) == 0
    assert reader.read_schema(path).names == reader.read_schema(saved["parquet"]).names
