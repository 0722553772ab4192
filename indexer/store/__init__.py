"""The index in Redis: reading and fenced writing, versions, deltas, retention."""
