"""Schema and encodings of events, commands and batches."""
