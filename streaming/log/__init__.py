"""Event logs: one contract, and its implementations on Kafka, Redis Streams and in memory."""
