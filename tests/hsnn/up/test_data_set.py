from __future__ import annotations

import pytest

from hsnn.up.data_set import DataRecord, LoadedData, OtherDataError


def test_a_data_set_is_loaded_once(tmp_path):
    record = DataRecord(tmp_path)
    assert record.must_load("shop", holds_events=False)
    record.write(LoadedData("shop"))
    assert record.must_load("shop", holds_events=True)  # it was interrupted
    record.write(LoadedData("shop", 3600.0, finished=True))
    assert not record.must_load("shop", holds_events=True)
    assert DataRecord(tmp_path).read() == LoadedData("shop", 3600.0, finished=True)


def test_two_catalogues_are_not_mixed(tmp_path):
    record = DataRecord(tmp_path)
    with pytest.raises(OtherDataError, match="holds events already"):
        record.must_load("shop", holds_events=True)
    record.write(LoadedData("films", finished=True))
    with pytest.raises(OtherDataError, match=r"holds the data set films already.*--folder"):
        record.must_load("shop", holds_events=True)
