"""Dead letters: records that cannot be decoded or validated, written to a topic beside their own, read and replayed."""
