"""Partitions of keys are those of Kafka's own clients."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import murmur2 as kafka_murmur2

from hsnn.streaming.log.partitioner import murmur2, partition_of


@given(st.binary(max_size=40))
def test_hash_is_that_of_kafka(key: bytes) -> None:
    assert murmur2(key) == kafka_murmur2(key) & 0xFFFFFFFF
    assert partition_of(key, 7) == (kafka_murmur2(key) & 0x7FFFFFFF) % 7
