"""A short kill test leaves the index consistent, and the test itself notices lost and surplus items."""

from __future__ import annotations

import json

import pytest

from benchmarks.kill import __main__
from hsnn.indexer.store.reader import IndexReader


@pytest.mark.slow
@pytest.mark.long
def test_a_few_kills_and_a_pause_leave_the_index_whole(tmp_path):
    file = tmp_path / "kills.json"
    with pytest.raises(SystemExit) as ended:
        __main__.main(["--kills", "5", "--items", "2000", "--seed", "3", "--json", str(file)])
    found = json.loads(file.read_text())
    assert ended.value.code == 0, found
    assert sum(found["kills"].values()) + found["pauses_past_the_lease"] == 5
    assert found["pauses_past_the_lease"] == 1
    assert found["fencing_token"] > 1


def test_an_item_that_is_lost_or_should_not_be_there_is_seen(redis_client, monkeypatch):
    monkeypatch.setattr(__main__, "_CONVERGE_SECONDS", 0.1)
    reader = IndexReader(redis_client)
    redis_client.set(reader.key("current"), 1)
    redis_client.hset(reader.key("items", 1), mapping={"a": 1, "b": 2})
    assert __main__._map_becomes(reader, {"a", "b"})
    assert not __main__._map_becomes(reader, {"a", "b", "c"})
    assert not __main__._map_becomes(reader, {"a"})
