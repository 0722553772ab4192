"""Event logs: the `EventLog` protocol, and its implementations on Kafka, on Redis Streams and in memory."""
