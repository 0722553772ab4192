"""Whether the index in Redis is what it must be."""
