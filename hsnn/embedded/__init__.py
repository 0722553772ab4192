"""Embedded servers on loopback, for one machine: Redis-protocol (valkey) and Apache Kafka."""

from hsnn.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedRedis"]
