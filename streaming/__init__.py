"""Events in: schema, validation, logs, consumer, dead letters, data sets and their replay."""
