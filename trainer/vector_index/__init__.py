"""Learned levels on brought vectors: an index for a model whose user and item vectors come from elsewhere."""
