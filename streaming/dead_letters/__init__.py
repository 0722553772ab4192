"""Records that cannot be read or believed: written to a topic beside theirs, read, replayed."""
