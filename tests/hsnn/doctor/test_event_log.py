from __future__ import annotations

import pytest
from kafka import codec

from hsnn.config.schema import Config
from hsnn.doctor.event_log import check_codecs, check_topics
from hsnn.streaming.log.memory import MemoryLog


def test_topics_that_do_not_exist_are_named():
    log, config = MemoryLog(), Config(streaming={"items_topic": "itmes", "partitions": 3})
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 2)
    found = check_topics(log, config)
    assert (found.state, "itmes" in found.text, "users" in found.text) == ("warn", True, False)
    found = check_topics(log, Config())
    assert found.state == "ok"
    assert "items (2 partitions)" in found.text


@pytest.mark.parametrize("name", ["snappy", "lz4", "zstd"])
def test_a_codec_that_is_missing_fails(name, monkeypatch):
    monkeypatch.setattr(codec, f"has_{name}", lambda: False)
    found = check_codecs()
    assert found.state == "fail"
    assert f"{name}" in found.text
    assert "pip install" in found.text
