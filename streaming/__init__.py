"""Ingestion of events: schema, validation, logs, consumer, dead letters, data sets and producer."""
